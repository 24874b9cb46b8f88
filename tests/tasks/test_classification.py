"""Labels: parsing, F1 against scikit-learn, tables."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support
from task_makers import config, example, measure, metric_of

from burnish.errors import DataError
from burnish.records import Labels, Parsed
from burnish.tasks import make_task

LABELS = ("Refund", "refund status", "A.", "top-up", "b")


def task(labels: tuple[str, ...] = LABELS):
    return make_task(config("classification"), labels)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Refund", "Refund"), (" Refund\n", "Refund"), ("REFUND", "Refund"), ('"Refund".', "Refund"),
        ("`top-up`", "top-up"), ("**top-up**", "top-up"), ("a", "A."), ("A.", "A."), ("", None),
        ("Refund status and more", None), ("Refund or top-up", None), ("refun", None),
    ],
)  # fmt: skip
def test_parsing(text: str, value: str | None) -> None:
    parsed = task().parse(text, example("b"))
    assert parsed.value == value
    assert (parsed.error is None) == (value is not None)


def test_labels_that_differ_in_case_only_are_told_apart() -> None:
    cased = task(("us", "US"))
    assert cased.parse("US", example("us")).value == "US"
    assert cased.parse("Us", example("us")).value is None


def test_prompt_and_constraint() -> None:
    system = task().messages(example("b"), full=True)[0].content
    assert system.startswith("Do the work.\n\n")
    assert system.endswith("\n- Refund\n- refund status\n- A.\n- top-up\n- b")
    assert task().constraint(example("b")) == Labels(LABELS)
    assert task().stratum(example("b")) == "b"


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_metrics_equal_scikit_learn(rows: list[tuple[str, str | None]]) -> None:
    pairs = [(example(truth), Parsed(answer)) for truth, answer in rows]
    truth = [t for t, _ in rows]
    answers = [a or "(none)" for _, a in rows]
    occurring = sorted(set(truth) | {a for _, a in rows if a})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = f1_score(truth, answers, labels=occurring, average="macro", zero_division=0)
    made = task()
    assert measure(metric_of(made, "macro_f1"), pairs) == pytest.approx(wanted, abs=1e-12)
    assert measure(metric_of(made, "accuracy"), pairs) == pytest.approx(accuracy_score(truth, answers), abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_tables_equal_scikit_learn(rows: list[tuple[str, str | None]]) -> None:
    tables = task().tables([example(t) for t, _ in rows], [Parsed(a) for _, a in rows])
    truth, answers = [t for t, _ in rows], [a or "(none)" for _, a in rows]
    confusion = tables["confusion"]
    matrix = confusion_matrix(truth, answers, labels=[*LABELS, "(none)"])
    assert np.array_equal(confusion["matrix"], matrix[:-1, :-1])
    assert confusion["unparsed"] == matrix[:-1, -1].tolist()
    assert sum(row["count"] for row in confusion["mistakes"]) == matrix.sum() - np.trace(matrix)
    scores = precision_recall_fscore_support(truth, answers, labels=LABELS, zero_division=0)
    for row, label, *wanted in zip(tables["per_class"], LABELS, *scores, strict=True):
        assert row["label"] == label
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(wanted)


def test_the_most_frequent_mistakes_come_first_with_77_labels() -> None:
    labels = tuple(f"intent {i}" for i in range(77))
    rows = [("intent 3", "intent 4")] * 5 + [("intent 9", None)] * 2 + [(label, label) for label in labels]
    tables = task(labels).tables([example(t) for t, _ in rows], [Parsed(a) for _, a in rows])
    assert tables["confusion"]["mistakes"] == [
        {"target": "intent 3", "predicted": "intent 4", "count": 5},
        {"target": "intent 9", "predicted": None, "count": 2},
    ]
    assert len(tables["per_class"]) == 77


def test_a_label_outside_the_list_names_its_row() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:3: the label is not one of the task's labels \(got 'x'\)"):
        task().answer(example("x"))
    with pytest.raises(DataError, match=r"rows\.jsonl:3"):
        metric_of(task(), "macro_f1").counts(example("x"), Parsed("b"))
