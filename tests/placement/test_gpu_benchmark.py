"""The benchmark for a GPU runs at a tiny shape on any machine, and loses no result to another side's failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu_8b.py"


def run(*arguments):
    command = [sys.executable, str(PROGRAM), "--shape", "tiny", "--json", *arguments]
    paths = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths}
    )


def test_every_side_of_ours_runs():
    done = run("--steps", "2", "--sides", "shared-blocks,full,trl-full,qlora")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for side in ("shared-blocks", "full", "trl-full", "qlora"):
        assert found[side]["tokens_per_s"] > 0
        assert found[side]["peak_gb"] > 0
        assert f"{side}: {{" in done.stderr
    assert found["shared-blocks"]["plans"] == ["Plan"]
    assert found["machine"]["versions"]["torch"]
    assert found["ratio_full"] > 0
    assert "step 2 of 2" in done.stderr


def test_a_side_that_fails_is_told_whole():
    done = run("--sides", "burnish,qlora", "--minutes", "0")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [found[side]["failed"] for side in ("burnish", "qlora")] == ["not done after 0 minutes"] * 2
    done = run("--steps", "0", "--sides", "burnish")
    failed = json.loads(done.stdout)["burnish"]
    assert failed["failed"] == "exit status 1"
    assert failed["stderr"].startswith("Traceback")
    assert "max_steps" in failed["stderr"]


def test_a_side_that_is_misspelt_is_refused_before_anything_runs():
    done = run("--sides", "burnish,peer")
    assert done.returncode != 0
    assert "no such side: peer" in done.stderr
    assert not done.stdout
