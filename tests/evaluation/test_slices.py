from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from burnish.evaluation.evaluate import compare
from burnish.evaluation.slices import compare_slices, judge_slices, slice_names
from burnish.records import Example, Message, Parsed, Prediction, Source
from burnish.tasks.classification import Classification, classification_metrics

LABELS = ("yes", "no")
TASK = Classification("coin", "Say yes or no.", LABELS, classification_metrics(LABELS))
MACRO = Classification("coin", "Say yes or no.", LABELS, classification_metrics(LABELS)[::-1])


def rows(n, **changes):
    return [
        replace(Example(f"id{i}", (Message("user", f"row {i}"),), LABELS[i % 2], Source("a.csv", i + 1)), **changes)
        for i in range(n)
    ]


def answers(examples, hits, tokens=10):
    return [
        Prediction(
            one.id, "", Parsed(one.target if hit else LABELS[1 - LABELS.index(one.target)]), 0.9, tokens, 1, 0.1
        )
        for one, hit in zip(examples, hits, strict=True)
    ]


def sliced(examples, ours, theirs, names, task=TASK):
    return compare_slices(task, examples, ours, theirs, names, candidate="tuned", baseline="prompt", seed=0)


# --- what the test is cut by ---


def test_the_test_is_cut_by_class_length_file_language_and_columns():
    english, german = (
        "How can I change the address of my account?",
        "Wie kann ich die Adresse von meinem Konto ändern?",
    )
    examples = [
        replace(
            one,
            messages=(Message("system", "Say yes."), Message("user", german if i < 4 else english)),
            source=Source(f"data/{'old' if i < 6 else 'new'}.csv", i + 1),
            slices={"product": "loan" if i % 3 else "card"},
        )
        for i, one in enumerate(rows(12))
    ]
    predictions = [replace(one, prompt_tokens=i + 1) for i, one in enumerate(answers(examples, [1] * 12))]
    names = slice_names(TASK, examples, predictions)
    assert names.keys() == {"class", "length", "source", "language", "product"}
    assert names["class"][:2] == ["yes", "no"]
    assert names["length"] == ["up to 4 tokens"] * 4 + ["5 to 8 tokens"] * 4 + ["over 8 tokens"] * 4
    assert names["source"] == ["old.csv"] * 6 + ["new.csv"] * 6
    assert names["language"] == ["German"] * 4 + ["English"] * 8
    assert names["product"][:4] == ["card", "loan", "loan", "card"]


def test_what_is_the_same_for_all_is_no_slice():
    examples = [replace(one, target="yes") for one in rows(12)]
    assert slice_names(TASK, examples, answers(examples, [1] * 12)) == {}


def test_a_third_of_one_length_is_named_by_it():
    examples = rows(9)
    predictions = [replace(one, prompt_tokens=5 + i // 3) for i, one in enumerate(answers(examples, [1] * 9))]
    names = slice_names(TASK, examples, predictions)["length"]
    assert names == ["up to 5 tokens"] * 3 + ["6 tokens"] * 3 + ["over 6 tokens"] * 3


# --- what became of them ---


def test_a_slice_that_got_worse_is_found_though_the_whole_got_better():
    examples = rows(300)
    ours = [i >= 60 for i in range(300)]
    theirs = [i < 60 or i % 3 == 0 for i in range(300)]
    names = {"product": ["loan" if i < 60 else "card" if i < 295 else "rare" for i in range(300)]}
    found = sliced(examples, answers(examples, ours), answers(examples, theirs), names)
    assert [(one.name, one.change) for one in found.slices] == [("loan", "worse"), ("card", "better")]
    assert (found.slices[0].value, found.slices[0].baseline, found.slices[0].examples) == (0, 1, 60)
    assert found.slices[0].high < 0 < found.slices[1].low
    assert (found.small, found.fewest) == (1, 10)


def test_the_numbers_of_a_slice_are_those_of_a_comparison_of_its_own():
    rng = np.random.default_rng(0)
    examples = rows(200)
    ours, theirs = answers(examples, rng.random(200) < 0.7), answers(examples, rng.random(200) < 0.6)
    names = {"half": ["a" if i < 100 else "b" for i in range(200)]}
    found = sliced(examples, ours, theirs, names)
    a = next(one for one in found.slices if one.name == "a")
    own = compare(
        TASK,
        examples[:100],
        ours[:100],
        theirs[:100],
        candidate="x",
        baseline="y",
        seed=0,
        level=a.level,
        resamples=2000,
    )
    assert (a.difference, a.low, a.high, a.p_value) == (own.difference, own.low, own.high, own.p_value)


def test_holms_levels_get_easier_with_each_clear_slice_and_stay_after_the_first_unclear_one():
    examples = rows(160)
    ours = [1] * 40 + [1] * 40 + [i % 2 for i in range(80)]
    theirs = [0] * 40 + [0] * 40 + [1 - i % 2 for i in range(80)]
    names = {"quarter": [f"q{i // 40}" for i in range(160)]}
    found = sliced(examples, answers(examples, ours), answers(examples, theirs), names)
    levels = {one.name: one.level for one in found.slices}
    assert levels["q0"] == pytest.approx(1 - 0.05 / 4)
    assert levels["q1"] == pytest.approx(1 - 0.05 / 3)
    assert levels["q2"] == levels["q3"] == pytest.approx(1 - 0.05 / 2)
    assert {one.name: one.change for one in found.slices} == {
        "q0": "better", "q1": "better", "q2": "unclear", "q3": "unclear",
    }  # fmt: skip


def test_by_class_answers_are_counted_where_the_metric_averages_over_classes():
    examples = rows(60)
    found = sliced(
        examples,
        answers(examples, [1] * 60),
        answers(examples, [i % 4 > 0 for i in range(60)]),
        {"class": [one.target for one in examples], "half": ["a"] * 30 + ["b"] * 30},
        MACRO,
    )
    assert {one.by: one.metric for one in found.slices} == {"class": "accuracy", "half": "macro_f1"}


def test_without_slices_there_is_nothing_to_tell():
    examples = rows(20)
    found = sliced(
        examples, answers(examples, [1] * 20), answers(examples, [1] * 20), {"rare": ["a", "b"] + ["c"] * 18}
    )
    assert [one.name for one in found.slices] == ["c"]
    assert found.small == 2
    assert judge_slices(found, hold=True) is None


def test_none_of_many_unchanged_slices_is_said_to_have_got_worse():
    """60 tests of 20 slices without a difference: a false alarm in at most 5% of them."""
    rng, alarms = np.random.default_rng(1), 0
    examples = rows(400)
    names = {"twentieth": [str(i // 20) for i in range(400)]}
    for _ in range(60):
        ours, theirs = (answers(examples, rng.random(400) < 0.7) for _ in range(2))
        found = sliced(examples, ours, theirs, names)
        alarms += any(one.change != "unclear" for one in found.slices)
    assert alarms <= binom.ppf(0.9999, 60, 0.05)


def test_an_own_metric_is_asked_once_an_answer():
    calls = []

    class Own:
        name, rate = "own", True

        def counts(self, example, parsed):
            calls.append(example.id)
            return np.array([float(parsed.value == example.target), 1.0])

        def value(self, sums):
            return sums[..., 0] / sums[..., 1]

    examples = rows(40)
    task = replace(TASK, metrics=(Own(),))
    names = {"half": ["a" if i < 20 else "b" for i in range(40)], "other": ["c" if i % 2 else "d" for i in range(40)]}
    sliced(examples, answers(examples, [1] * 40), answers(examples, [0] * 40), names, task)
    assert len(calls) == 80


# --- the gate ---


def test_the_judgement_warns_or_holds():
    examples = rows(100)
    names = {"product": ["loan" if i < 50 else "card" for i in range(100)]}
    ours, theirs = [i >= 50 for i in range(100)], [i < 50 for i in range(100)]
    found = sliced(examples, answers(examples, ours), answers(examples, theirs), names)
    warned = judge_slices(found, hold=False)
    assert (warned.blocks, warned.advice) == (False, ())
    assert "One slice of the test got worse than with prompt" in warned.reason
    assert "product 'loan': 0.0% against 100.0% accuracy on 50 examples, -100.0 points" in warned.reason
    held = judge_slices(found, hold=True)
    assert held.blocks
    assert "goal.slices: warn" in held.advice[0]
