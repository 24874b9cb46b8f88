"""What is worth showing: pure functions over what a run folder holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import MISSING
from burnish.records import Example, Message, Parsed, Source
from burnish.reports import summary
from burnish.reports.text import METRIC_NAMES
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.extraction import extraction_metrics
from burnish.tasks.generation import generation_metrics
from burnish.tasks.tool_calling import tool_calling_metrics

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def answer(value: Any, right: float, confidence: float | None = 0.5) -> dict[str, Any]:
    return {"parsed": {"value": value, "error": None}, "confidence": confidence, "score": {"accuracy": right}}


def test_wins_losses_and_failures_of_both() -> None:
    examples = {name: {"id": name, "target": name} for name in "abcd"}
    mine = {"a": answer("a", 1), "b": answer("x", 0), "c": answer("x", 0), "d": answer("d", 1)}
    rival = {"a": answer("x", 0), "b": answer("b", 1), "c": answer("x", 0), "d": answer("d", 1)}
    wins, losses, failures = summary.instructive(examples, mine, rival, "accuracy")
    assert [[case.example["id"] for case in cases] for cases in (wins, losses, failures)] == [["a"], ["b"], ["c"]]


def test_the_surest_mistake_and_other_targets_come_first() -> None:
    examples = {name: {"id": name, "target": name[0]} for name in ("a1", "a2", "a3", "b1")}
    mine = {name: answer("?", 0, confidence) for name, confidence in zip(examples, (0.2, 0.9, 0.8, 0.1), strict=True)}
    rival = {name: answer(name[0], 1) for name in examples}
    _, losses, _ = summary.instructive(examples, mine, rival, "accuracy")
    assert [case.example["id"] for case in losses] == ["a2", "b1", "a3", "a1"]


def test_examples_without_an_answer_are_left_out() -> None:
    assert summary.instructive({"a": {"id": "a", "target": 1}}, {}, {}, "accuracy") == ([], [], [])


@given(target=json_values, candidate=json_values, rival=json_values)
def test_fields_agree_exactly_when_the_answers_do(target: Any, candidate: Any, rival: Any) -> None:
    target, candidate = {"t": target}, {"t": candidate}
    found = summary.fields(target, candidate, rival)
    agree = all(summary.same(field.target, field.candidate) for field in found)
    assert agree == summary.same(target, candidate)
    assert len({field.path for field in found}) == len(found)


def test_missing_null_true_and_one_are_told_apart() -> None:
    (field,) = summary.fields({"a": None}, {}, {"a": 1})
    assert (field.target, field.candidate, field.rival) == (None, MISSING, 1)
    assert not summary.same(None, MISSING)
    assert not summary.same(True, 1)
    assert summary.same(1.0, 1)


@given(value=json_values)
def test_flatten_keeps_every_leaf(value: Any) -> None:
    def leaves(item: Any) -> int:
        if isinstance(item, dict) and item:
            return sum(map(leaves, item.values()))
        if isinstance(item, list) and item:
            return sum(map(leaves, item))
        return 1

    assert len(summary.flatten(value)) <= leaves(value)
    assert summary.flatten({"a": {"b": [1, {"c": 2}]}}) == {"a.b[0]": 1, "a.b[1].c": 2}


@settings(max_examples=50)
@given(target=st.lists(st.sampled_from("abcd"), max_size=8), given_=st.lists(st.sampled_from("abcd"), max_size=8))
def test_word_diff_holds_both_texts(target: list[str], given_: list[str]) -> None:
    parts = summary.word_diff(" ".join(target), " ".join(given_))
    assert " ".join(text for kind, text in parts if kind != "missing").split() == given_
    assert " ".join(text for kind, text in parts if kind != "extra").split() == target


def test_long_texts_are_not_compared_word_by_word() -> None:
    assert summary.word_diff("a " * 1000, "b " * 1000) == [("extra", "b " * 1000)]


def test_confusion_of_the_real_task_with_a_column_for_no_answer() -> None:
    labels = ("a", "b")
    task = Classification("t", "i", labels, classification_metrics(labels))
    truth, said = ["a", "a", "a", "b"], ["a", "b", None, "b"]
    examples = [Example(str(i), (Message("user", "x"),), t, Source("f", 1)) for i, t in enumerate(truth)]
    confusion = summary.confusion_table(task.tables(examples, [Parsed(value) for value in said]))
    assert confusion == (["a", "b"], ["a", "b", summary.NO_ANSWER], [[1, 1, 1], [0, 1, 0]])
    pairs = summary.confused_pairs(confusion)
    assert {(pair.target, pair.answer) for pair in pairs} == {("a", "b"), ("a", summary.NO_ANSWER)}
    assert pairs[0].share == pytest.approx(1 / 3)


@given(matrix=st.integers(2, 30).flatmap(lambda n: st.lists(
    st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=n, max_size=n
)))  # fmt: skip
def test_the_shown_part_of_a_confusion_loses_no_example_of_its_rows(matrix: list[list[int]]) -> None:
    labels = [f"l{i}" for i in range(len(matrix))]
    part = summary.confused_part(summary.Confusion(labels, labels, matrix), limit=5)
    for label, row in zip(part.rows, part.matrix, strict=True):
        assert sum(row) == sum(matrix[labels.index(label)])
        assert len(row) == len(part.columns)
    assert len(part.rows) == min(5, len(labels))


@given(rows=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), max_size=40))
def test_confidence_rows_cover_less_as_the_bar_rises(rows: list[tuple[float, float]]) -> None:
    predictions = [answer("x", right, confidence) for confidence, right in rows]
    found = summary.confidence_rows(predictions, "accuracy")
    shares = [row.share for row in found]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= row.accuracy <= 1 for row in found)
    assert bool(found) == bool(rows)
    if rows:
        assert found[0].share == 1
    assert sum(number for *_, number in summary.reliability(predictions, "accuracy")) == len(rows)


def test_systems_without_confidence_have_no_rows() -> None:
    assert summary.confidence_rows([answer("x", 1.0, None)], "accuracy") == []


def test_curves_of_a_training_log() -> None:
    history = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": "NaN"},
        {"step": 2, "validation_loss": 1.5, "metric": "accuracy", "validation_metric": 0.5},
        {"note": "no step"},
    ]
    assert summary.curves(history, "accuracy") == ([(1, 2.0)], [(2, 1.5)], [(2, 0.5)])


def test_score_tables_put_the_weakest_first() -> None:
    rows = [{"label": "a", "support": 3, "f1": 0.9}, {"label": "b", "support": 1200, "f1": 0.25}]
    table = summary.score_tables({"per_class": rows})[0]
    assert table.columns == ["support", "f1"]
    assert table.rows == [("b", ["1,200", "25.0%"]), ("a", ["3", "90.0%"])]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_length_bins_hold_the_lengths_they_name(lengths: list[int]) -> None:
    counts, edges = np.histogram(lengths, bins=20)
    stats = {"tokens": {"histogram": {"counts": counts.tolist(), "edges": edges.tolist()}}}
    for low, high, number in summary.token_histogram(stats):
        assert number == sum(low <= length <= high for length in lengths)


def test_inputs_as_text_or_messages() -> None:
    assert summary.example_input({"input": "hi"}) == "hi"
    assert summary.example_input({"messages": [{"role": "user", "content": "hi"}]}) == "hi"
    turns = [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]
    assert summary.example_input({"messages": turns}) == "user: a\ntool: b"
    assert summary.example_input({}) == ""


def test_every_metric_has_a_readable_name() -> None:
    metrics = (
        *classification_metrics(("a",)),
        *extraction_metrics(),
        *generation_metrics("x"),
        *tool_calling_metrics(),
    )
    assert {metric.name for metric in metrics} <= METRIC_NAMES.keys()
