from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from burnish.errors import ConfigError, DataError, RunError
from burnish.evaluation.evaluate import compare, comparisons, evaluate, primary_value
from burnish.evaluation.statistics import mcnemar_exact, wilson
from burnish.records import Example, Message, Parsed, Prediction, Source
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.metrics import CountMetric, mean_metric

LABELS = ("cat", "dog", "emu")
TASK = Classification("pets", "Name the animal.", LABELS, classification_metrics(LABELS))


def make_examples(targets, groups=None):
    return [
        Example(f"id{row}", (Message("user", f"text {row}"),), target, Source("pets.csv", row + 2), group=group)
        for row, (target, group) in enumerate(zip(targets, groups or [None] * len(targets), strict=True))
    ]


def answer(examples, texts):
    return [
        Prediction(example.id, text, TASK.parse(text, example), 0.9, 10 + row, 2, 0.5)
        for row, (example, text) in enumerate(zip(examples, texts, strict=True))
    ]


def with_metric(metric):
    return dataclasses.replace(TASK, metrics=(metric,))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    truth = rng.choice(LABELS, 120)
    texts = np.where(rng.random(120) < 0.7, truth, rng.choice([*LABELS, "nonsense"], 120))
    examples = make_examples([str(label) for label in truth])
    return examples, [str(text) for text in texts]


def test_metrics_are_scikit_learns_and_rates_have_wilsons_interval(drawn):
    examples, texts = drawn
    evaluation, scored = evaluate("prompt", TASK, examples, answer(examples, texts), split="test", seed=1)
    truth = [example.target for example in examples]
    accuracy, f1 = evaluation.metrics["accuracy"], evaluation.metrics["macro_f1"]
    right = round(120 * accuracy_score(truth, texts))
    assert accuracy == wilson(right, 120)
    assert f1.value == pytest.approx(f1_score(truth, texts, labels=LABELS, average="macro"))
    assert f1.method == "bootstrap"
    assert f1.low < f1.value < f1.high
    assert [p.score["accuracy"] for p in scored] == [float(a == b) for a, b in zip(truth, texts, strict=True)]
    assert all(set(p.score) == {"accuracy", "macro_f1"} for p in scored)


def test_primary_value_is_the_evaluations(drawn):
    examples, texts = drawn
    predictions = answer(examples, texts)
    evaluation, _ = evaluate("prompt", TASK, examples, predictions, split="test", seed=1)
    assert primary_value(TASK, examples, predictions) == evaluation.metrics["accuracy"].value


def test_evaluation_holds_costs_tables_and_names(drawn):
    examples, texts = drawn
    evaluation, scored = evaluate("prompt", TASK, examples, answer(examples, texts), split="test", seed=1)
    assert (evaluation.system, evaluation.split, evaluation.examples) == ("prompt", "test", 120)
    assert evaluation.seconds_per_example == 0.5
    assert evaluation.prompt_tokens == pytest.approx(10 + 119 / 2)
    assert evaluation.completion_tokens == 2
    assert {"per_class", "confusion"} <= set(evaluation.tables)
    assert [dataclasses.replace(p, score={}) for p in scored] == answer(examples, texts)


def test_same_seed_same_evaluation(drawn):
    examples, texts = drawn
    first, second, other = (
        evaluate("prompt", TASK, examples, answer(examples, texts), split="test", seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first == second
    assert first.metrics["macro_f1"] != other.metrics["macro_f1"]


def test_answers_that_cannot_be_read_are_wrong_and_not_left_out():
    examples = make_examples(["cat"] * 4)
    failed = Prediction("id3", "", Parsed(None, "the request failed: timeout"), None, 0, 0, 30.0)
    evaluation, scored = evaluate(
        "hosted", TASK, examples, [*answer(examples[:3], ["cat", "", "a cat or a dog"]), failed], split="test", seed=0
    )
    assert evaluation.examples == 4
    assert evaluation.metrics["accuracy"].value == 0.25
    assert [p.score["accuracy"] for p in scored] == [1, 0, 0, 0]


@pytest.mark.parametrize("right", [0, 3])
def test_all_wrong_or_all_right_is_no_certainty(right):
    examples = make_examples(["cat"] * 3)
    evaluation, _ = evaluate(
        "x", TASK, examples, answer(examples, ["cat" if right else "dog"] * 3), split="test", seed=0
    )
    for interval in evaluation.metrics.values():
        assert interval.high - interval.low > 0.3


def test_examples_of_one_group_and_copies_are_one_unit():
    groups = [f"g{row // 5}" for row in range(50)]
    texts = ["cat" if row // 5 % 2 else "dog" for row in range(50)]
    alone, grouped = make_examples(["cat"] * 50), make_examples(["cat"] * 50, groups)
    copies = [dataclasses.replace(example, id=groups[row]) for row, example in enumerate(alone)]
    results = [
        evaluate("x", TASK, examples, answer(examples, texts), split="test", seed=0)[0]
        for examples in (alone, grouped, copies)
    ]
    widths = [one.metrics["accuracy"].high - one.metrics["accuracy"].low for one in results]
    assert [one.metrics["accuracy"].value for one in results] == [0.5] * 3
    assert widths[1] > 1.7 * widths[0]
    assert widths[2] == widths[1]
    assert [one.metrics["accuracy"].method for one in results] == ["wilson", "wilson, by group", "wilson, by group"]


def test_predictions_must_be_those_of_the_examples_in_order():
    examples = make_examples(["cat", "dog", "emu"])
    predictions = answer(examples, ["cat", "dog", "emu"])
    with pytest.raises(RunError, match=r"answered 2 of 3 examples"):
        evaluate("prompt", TASK, examples, predictions[:2], split="test", seed=0)
    with pytest.raises(RunError, match=r"pets.csv:2: prediction 1 of system prompt is not of example id0"):
        evaluate("prompt", TASK, examples, predictions[::-1], split="test", seed=0)
    with pytest.raises(RunError, match="system b is not"):
        compare(TASK, examples, predictions, predictions[::-1], candidate="a", baseline="b", seed=0)
    with pytest.raises(DataError, match="no examples"):
        evaluate("prompt", TASK, [], [], split="test", seed=0)


def _raises(example, parsed):
    return len(parsed.value) / 10  # a wrong answer has no value


def broken_metrics():
    one = np.ones(2)
    mean = lambda sums: sums[..., 0] / sums[..., 1]  # noqa: E731
    yield "raised TypeError", mean_metric("own", _raises)
    yield "finite numbers", mean_metric("own", lambda example, parsed: float("nan"))
    yield "of one length", CountMetric("own", False, lambda e, p: np.ones(1 + int(e.id[-1]) % 2), lambda s: s[..., 0])
    yield "vector", CountMetric("own", False, lambda e, p: np.ones((2, 2)), mean)
    yield r"\[0 or 1, 1\]", CountMetric("own", True, lambda e, p: np.array([0.5, 1]), mean)
    yield r"in \[0, 1\], got 2", mean_metric("own", lambda example, parsed: 2.0)
    yield r"in \[0, 1\], got nan", CountMetric("own", False, lambda e, p: one, lambda s: s[..., 0] * np.nan)
    yield r"must map sums", CountMetric("own", False, lambda e, p: one, lambda s: s)


@pytest.mark.parametrize(("words", "metric"), list(broken_metrics()), ids=lambda value: getattr(value, "name", value))
def test_a_broken_metric_of_the_users_is_named_with_the_fix(words, metric):
    examples = make_examples(["cat", "dog", "emu"])
    predictions = answer(examples, ["cat", "none", "emu"])
    with pytest.raises(ConfigError, match=rf"metric own cannot be used: .*{words}(.|\n)*fix: "):
        evaluate("x", with_metric(metric), examples, predictions, split="test", seed=0)
    with pytest.raises(ConfigError, match="metric own cannot be used"):
        compare(with_metric(metric), examples, predictions, predictions, candidate="a", baseline="b", seed=0)


def test_a_metric_that_has_no_value_for_some_resample_is_named():
    # Fine on every example alone and on all together; without the first example below is zero.
    metric = CountMetric(
        "own",
        False,
        lambda e, p: np.array([1.0, 1.0, float(e.id == "id0")]),
        lambda s: np.where((s[..., 2] == 0) & (s[..., 1] > 1), np.nan, 1.0),
    )
    examples = make_examples(["cat"] * 5)
    with pytest.raises(ConfigError, match="metric own cannot be used: value"):
        evaluate("x", with_metric(metric), examples, answer(examples, ["cat"] * 5), split="test", seed=0)


def test_compare_rates_with_mcnemar():
    examples = make_examples(["cat"] * 20)
    ours = answer(examples, ["cat"] * 15 + ["dog"] * 5)
    theirs = answer(examples, ["dog"] * 10 + ["cat"] * 7 + ["dog"] * 3)
    pair = compare(TASK, examples, ours, theirs, candidate="tuned", baseline="prompt", seed=0)
    assert (pair.candidate, pair.baseline, pair.metric, pair.test) == ("tuned", "prompt", "accuracy", "mcnemar")
    assert (pair.wins, pair.losses) == (10, 2)
    assert pair.difference == pytest.approx(0.4)
    assert pair.p_value == mcnemar_exact(10, 2)
    assert 0 < pair.low < 0.4 < pair.high


def test_compare_other_metrics_and_groups_by_permutation():
    examples = make_examples(["cat"] * 20)
    ours, theirs = answer(examples, ["cat"] * 15 + ["dog"] * 5), answer(examples, ["dog"] * 20)
    length = with_metric(mean_metric("length", lambda e, p: 1.0 if p.value == "cat" else 0.25))
    pair = compare(length, examples, ours, theirs, candidate="a", baseline="b", seed=0)
    assert (pair.test, pair.wins, pair.losses) == ("permutation", 15, 0)
    assert pair.p_value < 0.001
    grouped = make_examples(["cat"] * 20, [f"g{row // 5}" for row in range(20)])
    pair = compare(TASK, grouped, ours, theirs, candidate="a", baseline="b", seed=0)
    assert pair.test == "permutation"
    assert pair.p_value > 0.05  # three units against none


def test_two_equal_systems_are_level():
    examples = make_examples(["cat"] * 20)
    same = answer(examples, ["cat"] * 15 + ["dog"] * 5)
    pair = compare(TASK, examples, same, same, candidate="a", baseline="b", seed=0)
    assert (pair.difference, pair.p_value, pair.wins, pair.losses) == (0, 1, 0, 0)
    assert pair.low < 0 < pair.high


def test_comparisons_are_with_every_other_system():
    examples = make_examples(["cat"] * 4)
    systems = {name: answer(examples, ["cat"] * right + ["dog"] * (4 - right)) for name, right in
               (("majority", 0), ("prompt", 2), ("tuned", 4))}  # fmt: skip
    pairs = comparisons(TASK, examples, systems, candidate="tuned", seed=0)
    assert [(pair.baseline, pair.difference) for pair in pairs] == [("majority", 1.0), ("prompt", 0.5)]
    with pytest.raises(RunError, match="predictions of: majority, prompt, tuned"):
        comparisons(TASK, examples, systems, candidate="other", seed=0)
