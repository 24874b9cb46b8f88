from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

import burnish.runs
from burnish.errors import Interrupted, RunError, TrainingError
from burnish.records import Evaluation, Interval, Paired, Parsed, Prediction
from burnish.runs import (
    RunFolder,
    diff_runs,
    find_run,
    list_runs,
    new_run,
    open_run,
    read_evaluation,
    read_predictions,
    write_evaluation,
    write_json,
    write_predictions,
)
from burnish.runs.machine import git_commit

CONFIG = {"name": "pets", "seed": 7, "training": {"lora_r": 16, "num_epochs": 2}}


def make(tmp_path, name="pets", **config):
    return new_run(tmp_path / "runs", name, CONFIG | config, data_fingerprint="d1", command="burnish run x.yaml")


def evaluation(system, value):
    return Evaluation(system, "test", 100, {"accuracy": Interval(value, value - 0.1, value + 0.1, "wilson")}, 1, 2, 3)


PAIR = Paired("tuned", "prompt", "accuracy", 0.3, 0.2, 0.4, 0.001, "mcnemar", 40, 10)


# --- a new run ---


def test_a_new_run_has_its_folder_and_its_state(tmp_path):
    run = make(tmp_path)
    assert re.fullmatch(r"pets-\d{8}-\d{6}-[0-9a-f]{6}", run.run_id)
    record = json.loads((run.path / "run.json").read_text())
    assert record == run.record()
    assert record["status"] == run.status == "created"
    assert (record["run_id"], record["name"], record["seed"], record["config"]) == (run.run_id, "pets", 7, CONFIG)
    assert (record["data_fingerprint"], record["command"]) == ("d1", "burnish run x.yaml")
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert {"cpu", "cores", "memory_gb", "platform"} == set(record["machine"])
    assert record["created"].endswith("+00:00")
    assert list(run.path.parent.iterdir()) == [run.path]
    assert open_run(run.path) == run


def test_equal_settings_in_one_second_get_different_folders(tmp_path):
    assert len({make(tmp_path).run_id for _ in range(5)}) == 5


def test_the_hash_is_of_the_settings(tmp_path):
    first, second = make(tmp_path), make(tmp_path, seed=8)
    assert first.run_id[-6:] != second.run_id[-6:]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\x00", "x" * 65, "a\n"])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(RunError, match=r"name: a run's name"):
        make(tmp_path, name)
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path)
    run = make(tmp_path)
    for content in ("{", "[]", '{"status": "sleeping"}'):
        (run.path / "run.json").write_text(content)
        with pytest.raises(RunError, match=r"run.json"):
            run.record()


def test_the_commit_is_told_with_changes(tmp_path):
    assert git_commit(tmp_path) is None
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, env=env, check=True)
    clean = git_commit(tmp_path)
    assert clean is not None
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{clean} (modified)"


# --- states ---


def test_states_go_forwards(tmp_path):
    run = make(tmp_path)
    for status in ("checking", "splitting", "training", "evaluating", "done"):
        run.set_status(status)
        assert run.status == status
    with pytest.raises(ValueError, match="from done to training"):
        run.set_status("training")
    with pytest.raises(ValueError, match="from done to failed"):
        run.set_status("failed")
    run.set_status("evaluating")


def test_states_do_not_go_back_but_resume(tmp_path):
    run = make(tmp_path)
    run.set_status("training")
    with pytest.raises(ValueError, match="from training to checking"):
        run.set_status("checking")
    run.set_status("failed", error="no memory")
    assert run.record()["error"] == "no memory"
    run.set_status("checking")
    assert run.record()["error"] is None
    run.set_status("interrupted")
    with pytest.raises(ValueError, match="from interrupted to created"):
        run.set_status("created")
    with pytest.raises(ValueError, match="set_status"):
        run.update(status="done")


def test_a_stage_is_timed_over_all_sittings(tmp_path):
    run = make(tmp_path)
    with run.stage("checking"):
        assert run.status == "checking"
    first = run.record()["timings"]["checking"]
    run.set_status("interrupted")
    run.update(timings={"checking": first + 10})
    with run.stage("checking"):
        pass
    assert run.record()["timings"]["checking"] >= first + 10


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (TrainingError("the loss is NaN", fix="lower the rate"), "failed", "the loss is NaN\n  fix: lower the rate"),
        (ZeroDivisionError("division by zero"), "failed", "ZeroDivisionError: division by zero"),
        (Interrupted("stopped at step 5"), "interrupted", "stopped at step 5"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt: "),
    ],
)
def test_a_stage_notes_how_it_ended(tmp_path, error, status, text):
    run = make(tmp_path)
    with pytest.raises(type(error)), run.stage("training"):
        raise error
    assert (run.status, run.record()["error"]) == (status, text)
    assert "training" in run.record()["timings"]


# --- lock ---


def test_two_processes_cannot_work_on_one_run(tmp_path):
    run = make(tmp_path)
    code = "import sys; from pathlib import Path; from burnish.runs import RunFolder\n"
    code += "with RunFolder(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert run.locked()
        with (
            pytest.raises(RunError, match=rf"another process is working on this run .*process {other.pid}"),
            run.lock(),
        ):
            pass
        other.communicate("")
    assert not run.locked()
    with run.lock():
        assert run.locked()
    assert not run.locked()


def test_a_killed_run_is_interrupted_and_can_be_taken_up(tmp_path):
    run = make(tmp_path)
    code = "import sys, time; from pathlib import Path; from burnish.runs import RunFolder\n"
    code += "run = RunFolder(Path(sys.argv[1]))\n"
    code += "with run.lock(), run.stage('training'): print('training', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "training\n"
        assert list_runs(run.path.parent)[0].status == "training"
        other.send_signal(signal.SIGKILL)
    assert run.status == "training"  # nobody could write anything else
    assert list_runs(run.path.parent)[0].status == "interrupted"
    (run.path / ".report.html.0011.tmp").write_text("half")
    with run.lock():
        assert run.status == "interrupted"
        assert not (run.path / ".report.html.0011.tmp").exists()
        with run.stage("checking"):
            pass


# --- records in the folder ---


def test_evaluations_and_predictions_are_read_back(tmp_path):
    evaluations = [evaluation("tuned", 0.8), evaluation("prompt", 0.5)]
    write_evaluation(tmp_path / "evaluation.json", evaluations, [PAIR], forgetting={"before": 0.5})
    assert read_evaluation(tmp_path / "evaluation.json") == (evaluations, [PAIR])
    assert json.loads((tmp_path / "evaluation.json").read_text())["forgetting"] == {"before": 0.5}
    predictions = [Prediction("id", "a\u2028b\n", Parsed({"a": 1}), None, 1, 2, 0.5, {"accuracy": 1.0})] * 2
    write_predictions(tmp_path / "predictions" / "tuned.jsonl", predictions)
    assert read_predictions(tmp_path / "predictions" / "tuned.jsonl") == predictions


def test_damaged_records_are_named_with_their_line(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"example_id": "a"}\n')
    with pytest.raises(RunError, match=r"p.jsonl:1: not a saved Prediction"):
        read_predictions(tmp_path / "p.jsonl")
    for content in ("[]", '{"systems": [1]}', '{"systems": {"a": {}}}'):
        (tmp_path / "e.json").write_text(content)
        with pytest.raises(RunError, match=r"e.json: not a saved"):
            read_evaluation(tmp_path / "e.json")


# --- listing ---


def dated(tmp_path, day, name="pets"):
    """A run that was made on a day of January."""
    run = make(tmp_path, name, day=day)
    path = run.path.with_name(f"{name}-202601{day:02d}-120000-{run.run_id[-6:]}")
    run.path.rename(path)
    write_json(path / "run.json", RunFolder(path).record() | {"created": f"2026-01-{day:02d}T12:00:00+00:00"})
    return RunFolder(path)


def test_runs_are_listed_newest_first_with_their_result(tmp_path):
    old, new = dated(tmp_path, 3), dated(tmp_path, 9)
    new.set_status("done")
    new.update(timings={"checking": 1.0, "training": 60.0})
    write_json(new.path / "verdict.json", {"decision": "ship", "candidate": "tuned", "metric": "accuracy"})
    write_evaluation(new.path / "evaluation.json", [evaluation("tuned", 0.8)], [])
    (tmp_path / "runs" / "notes.txt").write_text("not a run")
    (tmp_path / "runs" / "empty").mkdir()
    first, second = list_runs(tmp_path / "runs")
    assert (first.run_id, second.run_id) == (new.run_id, old.run_id)
    assert (first.status, first.verdict, first.metric, first.value, first.seconds) == (
        "done", "ship", "accuracy", 0.8, 61,
    )  # fmt: skip
    assert (second.status, second.verdict, second.value, second.seconds) == ("created", None, None, None)
    assert list_runs(tmp_path / "nowhere") == []


def test_a_damaged_run_is_listed_as_such(tmp_path):
    good, bad = dated(tmp_path, 3), dated(tmp_path, 9)
    (bad.path / "run.json").write_text("{")
    assert [(run.run_id, run.status) for run in list_runs(tmp_path / "runs")] == [
        (good.run_id, "created"), (bad.run_id, "damaged"),
    ]  # fmt: skip
    (good.path / "evaluation.json").write_text('{"systems": {"tuned": 3}}')
    (good.path / "verdict.json").write_text("[]")
    assert list_runs(tmp_path / "runs")[0].value is None


def test_a_run_is_found_by_id_prefix_hash_path_or_latest(tmp_path):
    pets, trees = dated(tmp_path, 3), dated(tmp_path, 9, "trees")
    runs = tmp_path / "runs"
    for query in (pets.run_id, "pets", pets.run_id[:15], pets.run_id[-6:], str(pets.path), f"{pets.path}/"):
        assert find_run(runs, query) == pets
    assert find_run(runs, "latest") == trees


def test_a_run_that_is_not_found_gets_the_nearest_names(tmp_path):
    runs = tmp_path / "runs"
    with pytest.raises(RunError, match="no runs here"):
        find_run(runs, "latest")
    pets, more = dated(tmp_path, 3), dated(tmp_path, 4)
    with pytest.raises(RunError, match=rf"did you mean: .*{pets.run_id}"):
        find_run(runs, pets.run_id.replace("pets", "pest"))
    with pytest.raises(RunError, match="2 runs begin like this") as caught:
        find_run(runs, "pets")
    assert pets.run_id in str(caught.value)
    assert more.run_id in str(caught.value)
    for query in ("", "../runs", "../../etc", "/etc"):
        with pytest.raises(RunError):
            find_run(runs, query)


# --- comparison ---


def test_two_runs_are_compared(tmp_path):
    a = make(tmp_path)
    b = make(tmp_path, training={"lora_r": 32, "num_epochs": 2}, labels=["x"])
    b.update(data_fingerprint="d2", versions=a.record()["versions"] | {"torch": "9.9"})
    write_json(a.path / "split.json", {"sealed_hash": "s1", "test": ["1", "2"]})
    write_json(b.path / "split.json", {"sealed_hash": "s1", "test": ["1", "2", "3"]})
    write_evaluation(a.path / "evaluation.json", [evaluation("tuned", 0.8), evaluation("prompt", 0.5)], [])
    write_evaluation(b.path / "evaluation.json", [evaluation("tuned", 0.9)], [])
    found = diff_runs(a.path, b.path)
    assert found.settings == {"training.lora_r": (16, 32), "labels": (None, ["x"])}
    assert found.data == {"fingerprint": ("d1", "d2"), "split.test": ("2 rows", "3 rows")}
    assert list(found.environment) == ["versions.torch"]
    assert found.metrics == {"tuned.accuracy": (0.8, 0.9), "prompt.accuracy": (0.5, None)}


def test_a_run_does_not_differ_from_itself(tmp_path):
    run = make(tmp_path)
    found = diff_runs(run.path, run.path)
    assert (found.settings, found.data, found.environment, found.metrics) == ({}, {}, {}, {})
    with pytest.raises(RunError, match=r"run.json: the file is missing"):
        diff_runs(run.path, tmp_path)


def test_everything_named_in_all_exists():
    assert sorted(burnish.runs.__all__) == sorted(set(burnish.runs.__all__))
    assert all(hasattr(burnish.runs, name) for name in burnish.runs.__all__)
