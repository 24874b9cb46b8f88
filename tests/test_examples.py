"""The scripts in examples/ run and do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.model
def test_minimal_learns_in_three_steps():
    done = script("minimal.py", "--steps", "3")
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"step +\d+  loss ([\d.]+)", done.stdout)]
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert re.search(r"right before: \d+ of 12, after: \d+ of 12", done.stdout)
    assert len(re.findall(r" (?:right|wrong)$", done.stdout, re.MULTILINE)) == 12


def test_minimal_stays_short():
    lines = (EXAMPLES / "minimal.py").read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) <= 75, "a teaching path is read in one go"


def test_minimal_explains_itself():
    done = script("minimal.py", "--help")
    assert done.returncode == 0
    assert "--steps" in done.stdout


PREPARE = "procedure-coding/prepare.py"


def test_preparing_the_procedures_explains_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = script(PREPARE, "--help")
    assert done.returncode == 0
    assert "1,400 ICD-10-PCS procedures" in done.stdout
    assert "where to write it" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_preparing_the_procedures_names_mistakes(tmp_path: Path):
    for arguments, told in (
        ((str(tmp_path / "none" / "rows.jsonl"),), f"there is no folder {tmp_path / 'none'}"),
        ((str(tmp_path),), f"{tmp_path} is a folder"),
        (("--out", "rows.jsonl"), "unrecognized arguments: --out"),
    ):
        done = script(PREPARE, *arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_procedures_that_are_there_stay(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    done = script(PREPARE, str(tmp_path / "rows.jsonl"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'rows.jsonl'}: 1 procedures\n")
