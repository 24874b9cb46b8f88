"""The probe before and after: the comparison, the rule, and that it holds by accident only rarely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from burnish.errors import RunError
from burnish.evaluation import statistics
from burnish.evaluation.forgetting import compare_probes, judge, measure
from burnish.records import Forgetting, Interval, ProbeAnswer


def answers(right):
    return [
        ProbeAnswer(f"{n:04x}", f"question {n}", ("a", "b", "c", "d"), 1, 1 if hit else 2, (0.0, 0.0, 0.0, 0.0))
        for n, hit in enumerate(right)
    ]


def compared(before, after, *, allowed=0.05):
    return compare_probes(answers(before), answers(after), probe="built-in", allowed=allowed, seed=3)


def found(difference, low, high, *, allowed=0.05, before=0.7, questions=150, chance=0.25):
    def interval(value):
        return statistics.wilson(value * questions, questions)

    return Forgetting(
        "built-in", questions, chance, interval(before), interval(before + difference), difference, low, high, 0.01,
        3, 12, allowed,
    )  # fmt: skip


def test_the_comparison_is_paired():
    before = [True] * 80 + [False] * 20
    after = [True] * 60 + [False] * 20 + [True] * 5 + [False] * 15
    one = compared(before, after)
    assert (one.questions, one.chance, one.lost, one.gained) == (100, 0.25, 20, 5)
    assert one.difference == pytest.approx(-0.15)
    assert one.low < -0.15 < one.high < 0
    assert one.p_value == pytest.approx(binomtest(5, 25).pvalue)
    assert (one.before, one.after) == (statistics.wilson(80, 100), statistics.wilson(65, 100))
    tango = statistics.tango(5, 20, 100)
    assert one.low <= tango.low + 1e-12
    assert one.high >= tango.high - 1e-12


def test_other_questions_are_refused():
    with pytest.raises(RunError, match="other questions"):
        compare_probes(answers([1, 0]), answers([1, 0])[::-1], probe="x", allowed=None, seed=0)


def test_measure_is_wilsons():
    assert measure(answers([1, 1, 0, 1])) == statistics.wilson(3, 4)


@pytest.mark.parametrize(
    ("one", "blocks", "words"),
    [
        (found(-0.2, -0.28, -0.12), True, "more than the 5 points allowed"),
        (found(-0.06, -0.10, -0.02), True, "more than the 5 points allowed"),
        (found(-0.06, -0.13, 0.01), False, "may be chance"),
        (found(-0.05, -0.08, -0.02), False, "a larger fall is not ruled out"),
        (found(-0.05, -0.05, -0.02), False, "within the 5 points allowed."),
        (found(-0.01, -0.04, 0.02), False, "within the 5 points allowed."),
        (found(0.03, -0.01, 0.07), False, "within the 5 points allowed."),
        (found(-0.2, -0.28, -0.12, allowed=0.3), False, "within the 30 points allowed."),
        (found(-0.02, -0.06, -0.001, allowed=0.0), True, "more than the 0 points allowed"),
        (found(-0.04, -0.09, 0.01, before=0.28), False, "cannot see forgetting"),
    ],
)
def test_the_rule(one, blocks, words):
    judged = judge(one)
    assert judged.blocks is blocks
    assert words in judged.reason
    assert bool(judged.advice) is blocks
    for number in (f"{one.questions:,} general", f"{100 * one.difference:+.1f} points", "12 lost, 3 gained"):
        assert number in judged.reason


def test_where_any_fall_is_allowed_it_is_told_and_holds_nothing():
    judged = judge(found(-0.5, -0.6, -0.4, allowed=None))
    assert not judged.blocks
    assert "-50.0 points" in judged.reason
    assert "Do not use the model for anything else" in judged.reason
    assert "anything else" not in judge(found(-0.01, -0.04, 0.02, allowed=None)).reason


def test_the_allowance_itself_is_not_more_than_allowed():
    assert not judge(found(0.65 - 0.7, -0.09, -0.01)).blocks
    assert judge(replace(found(-0.0501, -0.09, -0.01))).blocks


def test_a_model_that_forgot_nothing_is_rarely_held():
    """Both probes of one ability, 15% of the answers changing by accident: held in at most 2.5% of the trials."""
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(300):
        before = rng.random(156) < 0.67
        after = np.where(rng.random(156) < 0.15, rng.random(156) < 0.67, before)
        held += judge(compared(before, after)).blocks
    assert held <= 0.025 * 300 + 3 * (300 * 0.025 * 0.975) ** 0.5


def test_a_large_loss_is_nearly_always_held():
    rng = np.random.default_rng(12)
    held = 0
    for _ in range(100):
        before = rng.random(156) < 0.67
        after = before & (rng.random(156) > 0.25)
        held += judge(compared(before, after)).blocks
    assert held >= 95


def test_intervals_have_both_ends():
    one = compared([True] * 100, [True] * 100)
    assert (one.difference, one.p_value) == (0.0, 1.0)
    assert one.low < 0 < one.high
    assert isinstance(one.before, Interval)
