"""The command `burnish advise`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from advising.test_advise import make_task


def test_json_names_one_choice_and_the_terminal_says_why(tmp_path: Path) -> None:
    file = tmp_path / "burnish.yaml"
    file.write_text(yaml.safe_dump(make_task(tmp_path)), encoding="utf-8")
    command = [sys.executable, "-m", "burnish", "advise", str(file), "--runs-dir", str(tmp_path / "runs")]
    options = ["--examples", "20", "--no-train", "--quiet"]
    done = subprocess.run([*command, *options, "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["recommendation"]["choice"] == "probe"
    assert {one["name"] for one in found["facts"]["systems"]} >= {"prompt", "few_shot", "embedding_probe"}
    shown = subprocess.run([*command, *options, "--resume"], capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert "Recommendation: an embedding probe" in shown.stdout
    assert "What would change it" in shown.stdout
    again = subprocess.run([*command, *options, "--systems", "rag"], capture_output=True, text=True, timeout=300)
    assert again.returncode != 0
    assert "does not suit the task" in again.stderr
    assert "Traceback" not in again.stderr
