"""Trackers: the real packages are read back; a dead one stops nothing and changes nothing."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
from importlib.util import find_spec

import pytest

from burnish.config import task_from
from burnish.errors import ConfigError, Interrupted
from burnish.models.adapters import adapter_state
from burnish.runs import read_jsonl
from burnish.tracking import hub
from burnish.tracking.backends import TRACKERS, flat, wandb_mode
from burnish.tracking.hub import Trackers, numbers_of, require_trackers
from helpers_training import lora_model, rows, settings
from notes import Notes

STEP = {
    "step": 3, "epoch": 0.5, "loss": 1.25, "learning_rate": 1e-3, "gradient_norm": 0.5, "tokens_per_second": 100.0,
    "memory_mb": 512, "tokens": 40, "labelled_tokens": 8, "seconds": 0.1,
}  # fmt: skip
CHECK = {"step": 4, "epoch": 0.6, "validation_loss": 0.75, "metric": "accuracy", "validation_metric": 0.5}
SUMMARY = {"test/tuned/accuracy": 0.875, "verdict": "ship", "looks": 1}
CONFIG = {"name": "letters", "training": {"lora_r": 8, "learning_rate": 1e-3}}


def have(name):
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


def follow(name, run, progress=None):
    """One training as a tracker sees it."""
    progress = progress or Notes()
    run.mkdir(parents=True, exist_ok=True)
    with Trackers([name], run, project="letters", config=CONFIG, progress=progress) as trackers:
        for step in range(1, 4):
            trackers.log(STEP | {"step": step, "loss": 2.0 - 0.25 * step})
        trackers.log(CHECK)
        trackers.finish(SUMMARY)
    return progress.lines


@pytest.fixture(autouse=True)
def nothing_of_the_machine(tmp_path, monkeypatch):
    """No account, no server, no cache of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    (tmp_path / "home").mkdir()


@have("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own reader
def test_tensorboard_is_read_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    notes = follow("tensorboard", tmp_path / "runs" / "a")
    assert notes == [f"tensorboard: tensorboard --logdir {tmp_path / 'runs'}"]
    found = EventAccumulator(str(tmp_path / "runs" / "a" / "trackers" / "tensorboard"))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("train/loss")] == [(1, 1.75), (2, 1.5), (3, 1.25)]
    assert found.Scalars("validation/accuracy")[0].value == 0.5
    assert found.Scalars("test/tuned/accuracy")[0].value == 0.875
    text = found.Tensors("result")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text) == {"verdict": "ship", "status": "done"}
    assert '"lora_r": 8' in found.Tensors("config")[0].tensor_proto.string_val[0].decode()


@have("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_training_replaces_the_steps_it_repeats(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (1, 2):
        trackers = Trackers(["tensorboard"], tmp_path / "a", project="p", config={}, progress=Notes())
        with trackers:
            for step in range(first, 4):
                trackers.log(STEP | {"step": step, "loss": first + step})
            trackers.finish({})
    found = EventAccumulator(str(tmp_path / "a" / "trackers" / "tensorboard"))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("train/loss")] == [(1, 2.0), (2, 4.0), (3, 5.0)]


@have("mlflow")
def test_mlflow_is_read_back(tmp_path):
    """Twice: the second sitting of a run goes on with the same one."""
    import sqlite3

    follow("mlflow", tmp_path / "runs" / "a")
    follow("mlflow", tmp_path / "runs" / "a")
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as database:
        runs = database.execute("select run_uuid, name, status from runs").fetchall()
        assert [run[1:] for run in runs] == [("a", "FINISHED")]
        losses = database.execute("select distinct step, value from metrics where key = 'train/loss' order by step")
        assert losses.fetchall() == [(1, 1.75), (2, 1.5), (3, 1.25)]
        assert database.execute("select value from params where key = 'training.lora_r'").fetchall() == [("8",)]
        assert database.execute("select value from tags where key = 'verdict'").fetchall() == [("ship",)]
        assert database.execute(
            "select distinct value from metrics where key = 'test/tuned/accuracy'"
        ).fetchall() == [(0.875,)]
        assert database.execute("select name from experiments where name = 'letters'").fetchall()
    database.close()


@have("wandb")
def test_wandb_stays_offline_without_an_account(tmp_path):
    notes = follow("wandb", tmp_path / "runs" / "a")
    (folder,) = (tmp_path / "runs" / "a" / "trackers" / "wandb").glob("offline-run-*-a")
    assert notes == [f"wandb: wandb sync {folder}"]
    (store,) = folder.glob("*.wandb")
    written = store.read_bytes()
    for text in (b"train/loss", b"validation/accuracy", b"test/tuned/accuracy", b"0.875", b"ship", b"learning_rate"):
        assert text in written, text


@have("trackio")
def test_trackio_is_read_back(tmp_path):
    import sqlite3

    follow("trackio", tmp_path / "runs" / "a")
    with sqlite3.connect(tmp_path / "trackio" / "letters.db") as database:
        rows = [json.loads(row[0]) for row in database.execute("select metrics from metrics order by rowid")]
    database.close()
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.75, 1.5, 1.25]
    assert rows[-1]["test/tuned/accuracy"] == 0.875
    assert rows[-1]["verdict"] == "ship"


def test_wandb_is_online_only_with_a_key(tmp_path):
    assert wandb_mode({}) == "offline"
    assert wandb_mode({"WANDB_API_KEY": "x"}) == "online"
    assert wandb_mode({"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}) == "offline"
    (tmp_path / "home" / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    assert wandb_mode({}) == "online"
    assert wandb_mode({"WANDB_BASE_URL": "https://wandb.example"}) == "offline"


# --- dead trackers ---


def fake(tmp_path, monkeypatch, body):
    """A package wandb that does what `body` says in place of the real one."""
    folder = tmp_path / "fake"
    folder.mkdir()
    source = f"""
    import os, random, signal, sys, time
    class Settings:
        def __init__(self, **options): pass
    class Run:
        url, dir, summary = "there", "{tmp_path}/files", dict()
        def log(self, numbers, step): {body.get("log", "pass")}
        def finish(self, exit_code): {body.get("finish", "pass")}
    def init(**options):
        {body.get("init", "pass")}
        return Run()
    """
    (folder / "wandb.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


def train(folder, names, progress):
    """A real training with trackers; the trained model."""
    config = settings(lora_dropout=0.2)
    model, chat = lora_model(config)
    made = rows(chat)
    from burnish.training.loop import train as loop_train

    folder.mkdir(parents=True, exist_ok=True)
    with Trackers(names, folder, project="p", config=CONFIG, progress=progress) as trackers:
        loop_train(
            model,
            made[:20],
            made[20:],
            settings=config,
            seed=3,
            device="cpu",
            folder=folder,
            metric=None,
            metric_name="accuracy",
            progress=Notes(),
            on_log=trackers.log,
        )
        trackers.finish(SUMMARY)
    return {name: tensor.clone() for name, tensor in adapter_state(model).items()}


DEAD = {
    "raises at once": ({"init": "raise RuntimeError('no such project')"}, "RuntimeError: no such project"),
    "raises later": ({"log": "raise OSError('network is unreachable')"}, "OSError: network is unreachable"),
    "raises at the end": ({"finish": "raise ValueError('refused')"}, "ValueError: refused"),
    "hangs at once": ({"init": "time.sleep(600)"}, "did not end within"),
    "hangs later": ({"log": "time.sleep(600)"}, "did not end within"),
    "hangs at the end": ({"finish": "time.sleep(600)"}, "did not end within"),
    "is gone": ({"log": "os.kill(os.getpid(), signal.SIGKILL)"}, "ended without a word"),
    "leaves": ({"log": "sys.exit(3)"}, "SystemExit: 3"),
}


@pytest.mark.parametrize("name", DEAD)
def test_a_dead_tracker_never_stops_training(tmp_path, monkeypatch, name):
    body, told = DEAD[name]
    fake(tmp_path, monkeypatch, body)
    if name.startswith("hangs"):
        monkeypatch.setattr(hub, "DEADLINE", 2.0)
    notes = Notes()
    train(tmp_path / "run", ["wandb"], notes)
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 12
    assert len(notes.lines) == 1, "told once"
    assert "the tracker wandb is left out" in notes.lines[0]
    assert told in notes.lines[0]
    deadline = time.monotonic() + 20
    while any(thread.name == "tracker wandb" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a thread is left"
        time.sleep(0.05)


def test_the_adapter_is_the_same_with_and_without(tmp_path, monkeypatch):
    """To the bit, also with a tracker that plays with random numbers."""
    fake(tmp_path, monkeypatch, {"log": "random.seed(1)", "init": "import numpy, torch; torch.manual_seed(5)"})
    without = train(tmp_path / "without", [], Notes())
    notes = Notes()
    both = train(tmp_path / "with", ["wandb", "tensorboard"] if find_spec("tensorboard") else ["wandb"], notes)
    assert not any("left out" in line for line in notes.lines)
    assert without.keys() == both.keys()
    assert all(without[name].equal(both[name]) for name in without)


def test_a_slow_tracker_is_left_out_when_too_much_waits(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, {"init": "time.sleep(600)"})
    monkeypatch.setattr(hub, "WAITING", 50)
    monkeypatch.setattr(hub, "DEADLINE", 2.0)
    notes = Notes()
    (tmp_path / "run").mkdir()
    with Trackers(["wandb"], tmp_path / "run", project="p", config={}, progress=notes) as trackers:
        for step in range(1, 5000):  # more than the pipe takes
            trackers.log(STEP | {"step": step})
        trackers.finish({})
    assert [line for line in notes.lines if "does not keep up" in line] == notes.lines


def test_rows_that_wait_go_together_and_in_order(tmp_path, monkeypatch):
    out = tmp_path / "seen"
    fake(tmp_path, monkeypatch, {"log": f"open('{out}', 'a').write(str(step) + ' ')", "init": "time.sleep(1)"})
    (tmp_path / "run").mkdir()
    with Trackers(["wandb"], tmp_path / "run", project="p", config={}, progress=Notes()) as trackers:
        for step in range(1, 700):
            trackers.log(STEP | {"step": step})
        trackers.finish(SUMMARY)
    assert out.read_text().split() == [str(step) for step in range(1, 700)]


def test_how_it_ended_is_told(tmp_path, monkeypatch):
    out = tmp_path / "seen"
    fake(tmp_path, monkeypatch, {"finish": f"open('{out}', 'a').write(str(self.summary) + str(exit_code))"})
    (tmp_path / "run").mkdir()

    def broken(error):
        with Trackers(["wandb"], tmp_path / "run", project="p", config={}, progress=Notes()) as trackers:
            trackers.log(STEP)
            raise error

    for error in (Interrupted("Ctrl-C"), ValueError("broken")):
        with pytest.raises(type(error)):
            broken(error)
    assert "'status': 'interrupted'}1" in out.read_text()
    assert "'status': 'failed'}1" in out.read_text()


# --- settings ---


def test_a_missing_package_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(ConfigError, match=f"pip install {'mlflow-skinny' if name == 'mlflow' else name}"):
            require_trackers([name])
    require_trackers([])


def test_a_run_with_a_missing_tracker_makes_no_folder(tmp_path, monkeypatch):
    import burnish

    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    task = {"name": "t", "kind": "generation", "instruction": "-", "data": str(tmp_path / "rows.jsonl"),
            "trackers": ["trackio"]}  # fmt: skip
    with pytest.raises(ConfigError, match="trackio"):
        burnish.run(task, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_other_tools_names(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    task = {"name": "t", "kind": "generation", "instruction": "-", "data": "rows.jsonl"}
    assert task_from(task | {"report_to": "wandb"}, tmp_path).config.trackers == ["wandb"]
    assert task_from(task | {"training": {"report_to": ["mlflow", "wandb"]}}, tmp_path).config.trackers == [
        "mlflow",
        "wandb",
    ]
    assert task_from(task | {"report_to": "none"}, tmp_path).config.trackers == []
    for wrong, said in (("all", "name the trackers"), ("wandbb", "did you mean wandb"), (["wandb"] * 2, "twice")):
        with pytest.raises(ConfigError, match=said):
            task_from(task | {"report_to": wrong}, tmp_path)


def test_what_is_told():
    assert numbers_of(STEP) == (
        3,
        {
            "train/loss": 1.25,
            "train/learning_rate": 1e-3,
            "train/gradient_norm": 0.5,
            "train/tokens_per_second": 100.0,
            "train/memory_mb": 512.0,
            "train/epoch": 0.5,
        },
    )
    assert numbers_of(CHECK) == (4, {"validation/epoch": 0.6, "validation/loss": 0.75, "validation/accuracy": 0.5})
    assert numbers_of(STEP | {"margin": 2})[1]["train/margin"] == 2.0  # what an objective adds
    assert numbers_of(CHECK | {"validation_margin": 3})[1]["validation/margin"] == 3.0
    assert numbers_of(STEP | {"loss": float("inf")})[1].get("train/loss") is None
    assert flat(CONFIG) == {"name": "letters", "training.lora_r": 8, "training.learning_rate": 1e-3}


def test_the_training_process_loads_no_tracker(tmp_path):
    before = set(sys.modules)
    for name in ("tensorboard", "wandb"):
        if find_spec(name):
            follow(name, tmp_path / "runs" / "b")
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {
        "mlflow",
        "wandb",
        "trackio",
        "tensorboard",
    }
