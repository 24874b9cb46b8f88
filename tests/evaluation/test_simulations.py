"""Small versions of benchmarks/verdict_simulations.py: fixed seeds, bounds a right rule misses once in 10,000."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from verdict_simulations import NULLS, RATE, TRAP, World, any_ship_rate, coverage, draw, macro_f1, ship_rate, verdict


def at_most(rate, trials):
    """The largest share of `trials` that a true rate gives, but for one in 10,000."""
    return binom.ppf(0.9999, trials, rate) / trials


def at_least(rate, trials):
    return binom.ppf(0.0001, trials, rate) / trials


@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("n", [50, 200])
def test_a_candidate_that_is_no_better_is_shipped_in_at_most_1_of_40_first_looks(name, n):
    trials = 600 if NULLS[name].rate else 200
    assert ship_rate(NULLS[name], n, trials, seed=1) <= at_most(0.025, trials)


def test_so_it_is_with_5000_examples():
    assert ship_rate(RATE, 5000, 300, seed=2) <= at_most(0.025, 300)


@pytest.mark.parametrize(("metric", "classes", "trials"), [("rate", 0, 400), ("macro_f1", 4, 100)])
def test_ten_useless_candidates_on_one_test_ship_at_most_5_percent_in_all(metric, classes, trials):
    world = World(metric, (0.8,) * 11, classes=classes, shared=0.2)
    assert any_ship_rate(world, 100, 10, trials, seed=3) <= at_most(0.05, trials)


def test_unpriced_looks_would_ship_far_more():
    """The test above can fail: at 95% for each look it does."""
    world = World("rate", (0.8,) * 11, shared=0.2)
    assert any_ship_rate(world, 100, 10, 400, seed=3, priced=False) > at_most(0.05, 400)


def test_the_truly_best_baseline_is_not_hidden_by_one_that_is_surely_beaten():
    rng, every, seeming = np.random.default_rng(4), 0, 0
    for trial in range(300):
        systems = [*draw(TRAP, 1000, rng), *draw(World("rate", (0.8,)), 1000, rng)]
        every += verdict(TRAP, systems, trial).decision == "ship"
        best = max(systems[1:], key=lambda counts: counts[:, 0].sum())
        seeming += verdict(TRAP, [systems[0], best], trial).decision == "ship"
    assert every / 300 <= at_most(0.025, 300)
    assert seeming / 300 > 0.15  # what the rule "beat the one that seems best" would do


@pytest.mark.parametrize(("gain", "n", "least"), [(0.1, 1000, 0.95), (0.2, 200, 0.9), (0.1, 200, 0.4)])
def test_a_real_gain_is_seen(gain, n, least):
    world = World("rate", (0.7 + gain, 0.7))
    assert ship_rate(world, n, 200, seed=5, margin=0.05) >= at_least(least, 200)


@pytest.mark.parametrize(
    ("world", "n", "paired"),
    [
        (World("rate", (0.8,)), 200, False),
        (World("rate", (0.97,)), 500, False),
        (World("field_f1", (0.75,)), 100, False),
        (World("macro_f1", (0.75,), classes=4), 200, False),
        (World("rate", (0.8, 0.7)), 200, True),
        (World("field_f1", (0.75, 0.7)), 100, True),
        (World("macro_f1", (0.8, 0.7), classes=4), 200, True),
    ],
)
def test_intervals_cover_as_they_say(world, n, paired):
    trials = 1000 if world.rate else 250
    assert coverage(world, n, trials, 6, paired=paired).covered >= at_least(0.935, trials)


def test_the_drawn_counts_are_those_of_the_metrics():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(7)
    (counts,) = draw(World("macro_f1", (0.7,), classes=3), 300, rng)
    tp, fp, fn = counts.sum(axis=0).reshape(3, 3).T
    assert macro_f1(counts.sum(axis=0)) == pytest.approx(np.mean(2 * tp / (2 * tp + fp + fn)))
    # Each example is one right answer, or one wrong answer and one missed label.
    assert tp.sum() + fp.sum() == 300
    assert fp.sum() == fn.sum()
    truth = np.repeat([0, 0, 1, 2], 10)
    assert f1_score(truth, truth, average="macro") == macro_f1(np.array([20.0, 0, 0, 10, 0, 0, 10, 0, 0]))
