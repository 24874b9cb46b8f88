"""`burnish tune`: the table, JSON, task files written, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from burnish.cli import app
from burnish.config import load_task
from burnish.errors import Interrupted
from burnish.tuning import search
from tuning.tuning_task import make_task


def call(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], standalone_mode=False)
    return done.return_value if done.exception is None else done.exception, done.stdout, done.stderr


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    text = "# the letters\n" + yaml.safe_dump(make_task(folder), sort_keys=False)
    text = text.replace("learning_rate: 0.005", "learning_rate: 5.0e-3   # a guess")
    (folder / "burnish.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(task, tmp_path_factory) -> Path:
    """A search of four trials by loss."""
    folder = tmp_path_factory.mktemp("runs")
    status, out, _ = call("tune", task, "--trials", 4, "--metric", "loss", "--runs-dir", folder)
    assert status == 0
    assert "the task file's own" in out
    assert "training:\n  learning_rate: " in out
    assert "only the sealed test says" in " ".join(out.split())
    return folder


def resumed(task, runs, *more):
    return call("tune", task, "--trials", 4, "--metric", "loss", "--runs-dir", runs, "--resume", *more)


def test_json(task, runs):
    status, out, _ = resumed(task, runs, "--json", "--quiet")
    found = json.loads(out)
    assert status == 0
    assert len(found["trials"]) == 4
    assert found["settings"] == found["trials"][found["best"]]["settings"]
    record = json.loads(next(runs.glob("tune-*/tune.json")).read_text())
    assert record["command"].startswith(f"burnish tune {task} --trials 4 --metric loss --runs-dir")


def test_a_new_task_file_keeps_the_comments(task, runs):
    target = task / "tuned.yaml"
    status, out, _ = resumed(task, runs, "--write", target)
    assert status == 0
    assert f"written to {target}" in out
    text = target.read_text(encoding="utf-8")
    assert text.startswith("# the letters")
    assert "# a guess" in text
    best = json.loads(next(runs.glob("tune-*/tuning.json")).read_text())
    settings = best["trials"][best["best"]]["settings"]
    assert best["best"] != 0, "choose another seed: the test shows nothing"
    assert load_task(target).config.training.learning_rate == settings["learning_rate"]
    refused, _, _ = resumed(task, runs, "--write", target)
    assert refused == 2


def test_mistakes_cost_no_training(task, tmp_path):
    for arguments in (
        ["--search", "learning_ratee"],
        ["--metric", "los"],
        ["--trials", 0],
        ["--resume"],
        ["--write", tmp_path / "t.yaml"],
    ):
        status, _, _ = call("tune", task, "--runs-dir", tmp_path, *arguments)
        assert status == 2, arguments
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_says_how_to_go_on(task, tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise Interrupted("stopped by Ctrl-C after step 2 of 5")

    monkeypatch.setattr(search, "_all_trials", stopped)
    arguments = ("tune", task, "--search", "lora_r,learning_rate", "--runs-dir", tmp_path, "--set", "seed=3")
    status, _, err = call(*arguments)
    assert status == 130
    assert "no trial has finished yet" in err
    assert f"burnish tune {task} --search lora_r,learning_rate --runs-dir {tmp_path} --set seed=3 --resume" in err
