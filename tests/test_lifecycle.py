"""The whole line on a tiny model of random weights: what a run leaves, and that killing it costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import burnish
from burnish.data.lineage import file_states, run_rows
from burnish.errors import BurnishError, DataError, RunError
from burnish.runs import count_looks, read_json, read_jsonl, verify_folder
from tiny import save_tiny

COLOURS = {"apple": "red", "banana": "yellow", "grass": "green", "sky": "blue"}


def write_task(folder: Path, **changes) -> Path:
    """A classification task of 160 rows with a tiny model."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model").exists():
        save_tiny(folder / "model")
    names = list(COLOURS)
    lines = [{"text": f"the {names[i % 4]} number {i}", "label": COLOURS[names[i % 4]]} for i in range(160)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = {
        "name": "colours",
        "kind": "classification",
        "instruction": "Which colour has it?",
        "data": "rows.jsonl",
        "model": "model",
        "training": {
            "learning_rate": 0.01, "num_epochs": 4, "batch_size": 8, "checkpoint_steps": 5, "lora_r": 4,
            "eval_examples": 8, "early_stopping_patience": None, "dtype": "float32",
        },
        "few_shot": {"k": 2},
        "generation": {"max_new_tokens": 8},
        "split": {"validation": 16, "test": 24},
    } | changes  # fmt: skip
    (folder / "burnish.yaml").write_text(json.dumps(task))
    return folder / "burnish.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return burnish.run(write_task(folder), runs_dir=folder / "runs")


def test_a_run_leaves_its_evidence(finished):
    names = {path.name for path in finished.path.iterdir()}
    assert {
        "run.json", "split.json", "data_report.json", "metrics.jsonl", "predictions", "evaluation.json",
        "verdict.json", "report.html", "MODEL_CARD.md", "adapter", "checkpoints", "test_examples.jsonl",
    } <= names  # fmt: skip
    record = read_json(finished.path / "run.json")
    assert record["status"] == "done"
    assert {"config", "versions", "machine", "seed", "data_fingerprint", "timings", "training"} <= record.keys()
    assert verify_folder(finished.adapter) == []
    assert {path.stem for path in (finished.path / "predictions").iterdir()} == {
        "majority", "prompt", "few_shot", "tuned",
    }  # fmt: skip


def test_summary_has_what_the_command_line_promises(finished):
    summary = finished.summary()
    assert summary["verdict"] in ("ship", "hold")
    assert summary["data"] == {"train": 120, "validation": 16, "test": 24}
    assert summary["systems"].keys() == {"majority", "prompt", "few_shot", "tuned"}
    accuracy = summary["systems"]["tuned"]["accuracy"]
    assert accuracy.keys() == {"value", "low", "high"}
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert {"candidate", "baseline", "difference", "low", "high", "p_value"} <= summary["paired"].keys()
    json.dumps(summary)


def test_the_sealed_test_is_in_no_training_row(finished):
    split = read_json(finished.path / "split.json")
    assert not set(split["test"]) & (set(split["train"]) | set(split["validation"]))
    assert [row["id"] for row in read_jsonl(finished.path / "test_examples.jsonl")] == split["test"]


def test_every_example_keeps_its_place(finished):
    split, rows = read_json(finished.path / "split.json"), run_rows(finished.path)
    for part in ("train", "validation", "test"):
        assert [row.id for row in rows if row.part == part] == split[part]
    (file,) = {row.source.file for row in rows}
    assert sorted(row.source.line for row in rows) == list(range(1, len(rows) + 1))
    (state,) = file_states(read_json(finished.path / "run.json")["data_files"])
    assert (state.name, state.now) == (file, "unchanged")


def test_the_short_prompt_saves_tokens(finished):
    systems = finished.summary()["systems"]
    assert systems["tuned"]["prompt_tokens"] < systems["prompt"]["prompt_tokens"]


def test_the_adapter_answers_as_it_was_measured(finished):
    examples = {row["id"]: row["input"] for row in read_jsonl(finished.path / "test_examples.jsonl")}
    measured = finished.predictions()[:5]
    again = finished.predict([examples[prediction.example_id] for prediction in measured])
    assert [a.text for a in again] == [m.text for m in measured]
    assert [a.confidence for a in again] == pytest.approx([m.confidence for m in measured], abs=1e-4)


@pytest.mark.parametrize("method", ["qlora", "bottleneck", "prefix_tuning"])
def test_other_methods_run_the_whole_line(tmp_path, method):
    training = {"method": method, "max_steps": 3, "batch_size": 8, "lora_r": 4, "eval_examples": 8}
    run = burnish.run(write_task(tmp_path, training=training), runs_dir=tmp_path / "runs")
    examples = {row["id"]: row["input"] for row in read_jsonl(run.path / "test_examples.jsonl")}
    measured = run.predictions()[:5]
    again = run.predict([examples[prediction.example_id] for prediction in measured])
    assert [a.text for a in again] == [m.text for m in measured]
    record = read_json(run.path / "run.json")
    assert record["config"]["training"]["learning_rate"] > 0
    assert record["training"]["total_parameters"] > 24_000  # 4-bit weights are counted one by one
    from burnish.models.adapters import load_tuned

    corrected = method == "qlora"
    assert (run.adapter / "lora_start.safetensors").exists() == corrected
    if corrected:
        run.export(tmp_path / "full", merged=False, for_full=True)
        assert load_tuned(tmp_path / "full").quantisation is None


def test_an_exported_model_is_whole_and_no_look_at_the_test(finished, tmp_path):
    sealed = read_json(finished.path / "split.json")["sealed_hash"]
    looks = count_looks(finished.path.parent, sealed)
    replay = finished.export(tmp_path / "out")
    assert (replay.prompts, replay.same) == (16, 16)
    assert count_looks(finished.path.parent, sealed) == looks
    assert burnish.load_model(str(tmp_path / "out")).model.num_parameters() > 10_000
    assert finished.export(tmp_path / "adapter", merged=False) is None
    assert verify_folder(tmp_path / "adapter") == []


def test_wrong_base_is_refused(finished, tmp_path):
    from burnish.errors import ModelError
    from burnish.models.adapters import load_adapter
    from burnish.models.load import load_model

    loaded = load_model(str(save_tiny(tmp_path / "other")))
    load_adapter(loaded, finished.adapter)
    with pytest.raises(ModelError, match="other base weights"):
        load_adapter(loaded._replace(base_hash="f" * 64), finished.adapter)


def test_every_look_at_the_sealed_test_is_counted(tmp_path):
    task = write_task(tmp_path, training={"max_steps": 2, "batch_size": 4, "lora_r": 4})
    first = burnish.run(task, runs_dir=tmp_path / "runs")
    second = burnish.run(task, runs_dir=tmp_path / "runs")
    sealed = read_json(first.path / "split.json")["sealed_hash"]
    assert (first.verdict.looks, second.verdict.looks) == (1, 2)
    assert count_looks(tmp_path / "runs", sealed) == 2


def test_too_few_rows_stop_the_run(tmp_path):
    task = write_task(tmp_path, split={"validation": 0.2, "test": 0.2})
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()[:8]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="too_few"):
        burnish.run(task, runs_dir=tmp_path / "runs")


@pytest.mark.parametrize(
    ("training", "told"),
    [({"max_length": 20}, "are longer than 20 tokens"), ({"lora_target_modules": ["q_prooj"]}, "q_prooj")],
)
def test_what_stops_training_is_told_before_a_baseline_is_measured(tmp_path, training, told):
    with pytest.raises(BurnishError, match=told):
        burnish.run(write_task(tmp_path, training=training), runs_dir=tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/predictions"))


def test_a_runs_folder_that_cannot_be_one(tmp_path):
    task = write_task(tmp_path)
    with pytest.raises(RunError, match="the folder cannot be made") as caught:
        burnish.run(task, runs_dir=tmp_path / "rows.jsonl")
    assert "rows.jsonl" in str(caught.value.where)


def test_resume_refuses_other_settings_and_other_data(tmp_path):
    task = write_task(tmp_path)
    process = start(task, tmp_path / "runs")
    wait_for_steps(tmp_path / "runs", 3, process)
    kill(process)
    write_task(tmp_path, seed=8)
    with pytest.raises(RunError, match="settings are not those of the run") as caught:
        burnish.run(task, runs_dir=tmp_path / "runs", resume=True)
    assert caught.value.got == "seed"
    assert f"`burnish run {task}" in str(caught.value.fix)
    write_task(tmp_path)
    (tmp_path / "rows.jsonl").write_text((tmp_path / "rows.jsonl").read_text().replace("number 1", "number 99"))
    with pytest.raises(RunError, match="data have changed"):
        burnish.run(task, runs_dir=tmp_path / "runs", resume=True)


def test_a_stopped_run_says_how_to_go_on_and_a_mistaken_one_after_it_hides_it_not(tmp_path):
    """A run that was killed; then one with a wrong setting, which fails: `--resume` goes on with the first."""
    runs = tmp_path / "runs"
    task = write_task(tmp_path, baselines=["majority"], probe=False)
    process = start(task, runs)
    wait_for_steps(runs, 3, process)
    kill(process)
    stopped = burnish.Run.open("latest", runs)
    command = str(read_json(stopped.path / "run.json")["command"])
    for refused in (lambda: stopped.export(tmp_path / "out"), lambda: stopped.predict(["the sky"])):
        with pytest.raises(RunError, match=r"no tuned model.*status interrupted") as caught:
            refused()
        assert f"`{command} --resume`" in str(caught.value.fix)
    shown = subprocess.run(
        [sys.executable, "-m", "burnish", "show", "--runs-dir", str(runs)], capture_output=True, text=True
    )
    assert "interrupted, started" in shown.stdout
    assert f"{command} --resume" in " ".join(shown.stdout.split())
    with pytest.raises(DataError):
        burnish.run(json.loads(task.read_text()) | {"data": str(write_bad(tmp_path))}, runs_dir=runs)
    assert burnish.run(task, runs_dir=runs, resume=True).path == stopped.path


def write_bad(folder: Path) -> Path:
    path = folder / "bad.jsonl"
    path.write_text('{"text": "x"}\n')
    return path


def test_nothing_to_resume(tmp_path):
    with pytest.raises(RunError, match="no unfinished run"):
        burnish.run(write_task(tmp_path), runs_dir=tmp_path / "runs", resume=True)


def start(task: Path, runs: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "burnish", "run", str(task), "--runs-dir", str(runs), "--quiet", *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def wait_for_steps(runs: Path, steps: int, process: subprocess.Popen[bytes]) -> None:
    """Until the log of the only run holds that many training steps."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        for log in runs.glob("*/metrics.jsonl"):
            if sum("learning_rate" in line for line in log.read_text().splitlines()) >= steps:
                return
        time.sleep(0.01)
    output = process.communicate()[1].decode() if process.poll() is not None else "time is over"
    raise AssertionError(f"no {steps} steps: {output}")


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_twice_and_resumed_gives_the_same_adapter_bytes(tmp_path):
    """A real process, kill -9 in training at two places, then `--resume`: byte for byte as if left alone."""
    task = write_task(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start(task, cut)
    wait_for_steps(cut, 8, process)
    kill(process)
    process = start(task, cut, "--resume")
    wait_for_steps(cut, 33, process)
    kill(process)
    resumed = start(task, cut, "--resume")
    errors = resumed.communicate()[1].decode()
    assert resumed.returncode in (0, 3), errors
    uninterrupted = start(task, whole)
    uninterrupted.communicate()
    [a] = whole.glob("colours-*/adapter/adapter_model.safetensors")
    [b] = cut.glob("colours-*/adapter/adapter_model.safetensors")
    assert a.read_bytes() == b.read_bytes()
    [verdict] = cut.glob("colours-*/verdict.json")
    assert read_json(verdict)["looks"] == 1


def test_ctrl_c_leaves_a_resumable_run(tmp_path):
    task = write_task(tmp_path)
    process = start(task, tmp_path / "runs")
    wait_for_steps(tmp_path / "runs", 4, process)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    [run] = (tmp_path / "runs").glob("colours-*")
    assert read_json(run / "run.json")["status"] == "interrupted"
    assert burnish.run(task, runs_dir=tmp_path / "runs", resume=True).path == run


def test_the_embedding_probe_is_a_baseline_like_the_others(tmp_path):
    changes = {
        "baselines": ["majority", "embedding_probe"],
        "embedding_probe": {"model": "base"},
        "training": {"max_steps": 2, "batch_size": 4, "lora_r": 4},
    }
    run = burnish.run(write_task(tmp_path, **changes), runs_dir=tmp_path / "runs")
    accuracy = run.summary()["systems"]["embedding_probe"]["accuracy"]["value"]
    assert accuracy > run.summary()["systems"]["majority"]["accuracy"]["value"]
    about = read_json(run.path / "run.json")["embedding_probe"]
    assert about["rows"] == 120
    assert about["model"] == str(tmp_path / "model") or about["model"] == "model"
    assert "logistic regression" in run.report.read_text(encoding="utf-8")
    assert "embedding_probe" in (run.path / "MODEL_CARD.md").read_text(encoding="utf-8")
