"""Confidence in a whole run: fitted on the best checkpoint's validation answers, told, and used for predicting."""

from __future__ import annotations

import json

import numpy as np
import pytest

import burnish
from burnish.errors import RunError
from burnish.evaluation.calibration import fit_temperature, scaled
from burnish.runs import read_json, read_jsonl
from burnish.trust import CALIBRATION, VALIDATION_ANSWERS
from notes import Notes
from test_lifecycle import write_task

NOTES = Notes()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust")
    training = {
        "learning_rate": 0.01, "num_epochs": 3, "batch_size": 8, "lora_r": 4, "eval_examples": 30,
        "early_stopping_patience": None,
    }  # fmt: skip
    task = write_task(folder, training=training, split={"validation": 40, "test": 40}, baselines=["majority"])
    NOTES.told.clear()
    return burnish.run(task, runs_dir=folder / "runs", progress=NOTES)


def right_of(answers):
    return np.array([float(line["parsed"]["value"] == line["target"]) for line in answers])


def with_targets(run, answers):
    config = read_json(run.path / "run.json")["config"]
    examples = {one.id: one for one in burnish.read_examples(config["data"]["train"], kind="classification").examples}
    return [answer | {"target": examples[answer["example_id"]].target} for answer in answers]


def test_the_validation_answers_are_those_of_the_best_checkpoint(run):
    answers = with_targets(run, read_jsonl(run.path / VALIDATION_ANSWERS))
    assert {one["example_id"] for one in answers} <= set(read_json(run.path / "split.json")["validation"])
    best = read_json(run.path / "run.json")["training"]["best_step"]
    [line] = [
        line
        for line in read_jsonl(run.path / "metrics.jsonl")
        if line["step"] == best and "validation_metric" in line
    ]
    assert len(answers) == 30
    assert right_of(answers).mean() == pytest.approx(line["validation_metric"])


def test_the_temperature_is_that_of_these_answers(run):
    answers = with_targets(run, read_jsonl(run.path / VALIDATION_ANSWERS))
    kept = read_json(run.path / CALIBRATION)
    confidences = np.array([one["confidence"] for one in answers])
    assert kept["value"] == pytest.approx(fit_temperature(confidences, right_of(answers)))
    assert (kept["metric"], kept["answers"]) == ("accuracy", 30)


def test_the_evaluation_tells_it(run):
    [found] = [one for one in run.calibration if one.system == "tuned"]
    assert found.temperature == read_json(run.path / CALIBRATION)["value"]
    assert found.raw.examples == 40
    assert found.raw.accuracy == pytest.approx(
        next(e for e in run.evaluations if e.system == "tuned").metrics["accuracy"].value
    )
    assert run.summary()["calibration"][0]["temperature"] == found.temperature
    assert "What can be left to it" in run.report.read_text()


def test_predicting_gives_calibrated_confidences(run):
    texts = {row["id"]: row["input"] for row in read_jsonl(run.path / "test_examples.jsonl")}
    measured = run.predictions()[:5]
    again = run.predict([texts[one.example_id] for one in measured])
    wanted = scaled(np.array([one.confidence for one in measured]), read_json(run.path / CALIBRATION)["value"])
    assert [one.confidence for one in again] == pytest.approx(wanted.tolist(), abs=1e-3)
    assert [one.text for one in again] == [one.text for one in measured]


def test_a_damaged_calibration_is_an_error_and_none_leaves_confidences_alone(run):
    path = run.path / CALIBRATION
    whole = path.read_text()
    try:
        path.write_text(json.dumps({"value": "hot"}))
        with pytest.raises(RunError, match="not a saved Temperature"):
            run.predict(["the sky"])
        path.write_text("null")
        raw = run.predict(["the sky"])[0].confidence
    finally:
        path.write_text(whole)
    mended = run.predict(["the sky"])[0].confidence
    assert mended == pytest.approx(float(scaled(np.array([raw]), json.loads(whole)["value"])[0]), abs=1e-6)


def test_slices_of_the_run_are_told(run):
    found = run.slices
    assert (found.candidate, found.baseline) == ("tuned", "majority")
    assert {one.by for one in found.slices} <= {"class", "length"}
    assert sum(one.examples for one in found.slices if one.by == "class") <= 40
    assert "slices" in run.summary()


def test_a_column_named_in_the_task_file_is_a_slice_and_can_hold_the_model(tmp_path):
    """The tuned model is asked about rows whose labels were turned round in one channel: there majority is better."""
    task = write_task(
        tmp_path,
        training={"learning_rate": 0.01, "max_steps": 25, "batch_size": 8, "lora_r": 4, "eval_examples": 0},
        split={"validation": 0, "test": 60},
        baselines=["majority"],
        slices=["channel"],
        goal={"margin": 0.0, "slices": "hold"},
    )
    names = {"apple": "red", "banana": "yellow", "grass": "green", "sky": "blue"}
    lines = [
        {"text": f"the {name} number {n}", "label": colour, "channel": "mail"}
        for n in range(60)
        for name, colour in names.items()
    ]
    odd = [{"text": f"the sky number {n + 100}", "label": "red", "channel": "phone"} for n in range(70)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines + odd))
    run = burnish.run(task, runs_dir=tmp_path / "runs")
    assert {one.name for one in run.slices.slices if one.by == "channel"} == {"mail", "phone"}
    examples = burnish.read_examples(tmp_path / "rows.jsonl", kind="classification", slices=["channel"]).examples
    assert {one.slices["channel"] for one in examples} == {"mail", "phone"}


def test_a_row_without_the_column_is_an_error_that_names_it(tmp_path):
    task = write_task(tmp_path, slices=["chanel"])
    with pytest.raises(burnish.DataError, match="no such column to slice by"):
        burnish.run(task, runs_dir=tmp_path / "runs")


def test_a_run_says_first_what_its_test_can_show(run):
    [told] = [line for line in NOTES.lines if "80% power" in line]
    assert told.startswith("a test of 40 examples shows a true gain of 18.1 points or more")
    assert NOTES.lines.index(told) < next(i for i, line in enumerate(NOTES.lines) if line.startswith("baseline: "))
