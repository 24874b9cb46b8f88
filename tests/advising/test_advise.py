"""`burnish advise` from data to recommendation, with the real embedding model and a tiny language model."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish import measure
from burnish.advice.result import CurvePoint
from burnish.advising.advise import advise, record
from burnish.advising.curves import (
    Points,
    curve_of,
    next_size,
    rows_reached,
    rows_seen,
    sizes,
    small_training,
    tuned_points,
)
from burnish.advising.held_out import hold_out, nested
from burnish.advising.models import rank_models
from burnish.config import TrainingConfig, load_task, task_from
from burnish.errors import ConfigError, DataError, ModelError, RunError
from burnish.prepare import Prepared, prepare, prepare_checked
from burnish.progress import Silent
from burnish.runs import read_json, read_predictions
from test_retrieving import write_task
from tiny import save_tiny

ANIMALS = {
    "cat": ("purrs on the sofa", "chases mice at night", "washes its whiskers", "climbs the curtains"),
    "dog": ("barks at the postman", "fetches the stick", "guards the farm", "wags its tail"),
    "fish": ("swims in the pond", "breathes through gills", "has shining scales", "hides among the reeds"),
}


def make_task(folder: Path, rows: int = 240, **changes: Any) -> dict[str, Any]:
    """Sentences whose meaning tells the label; a model too small to learn them."""
    save_tiny(folder / "model")
    lines = []
    for i in range(rows):
        label = tuple(ANIMALS)[i % 3]
        text = f"House {i}: it {ANIMALS[label][i // 3 % 4]}."
        lines.append({"text": text, "label": label})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return {
        "name": "animals",
        "kind": "classification",
        "instruction": "name the animal",
        "data": str(folder / "rows.jsonl"),
        "model": str(folder / "model"),
        "split": {"validation": 20, "test": 30},
        "training": {"lora_r": 2, "lora_alpha": 4, "num_epochs": 1, "batch_size": 8},
        "few_shot": {"k": 1},
    } | changes


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepare(task_from(make_task(tmp_path)))


def test_the_probe_is_recommended_where_meaning_tells_the_label(tmp_path: Path) -> None:
    task = make_task(tmp_path, goal={"target": 0.9})
    found = advise(task, runs_dir=tmp_path / "runs", examples=30, curve_rows=150)
    assert (found.recommendation.choice, found.recommendation.system) == ("probe", "embedding_probe")
    assert [one.system for one in found.systems] == ["majority", "prompt", "few_shot", "embedding_probe"]
    assert {one.examples for one in found.systems} == {30}
    assert {curve.system for curve in found.curves} == {"embedding_probe", "tuned"}
    tuned = next(curve for curve in found.curves if curve.system == "tuned")
    assert [point.rows for point in tuned.points] == [50, 100, 150]
    assert tuned.rows == found.rows == 160
    probe = next(curve for curve in found.curves if curve.system == "embedding_probe")
    assert [(point.rows, point.seed) for point in probe.points] == [
        *itertools.product((50, 100), range(3)),
        (160, 0),
    ]
    measured = next(one for one in found.systems if one.system == "embedding_probe")
    assert probe.points[-1].value == measured.metrics[found.metric].value
    forecast = next(one for one in found.facts.systems if one.name == "tuned")
    assert forecast.forecast
    assert forecast.value == tuned.value
    kept = json.loads((Path(found.path) / "advice.json").read_text(encoding="utf-8"))
    assert kept == record(found)
    page = (Path(found.path) / "advice.html").read_text(encoding="utf-8")
    assert "an embedding probe" in page
    assert page.count("<svg") >= 3


def test_the_model_that_knows_the_language_predicts_the_text_best(tmp_path: Path) -> None:
    loaded = task_from(make_task(tmp_path))
    prepared, report = prepare_checked(loaded)
    first, second = rank_models(
        loaded, prepared, report, [str(tmp_path / "model"), "smollm2-135m-instruct"], Silent()
    )
    assert first.candidate.name == "smollm2-135m-instruct"
    assert first.fits
    bits = (first.candidate.bits_per_character, second.candidate.bits_per_character)
    assert 0.5 < bits[0] < 0.7 * bits[1]  # type: ignore[operator]
    assert first.candidate.memory is not None
    assert first.candidate.memory > 10**8


def test_the_sealed_test_is_never_among_what_is_measured_or_trained_on(prepared: Prepared, tmp_path: Path) -> None:
    sealed = {example.id for example in prepared.split.test}
    config = task_from(make_task(tmp_path)).config
    held = hold_out(prepared, config, 25)
    parts = [{example.id for example in part} for part in (held.split.train, held.split.validation, held.split.test)]
    assert len(parts[2]) == 25
    assert not any(sealed & part for part in parts)
    assert not parts[0] & parts[2]
    assert parts[0] | parts[2] == {example.id for example in prepared.split.train}
    assert held.split.validation == prepared.split.validation


def test_smaller_parts_lie_in_larger_ones_and_have_every_label(prepared: Prepared) -> None:
    small, large = ({one.id for one in nested(prepared, rows, 3).split.train} for rows in (10, 40))
    assert small < large
    assert {one.target for one in nested(prepared, 3, 3).split.train} == set(ANIMALS)
    assert small != {one.id for one in nested(prepared, 10, 4).split.train}


def test_a_later_sitting_measures_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(tmp_path)
    options: dict[str, Any] = {"runs_dir": tmp_path / "runs", "examples": 30, "curve_rows": 150}
    before = advise(task, **options)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("predict", "fit", "system"):
        monkeypatch.setattr(measure.Bench, name, refuse)
    after = advise(task, resume=True, **options)
    assert after.path == before.path
    assert after.recommendation == before.recommendation
    with pytest.raises(RunError, match="has changed"):
        advise(task | {"instruction": "which animal?"}, resume=True, **options)


def test_the_right_document_tells_missing_knowledge_from_wrong_behaviour(tmp_path: Path) -> None:
    file = write_task(tmp_path / "task", retrieval={"documents": "documents", "k": 1})
    rows = file.with_name("rows.jsonl")
    lines = rows.read_text(encoding="utf-8")
    rows.write_text(
        "".join(lines.replace("Where", f"{word}: where") for word in ("Hi", "Oh", "So")), encoding="utf-8"
    )
    task = load_task(file)
    found = advise(task, runs_dir=tmp_path / "runs", examples=10, train=False, systems=["prompt", "rag"])
    knowledge = found.facts.knowledge
    assert knowledge is not None
    assert knowledge.examples == 10 == found.examples
    assert knowledge.difference == pytest.approx(knowledge.with_document - knowledge.without)
    answers = read_predictions(Path(found.path) / "predictions" / "right_document.jsonl")
    held = {example.id: example for example in hold_out(prepare(task), task.config, 10).split.test}
    for answer in answers:
        assert {source.document for source in answer.sources} == {held[answer.example_id].document}
    notes = Path(found.path) / "systems"
    assert read_json(notes / "notes.json")["retrieval"]["documents"] == 8
    assert not (notes / "run.json").exists()
    rag = next(one for one in found.facts.systems if one.name == "rag")
    assert rag.kind == "rag"


def test_data_with_errors_are_to_be_mended_before_anything_is_measured(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    train, test = tmp_path / "rows.jsonl", tmp_path / "test.jsonl"
    test.write_text("".join(lines[:60]), encoding="utf-8")  # all of the test is in train, too
    found = advise(task | {"data": {"train": str(train), "test": str(test)}}, runs_dir=tmp_path / "runs")
    assert found.recommendation.choice == "fix_data"
    assert found.systems == ()
    assert any(finding.kind == "split_leak" for finding in found.findings)


def test_many_wrong_labels_are_to_be_mended_first(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    file = tmp_path / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows[::7]:
        row["label"] = {"cat": "dog", "dog": "fish", "fish": "cat"}[row["label"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = advise(task, runs_dir=tmp_path / "runs", examples=20, train=False, systems=["embedding_probe"])
    assert found.recommendation.choice == "fix_data"
    assert 0.06 <= found.facts.data.wrong < 0.2
    assert any(finding.kind == "suspect_label" for finding in found.findings)


def test_right_labels_of_a_hard_task_are_not_to_be_mended(tmp_path: Path) -> None:
    """A probe suspects many labels of a task that is hard for it: here the label hangs on a word's first letter."""
    rng = random.Random(3)
    words = [a + b + c + d for a in "bdgkp" for b in "aeiou" for c in "lmnrst" for d in "aeo"]
    rows = []
    for word in rng.sample(words, 420):
        kind = "early" if word[0] in "bd" else "late"
        rows.append({"text": f"the {word} {rng.choice(words)} of {kind if rng.random() < 0.8 else 'no'} sort",
                     "label": f"{kind} {word[0]}"})  # fmt: skip
    file = tmp_path / "hard.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = make_task(tmp_path) | {"data": str(file), "labels": None}
    found = advise(task, runs_dir=tmp_path / "runs", examples=20, train=False, systems=["embedding_probe"])
    suspects = [finding.count for finding in found.findings if finding.kind == "suspect_label"]
    assert suspects
    assert suspects[0] > 0.06 * len(rows)
    assert found.facts.data.wrong < 0.03
    assert found.recommendation.choice != "fix_data"


def test_without_trainings_what_they_would_bring_is_said_to_be_unknown(tmp_path: Path) -> None:
    found = advise(
        make_task(tmp_path), runs_dir=tmp_path / "runs", examples=20, train=False, systems=["prompt", "majority"]
    )
    assert [one.system for one in found.systems] == ["majority", "prompt"]
    assert any("not known" in remark for remark in found.remarks)
    assert found.curves == ()


@pytest.mark.parametrize(("names", "words"), [(["rag"], "does not suit"), (["majority"], "tells nothing")])
def test_systems_that_cannot_be_measured_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        advise(make_task(tmp_path), systems=names, runs_dir=tmp_path / "runs")


def test_a_model_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file or folder"):
        advise(make_task(tmp_path), models=["./nope"], runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_too_few_rows_to_hold_any_out(tmp_path: Path) -> None:
    task = make_task(tmp_path, rows=45, split={"validation": 5, "test": 5})
    with pytest.raises(DataError, match="at least 10"):
        advise(task, runs_dir=tmp_path / "runs")


@given(st.integers(0, 100_000), st.none() | st.integers(50, 5_000), st.sampled_from([2, 4]))
def test_sizes_grow_by_a_factor_and_end_at_what_there_is(rows: int, most: int | None, factor: int) -> None:
    found, top = sizes(rows, most, factor), min(rows, most or rows)
    assert list(found) == sorted(set(found))
    assert all(50 <= size <= top for size in found)
    assert all(after <= 1.25 * factor * before for before, after in itertools.pairwise(found))
    assert found[-1:] == ((top,) if top >= 50 else ())


@given(
    st.integers(50, 20_000),
    st.floats(0.001, 1),
    st.floats(0.1, 20),
    st.integers(1, 64),
    st.none() | st.integers(1, 5_000),
)
def test_small_trainings_lead_to_the_real_one(
    whole: int, share: float, epochs: float, batch: int, most: int | None
) -> None:
    settings = TrainingConfig(num_epochs=epochs, batch_size=batch, max_steps=most)
    rows = max(1, round(share * whole))

    def steps(rows: int) -> float:
        return small_training(settings, rows, whole).num_epochs * rows / batch

    own = min(epochs * whole / batch, most or math.inf)
    assert steps(whole) == pytest.approx(own)
    reached = rows_reached(settings, whole)
    assert reached == min(whole, max(1, round(own * batch)))
    assert (
        steps(reached) == pytest.approx(own, rel=0.5 / reached + 1e-9)
        or small_training(settings, reached, whole).num_epochs >= 10
    )
    assert steps(rows) <= own * (1 + 1e-9)
    assert steps(rows) <= steps(min(whole, 2 * rows)) * (1 + 1e-9)
    small = small_training(settings, rows, whole)
    assert small.max_steps is None
    assert small.num_epochs >= own * batch / whole * (1 - 1e-9)
    assert steps(rows) >= 0.999 * min(30, own) or small.num_epochs >= 10
    assert rows_seen(settings, rows, whole) == pytest.approx(steps(rows) * batch)


def test_a_curve_forecasts_all_rows_less_surely_the_fewer_were_trained_on(tmp_path: Path) -> None:
    def point(rows: int, value: float) -> CurvePoint:
        return CurvePoint("tuned", rows, 0, value, 1.0, 0.1, 20.0, 5.0)

    options: dict[str, Any] = {"examples": 200, "target": 0.9, "minutes_per_row": 1.0, "wage": 30.0}
    points = [point(50, 0.4), point(100, 0.55), point(200, 0.65)]
    far = curve_of("tuned", points, rows=9_000, reached=9_000, **options)
    assert far is not None
    assert far.rows == 9_000
    assert not far.measured
    assert far.reach is not None
    near = curve_of("tuned", points, rows=9_000, reached=400, **options)
    assert near is not None
    assert near.value < far.value
    assert near.high - near.low < far.high - far.low
    here = curve_of("tuned", points, rows=200, reached=200, **options)
    assert here is not None
    assert here.measured
    assert curve_of("tuned", points[:2], rows=200, reached=200, **options) is None


def test_what_earlier_sittings_took_counts(tmp_path: Path) -> None:
    prepared = prepare(task_from(make_task(tmp_path, rows=700)))
    points = Points(tmp_path)
    for rows in (50, 100, 200):
        points.take("tuned", rows, 0, lambda rows=rows: CurvePoint("tuned", rows, 0, 0.5, 60.0, 0.1, 20.0, 5.0))  # type: ignore[misc]
    bench: Any = SimpleNamespace(settings=TrainingConfig(batch_size=8, num_epochs=1))  # which trains nothing
    told = tuned_points(bench, prepared, tmp_path, Points(tmp_path), Silent(), most=400, seconds=200)
    assert told is not None
    assert "400 rows" in told


@given(st.integers(150, 50_000), st.floats(1, 100), st.floats(0, 5_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_largest_trainings_that_there_is_time_for(rows: int, first: float, seconds: float, power: float) -> None:
    """Where trainings take what was thought: all time is used that three sizes more could use, and no more."""
    every, known, left = sizes(rows), list[int](), seconds

    def cost(size: int) -> float:
        return first * (size / 50) ** power

    while (size := next_size(every, known, cost, left)) is not None:
        assert size not in known
        known.append(size)
        known.sort()
        left -= cost(size)
        assert len(known) <= len(every)
    assert known[0] == 50
    assert len(known) >= 3
    if len(known) > 3 or known[-1] > every[2]:
        assert left >= -1e-6
    if known[-1] < every[-1]:
        assert cost(every[every.index(known[-1]) + 1]) > left
    places = [every.index(size) for size in known[1:]]
    assert places == list(range(places[0], places[-1] + 1))


def test_points_are_kept_and_measured_once(tmp_path: Path) -> None:
    calls = []

    def measure_point() -> CurvePoint:
        calls.append(1)
        return CurvePoint("tuned", 50, 0, 0.5, 1.0, 0.1, 20.0, 5.0)

    take: Callable[[Points], CurvePoint] = lambda points: points.take("tuned", 50, 0, measure_point)  # noqa: E731
    assert take(Points(tmp_path)) == take(Points(tmp_path))
    assert len(calls) == 1
