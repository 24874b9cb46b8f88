"""Preference: options that tell nothing, choices read from scores, pair accuracy, and control for length."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from task_makers import config, example, measure, metric_of

from burnish.records import Example, Message, Parsed
from burnish.tasks import make_task, target_error
from burnish.tasks.length_control import BINS, RIDGE, controlled_rate, relative_difference
from burnish.tasks.preference import Preference

TASK = make_task(config("preference"))
assert isinstance(TASK, Preference)
ACCURACY, CONTROLLED = (metric_of(TASK, name) for name in ("pair_accuracy", "length_controlled_win_rate"))


def pair(chosen: str = "good", rejected: str = "bad") -> Example:
    return example({"chosen": chosen, "rejected": rejected})


def judged(won: bool, chosen: int, rejected: int) -> Parsed:
    margin = 1.0 if won else -1.0
    prefers = "chosen" if won else "rejected"
    value = {"margin": margin, "prefers": prefers, "chosen_tokens": chosen, "rejected_tokens": rejected}
    return Parsed(value)


def controlled(rows: list[tuple[bool, int, int]]) -> float:
    return measure(CONTROLLED, [(pair(), judged(*row)) for row in rows])


@given(chosen=st.text(max_size=12), rejected=st.text(max_size=12))
def test_the_order_of_the_options_does_not_tell_which_was_chosen(chosen: str, rejected: str) -> None:
    one, other = TASK.options(pair(chosen, rejected)), TASK.options(pair(rejected, chosen))
    assert one == other
    assert {message.content for message in one} == {chosen, rejected}
    assert TASK.answer(pair(chosen, rejected)) == Message("assistant", chosen)
    assert TASK.rejected(pair(chosen, rejected)) == Message("assistant", rejected)


@given(
    texts=st.tuples(st.text(max_size=6), st.text(max_size=6)).filter(lambda two: two[0] != two[1]),
    scores=st.tuples(st.floats(-100, 0), st.floats(-100, 0)),
)
def test_scores_become_a_margin_for_the_chosen_answer(texts: tuple[str, str], scores: tuple[float, float]) -> None:
    row = pair(*texts)
    by_text = dict(zip((option.content for option in TASK.options(row)), scores, strict=True))
    value = TASK.judged(row, scores, (3, 3)).value
    assert value["margin"] == by_text[texts[0]] - by_text[texts[1]]
    assert value["prefers"] == ("chosen" if value["margin"] > 0 else "rejected")
    # Swapping the labels swaps the sign: nothing else of the row plays a part.
    assert TASK.judged(pair(texts[1], texts[0]), scores, (3, 3)).value["margin"] == -value["margin"]


def test_a_tie_is_not_right_and_lengths_go_with_their_answers() -> None:
    row = pair("b", "a")
    value = TASK.judged(row, (-2.0, -2.0), (5, 9)).value
    assert value == {"margin": 0.0, "prefers": "rejected", "chosen_tokens": 9, "rejected_tokens": 5}
    assert measure(ACCURACY, [(row, Parsed(value))]) == 0
    assert TASK.judged(row, (float("-inf"), -1.0), (5, 9)).error == "an answer has no finite score"


def test_rows_with_one_answer() -> None:
    row = example({"completion": "Go away.", "desirable": False})
    assert TASK.answer(row) == Message("assistant", "Go away.")
    assert TASK.rejected(row) is None
    assert TASK.stratum(row) == "undesirable"
    assert TASK.stratum(pair()) is None
    assert target_error(TASK, row) is None


def test_text_is_read_as_a_choice_or_as_it_is() -> None:
    assert TASK.parse(" good ", pair()).value["margin"] == 1
    assert TASK.parse("bad", pair()).value["margin"] == -1
    assert TASK.parse("good", pair("good", "good ")).value["prefers"] == "rejected"
    assert TASK.parse("ugly", pair()).error == "neither of the two answers"
    assert TASK.parse("ugly", example(None)).value == "ugly"
    assert TASK.parse(" ", example(None)).error == "empty answer"


def test_targets_that_are_no_preference() -> None:
    bad: list[Any] = [
        "x",
        {},
        {"chosen": "a"},
        {"chosen": "a", "rejected": 1},
        {"completion": "a", "desirable": "yes"},
    ]
    for target in bad:
        assert "the target must be" in str(target_error(TASK, example(target)))


def test_the_table_by_length() -> None:
    rows = [judged(True, 9, 3), judged(False, 9, 3), judged(True, 3, 9), judged(False, 4, 4), Parsed(None, "lost")]
    assert TASK.tables([pair()] * 5, rows)["by_length"] == [
        {"name": "chosen is longer", "examples": 2, "accuracy": 0.5},
        {"name": "chosen is shorter", "examples": 1, "accuracy": 1.0},
        {"name": "both as long", "examples": 1, "accuracy": 0.0},
    ]


def test_equal_lengths_leave_the_rate_as_it_is() -> None:
    rows = [(won, 7, 7) for won in [True] * 13 + [False] * 7]
    assert controlled(rows) == pytest.approx(13 / 20)


def test_whoever_prefers_the_longer_answer_wins_half() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(5, 300, size=(600, 2))
    lengths = lengths[lengths[:, 0] != lengths[:, 1]]
    # The chosen answer is the longer one in about 80%, so always taking it is right in 80%.
    lengths = np.where(
        (rng.random(len(lengths)) < 0.8)[:, None], -np.sort(-lengths, axis=1), np.sort(lengths, axis=1)
    )
    rows = [(bool(c > r), int(c), int(r)) for c, r in lengths]
    assert measure(ACCURACY, [(pair(), judged(*row)) for row in rows]) > 0.75
    assert controlled(rows) == pytest.approx(0.5, abs=0.06)


def test_how_often_the_longer_answer_was_chosen_plays_no_part() -> None:
    """The same behaviour by length gives the same value, whatever the mix of long and short chosen answers."""
    rng = np.random.default_rng(5)
    short, long = rng.integers(5, 100, size=4000), rng.integers(100, 300, size=4000)
    values = []
    for share in (0.5, 0.9):
        longer = rng.random(4000) < share
        chosen, rejected = np.where(longer, long, short), np.where(longer, short, long)
        won = rng.random(4000) < np.where(longer, 0.9, 0.4)  # logit 2.2 and -0.4: a = 0.9 in between
        values.append(controlled([(bool(w), int(c), int(r)) for w, c, r in zip(won, chosen, rejected, strict=True)]))
    assert values[0] == pytest.approx(values[1], abs=0.03)
    assert values[0] == pytest.approx(1 / (1 + np.exp(-(np.log(9) + np.log(4 / 6)) / 2)), abs=0.03)


def test_a_system_that_does_not_look_at_length_keeps_its_rate() -> None:
    rng = np.random.default_rng(2)
    rows = [(bool(rng.random() < 0.7), int(c), int(r)) for c, r in rng.integers(5, 300, size=(3000, 2))]
    raw = sum(row[0] for row in rows) / len(rows)
    assert controlled(rows) == pytest.approx(raw, abs=0.01)


def scikit_learn(rows: list[tuple[bool, int, int]]) -> float:
    """The slow way: every pair at its own x, the two sides weighted to the same total."""
    won, chosen, rejected = (np.array(column) for column in zip(*rows, strict=True))
    x = np.tanh(np.log(chosen / rejected))
    side = np.sign(x)
    weights = np.ones(len(x))
    for sign in (-1, 1):
        weights[side == sign] = (side != 0).sum() / 2 / (side == sign).sum()
    model = LogisticRegression(C=1 / RIDGE, tol=1e-12, max_iter=1000).fit(x[:, None], won, sample_weight=weights)
    return float(1 / (1 + np.exp(-model.intercept_[0])))


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.8, 2.0), (-0.5, 4.0), (1.5, -3.0)])
def test_it_is_scikit_learns_logistic_regression(a: float, b: float) -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 400, size=(1500, 2))
    x = np.tanh(np.log(lengths[:, 0] / lengths[:, 1]))
    won = rng.random(len(x)) < 1 / (1 + np.exp(-(a + b * x)))
    rows = [(bool(w), int(c), int(r)) for w, (c, r) in zip(won, lengths, strict=True)]
    expected = scikit_learn(rows)
    assert controlled(rows) == pytest.approx(expected, abs=0.005)  # bins of 0.1 against exact x
    assert expected == pytest.approx(1 / (1 + np.exp(-a)), abs=0.06)


def test_with_one_length_a_bin_it_is_exactly_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    lengths = np.array([[3, 1], [1, 3], [2, 2], [9, 1], [1, 9]])[rng.integers(0, 5, size=60)]
    x = np.tanh(np.log(lengths[:, 0] / lengths[:, 1]))
    won = rng.random(len(x)) < 1 / (1 + np.exp(-(0.4 + 2 * x)))
    rows = [(bool(w), int(c), int(r)) for w, (c, r) in zip(won, lengths, strict=True)]
    assert controlled(rows) == pytest.approx(scikit_learn(rows), abs=1e-6)


LENGTH = st.integers(0, 500)
ROWS = st.lists(st.tuples(st.booleans(), LENGTH, LENGTH), min_size=1, max_size=40)


@given(rows=ROWS)
@settings(max_examples=200, deadline=None)
def test_any_rows_give_a_value_from_0_to_1_that_mirrors(rows: list[tuple[bool, int, int]]) -> None:
    value = controlled(rows)
    assert 0 <= value <= 1
    mirrored = [(not won, rejected, chosen) for won, chosen, rejected in rows]
    assert controlled(mirrored) == pytest.approx(1 - value, abs=1e-6)  # the rejected answer's side of it
    if all(won for won, _, _ in rows):
        assert value == 1


@given(rows=st.lists(ROWS, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_many_sums_at_once_are_each_on_its_own(rows: list[list[tuple[bool, int, int]]]) -> None:
    sums = np.stack([np.sum([CONTROLLED.counts(pair(), judged(*row)) for row in part], axis=0) for part in rows])
    together = controlled_rate(sums)
    assert together == pytest.approx([controlled(part) for part in rows], abs=1e-7)


def test_nothing_at_all() -> None:
    assert controlled_rate(np.zeros(3 * BINS)) == 0
    assert relative_difference(0, 0) == 0
    assert relative_difference(6, 3) == pytest.approx(np.tanh(np.log(2)))
    assert json.dumps(controlled([(True, 1, 2)])) == "1.0"
