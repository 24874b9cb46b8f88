"""The command `burnish advise`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from advising.test_advise import make_task
from burnish.cli.options import RUNS_DIR, command_line


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
    (study,) = (tmp_path / "runs").glob("advise-*/advise.json")
    again_words = f"burnish advise {file} --examples 20 --no-train --runs-dir {tmp_path / 'runs'}"
    assert json.loads(study.read_text(encoding="utf-8"))["command"] == again_words
    shown = subprocess.run([*command, *options, "--resume"], capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert "Recommendation: an embedding probe" in shown.stdout
    assert "What would change it" in shown.stdout
    again = subprocess.run([*command, *options, "--systems", "rag"], capture_output=True, text=True, timeout=300)
    assert again.returncode != 0
    assert "does not suit the task" in again.stderr
    assert "Traceback" not in again.stderr


def test_what_to_type_again_has_every_option() -> None:
    given: dict[str, object] = {"model": ["a", "b c"], "minutes": 2.5, "no_train": True, "systems": None}
    words = command_line("advise", Path("t.yaml"), RUNS_DIR, 2, ["seed=3"], **given)
    expected = (
        "burnish advise t.yaml --model a --model 'b c' --minutes 2.5 --no-train --allow-bad-rows 2 --set seed=3"
    )
    assert words == expected
