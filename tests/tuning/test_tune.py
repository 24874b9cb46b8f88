"""The search: own settings first, the sealed test untouched, failures told, killed and resumed as if nothing was."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from tuning_task import make_task

from burnish.errors import ConfigError, Interrupted, RunError, TrainingError
from burnish.measure import Bench
from burnish.runs import read_json, read_jsonl, to_json
from burnish.training import step as steps
from burnish.tuning import search, trials
from burnish.tuning.search import tune
from notes import Notes


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    """A search of 7 trials that nothing interrupts."""
    return tune(task, trials=7, metric="loss", runs_dir=tmp_path_factory.mktemp("whole"))


def timeless(result):
    """The trials without their times."""
    return [replace(trial, seconds=0.0) for trial in result.trials]


def test_the_best_is_never_worse_than_the_task_files_own_settings(whole):
    first = whole.trials[0]
    assert first.settings == {"learning_rate": 5e-3, "lora_r": 4}
    best = whole.trials[whole.best]
    assert best.loss == min(trial.loss for trial in whole.trials if trial.state == "done") <= first.loss
    assert whole.gain == pytest.approx(first.loss - best.loss)
    assert len(whole.trials) == 7
    assert len({json.dumps(trial.settings) for trial in whole.trials}) > 4


def test_a_rank_takes_alpha_with_it(whole):
    for trial in whole.trials[1:]:
        assert trial.settings["lora_alpha"] == 2 * trial.settings["lora_r"]


def test_trials_are_pruned_by_the_median_of_the_others(whole):
    pruned = [trial for trial in whole.trials if trial.state == "pruned"]
    finished = [trial for trial in whole.trials if trial.state == "done"]
    assert pruned, "choose another seed: the test shows nothing"
    for trial in pruned:
        at = max(trial.curve)
        assert 2 <= int(at) < 5
        others = sorted(one.curve[at] for one in finished if one.number < trial.number)
        median = (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
        assert max(trial.curve.values()) < median
        assert "below the median" in trial.reason


def test_what_a_search_leaves(whole):
    from pathlib import Path

    folder = Path(whole.path)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "study.jsonl", "trials", "tune.json", "tuning.html", "tuning.json"
    ]  # fmt: skip
    kept = {path.name for path in (folder / "trials" / "000").iterdir()}
    assert kept == {"metrics.jsonl", "validation_answers.jsonl"}
    assert read_json(folder / "tuning.json") == to_json(whole)
    assert not list(folder.parent.glob("sealed_tests.json")), "a search must not look at the sealed test"
    assert any("only the sealed test says" in remark for remark in whole.remarks)


class _Poisoned:
    """An example of the sealed test that raises for whoever touches it."""

    def __getattr__(self, name):
        raise AssertionError(f"the sealed test was touched: {name}")


def test_the_sealed_test_is_never_read(task, tmp_path, monkeypatch):
    real = search.prepare_checked

    def poisoned(*arguments, **options):
        prepared, report = real(*arguments, **options)
        assert len(prepared.split.test) == 12
        return prepared._replace(split=replace(prepared.split, test=(_Poisoned(),) * 12)), report

    monkeypatch.setattr(search, "prepare_checked", poisoned)
    seen = []
    real_bench = search.Bench
    monkeypatch.setattr(search, "Bench", lambda a, prepared, *b: seen.append(prepared) or real_bench(a, prepared, *b))
    assert tune(task, trials=2, runs_dir=tmp_path).best is not None
    assert seen[0].split.test == ()
    with pytest.raises(AssertionError, match="touched"):
        _ = _Poisoned().messages


def test_the_first_trial_is_what_a_run_would_train(task, tmp_path, whole):
    """The base is clean after every trial: trial n on the shared base equals the same on a fresh one."""
    best = max(whole.trials, key=lambda trial: trial.number if trial.state == "done" else -1)
    assert best.number > 1
    settings = {"learning_rate": best.settings["learning_rate"], "lora_r": best.settings["lora_r"]}
    own = task["training"] | settings | {"lora_alpha": best.settings["lora_alpha"]}
    alone = tune(task | {"training": own}, trials=1, metric="loss", runs_dir=tmp_path)
    assert alone.trials[0].loss == best.loss
    assert alone.trials[0].curve == best.curve


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "full"])
def test_the_base_is_clean_after_release(task, tmp_path, method):
    from burnish.config import task_from
    from burnish.prepare import prepare
    from burnish.runs import NotesFolder

    loaded = task_from(task | {"tune": {}, "training": task["training"] | {"method": method, "max_steps": 2}})
    bench = Bench(loaded, prepare(loaded), NotesFolder(tmp_path), Notes())
    before = {name: tensor.clone() for name, tensor in bench._base().model.named_parameters()}
    bench.fit(loaded.config.training, tmp_path)
    bench.release()
    after = dict(bench._base().model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("step", [1, 8, 14])
def test_killed_anywhere_and_resumed_equals_uninterrupted(task, tmp_path, monkeypatch, whole, step):
    """As after kill -9: nothing is caught, nothing is written any more."""
    real, calls = steps.Stepper.step, []

    def killing(self, *arguments):
        calls.append(1)
        if len(calls) == step:
            raise _Killed
        return real(self, *arguments)

    monkeypatch.setattr(steps.Stepper, "step", killing)
    with pytest.raises(_Killed):
        tune(task, trials=7, metric="loss", runs_dir=tmp_path)
    study = next(tmp_path.glob("tune-*/study.jsonl"))
    with study.open("ab") as file:
        file.write(b'{"op_code": 8, "worker')  # a line that the kill cut off
    again = tune(task, trials=7, metric="loss", runs_dir=tmp_path, resume=True)
    assert timeless(again) == timeless(whole)
    assert again.best == whole.best
    assert len(list(tmp_path.glob("tune-*"))) == 1


def test_ctrl_c_tells_the_best_so_far_and_more_trials_go_on(task, tmp_path, monkeypatch):
    real, calls = steps.Stepper.step, []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(steps.Stepper, "step", stopping)
    with pytest.raises(Interrupted, match=r"Ctrl-C.*best so far: trial 0, .*learning_rate 0.005") as caught:
        tune(task, trials=3, metric="loss", runs_dir=tmp_path)
    assert "--resume" in caught.value.fix
    left = read_json(next(tmp_path.glob("tune-*/tuning.json")))
    assert [trial["state"] for trial in left["trials"]] == ["done", "running"]
    assert len(tune(task, trials=2, metric="loss", runs_dir=tmp_path, resume=True).trials) == 2
    assert len(tune(task, trials=3, metric="loss", runs_dir=tmp_path, resume=True).trials) == 3


def test_a_failed_trial_has_its_reason_and_does_not_stop_the_search(task, tmp_path, monkeypatch):
    real, count = trials.Bench.fit, []

    def failing(self, settings, folder, on_log=None):
        count.append(1)
        if len(count) == 2:
            raise TrainingError("the loss or its gradient is not finite in step 3")
        if len(count) == 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, settings, folder, on_log)

    monkeypatch.setattr(trials.Bench, "fit", failing)
    result = tune(task, trials=4, runs_dir=tmp_path)
    assert [trial.state for trial in result.trials] == ["done", "failed", "failed", "done"]
    assert "not finite" in result.trials[1].reason
    assert result.trials[2].reason == "out of memory"
    assert any("2 of 4 trials failed" in remark for remark in result.remarks)


def test_another_defect_is_not_swallowed(task, tmp_path, monkeypatch):
    def broken(self, settings, folder, on_log=None):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(trials.Bench, "fit", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        tune(task, trials=2, runs_dir=tmp_path)


def test_a_trial_may_take_too_long(task, tmp_path):
    config = task | {"tune": task["tune"] | {"trial_timeout": 1e-9}}
    with pytest.raises(TrainingError, match="no trial succeeded: took longer than") as caught:
        tune(config, trials=9, runs_dir=tmp_path)
    result = read_json(next(tmp_path.glob("tune-*/tuning.json")))
    assert len(result["trials"]) == search.HOPELESS
    assert "burnish run" in caught.value.fix


def test_the_time_of_the_search(task, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(search.time, "monotonic", lambda: clock[0])
    real = steps.Stepper.step

    def slow(self, *arguments):
        clock[0] += 10
        return real(self, *arguments)

    monkeypatch.setattr(steps.Stepper, "step", slow)
    notes = Notes()
    result = tune(task, trials=9, timeout=1, runs_dir=tmp_path, progress=notes)
    assert [trial.state for trial in result.trials] == ["done", "done", "running"]
    assert any("the time is up after 2 of 9 trials" in line for line in notes.lines)
    clock[0] = 0.0
    resumed = tune(task, trials=3, timeout=1, runs_dir=tmp_path, resume=True)
    assert [trial.state for trial in resumed.trials] == ["done"] * 3


def test_own_settings_outside_of_the_ranges_are_tried_all_the_same(task, tmp_path):
    config = task | {"tune": {"search": {"learning_rate": {"low": 1e-4, "high": 1e-3}, "lora_r": [2, 8]}}}
    result = tune(config, trials=3, runs_dir=tmp_path)
    assert result.trials[0].settings == {"learning_rate": 5e-3, "lora_r": 4}
    assert all(trial.settings["lora_r"] in (2, 8) for trial in result.trials[1:])
    assert all(1e-4 <= trial.settings["learning_rate"] <= 1e-3 for trial in result.trials[1:])


def test_a_changed_task_is_not_resumed(task, tmp_path):
    with pytest.raises(RunError, match="no search of this task"):
        tune(task, trials=1, runs_dir=tmp_path, resume=True)
    tune(task, trials=1, runs_dir=tmp_path)
    changed = task | {"training": task["training"] | {"batch_size": 4}}
    with pytest.raises(RunError, match="has changed") as caught:
        tune(changed, trials=2, runs_dir=tmp_path, resume=True)
    assert "training" in str(caught.value)
    with pytest.raises(RunError, match="has changed"):
        tune(task, trials=2, metric="loss", runs_dir=tmp_path, resume=True)


def test_what_cannot_be_measured_is_refused(task, tmp_path):
    with pytest.raises(ConfigError, match="validation"):
        tune(task | {"split": {"validation": 0, "test": 12}}, runs_dir=tmp_path)
    with pytest.raises(ConfigError, match="no metric to search by"):
        tune(task | {"training": task["training"] | {"eval_examples": 0}}, runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_losses_of_other_losses_are_not_compared(task, tmp_path):
    config = {"kind": "preference", "training": {"objective": "dpo"}, "tune": {"search": {"beta": [0.1, 0.5]}}}
    with pytest.raises(ConfigError, match="losses of trials cannot be compared"):
        tune(task | config, metric="loss", runs_dir=tmp_path)


def test_data_that_a_run_refuses_are_refused(task, tmp_path, monkeypatch):
    from burnish.errors import DataError
    from burnish.records import Finding

    real = search.prepare_checked

    def faulty(*arguments, **options):
        prepared, report = real(*arguments, **options)
        return prepared, replace(report, findings=(Finding("leak", "error", 1, "a leak", "mend it"),))

    monkeypatch.setattr(search, "prepare_checked", faulty)
    with pytest.raises(DataError, match="leak: a leak"):
        tune(task, runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_small_gain_is_not_called_one(task, tmp_path):
    result = tune(task, trials=3, runs_dir=tmp_path)
    assert result.metric == "accuracy"
    assert result.examples == 12
    if result.best != 0:
        assert result.standard_error > 0
        small = result.gain < 2 * result.standard_error
        assert small == any("may be chance" in remark for remark in result.remarks)


def test_metrics_of_the_trials_stay(whole):
    from pathlib import Path

    lines = read_jsonl(Path(whole.path) / "trials" / "000" / "metrics.jsonl")
    assert sum("validation_loss" in line for line in lines) in (5, 6) or len(lines) < 8


def test_trials_are_shown_passages_where_the_task_trains_with_them(tmp_path):
    from test_retrieving import write_task

    task = write_task(tmp_path / "task", retrieval={"documents": "documents", "k": 1})
    result = tune(task, trials=2, metric="loss", search=["learning_rate"], runs_dir=tmp_path / "runs")
    assert [trial.state for trial in result.trials] == ["done", "done"]
    assert read_json(next((tmp_path / "runs").iterdir()) / "notes.json")["retrieval"]["passages"] == 8
