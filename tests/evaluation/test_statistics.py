from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.metrics import f1_score

from burnish.evaluation import statistics

Z2 = stats.norm.ppf(0.975) ** 2


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def as_counts(values):
    values = np.asarray(values, dtype=float)
    return np.column_stack([values, np.ones(len(values))])


def macro_f1(sums):
    """F1 averaged over the classes that occur; counts are tp, fp, fn of each class."""
    tp, fp, fn = np.moveaxis(np.reshape(sums, (*np.shape(sums)[:-1], -1, 3)), -1, 0)
    total = 2 * tp + fp + fn
    f1 = np.divide(2 * tp, total, out=np.zeros_like(total), where=total > 0)
    occurring = (total > 0).sum(-1)
    return f1.sum(-1) / np.maximum(occurring, 1)


def f1_counts(truth, answers, classes):
    counts = np.zeros((len(truth), classes, 3))
    for row, (right, given_) in enumerate(zip(truth, answers, strict=True)):
        if right == given_:
            counts[row, right, 0] = 1
        else:
            counts[row, given_, 1] = counts[row, right, 2] = 1
    return counts.reshape(len(truth), -1)


# --- Wilson ---


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 200), (200, 200), (1, 3), (85, 100), (13, 5000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_scipys(successes, n, level):
    theirs = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    ours = statistics.wilson(successes, n, level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert (ours.value, ours.level, ours.method) == (successes / n, level, "wilson")


@pytest.mark.parametrize(("successes", "n", "level"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_what_is_no_rate(successes, n, level):
    with pytest.raises(ValueError):
        statistics.wilson(successes, n, level)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_never_claims_certainty(pair):
    interval = statistics.wilson(*pair)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high


# --- effective size ---


def test_effective_size_without_units_or_with_units_of_one_is_n():
    values = np.array([1.0, 0, 1, 1])
    assert statistics.effective_size(values, None) == 4
    assert statistics.effective_size(values, np.arange(4)) == 4


def test_rows_that_agree_within_units_are_worth_about_one_a_unit():
    rng = np.random.default_rng(0)
    values = np.repeat((rng.random(100) < 0.5).astype(float), 5)
    units = np.repeat(np.arange(100), 5)
    assert statistics.effective_size(values, units) == pytest.approx(100, rel=0.05)
    assert statistics.effective_size(values, np.zeros(500, dtype=np.intp)) == 1


def test_units_that_do_not_matter_cost_little():
    rng = np.random.default_rng(1)
    values = (rng.random(2000) < 0.5).astype(float)
    assert statistics.effective_size(values, np.repeat(np.arange(400), 5)) > 1500


def test_rate_by_group_is_wider_and_covers_where_wilson_alone_does_not():
    rng = np.random.default_rng(2)
    covered = {"units": 0, "rows": 0}
    units = np.repeat(np.arange(40), 5)
    for _ in range(300):
        hits = np.repeat((rng.random(40) < 0.7).astype(float), 5)
        for name, how in (("units", units), ("rows", None)):
            interval = statistics.rate(hits, units=how)
            covered[name] += interval.low <= 0.7 <= interval.high
    assert covered["units"] >= 0.92 * 300
    assert covered["rows"] < 0.8 * 300


def test_units_are_numbered_in_order_of_appearance():
    assert statistics.unit_ids(["b", "a", "b", ("x", 1)]).tolist() == [0, 1, 0, 2]


# --- McNemar ---


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_scipys_binomial_test(wins, losses):
    theirs = stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert statistics.mcnemar_exact(wins, losses) == pytest.approx(theirs, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
@example(0, 0)
@example(7, 7)
def test_mid_p_takes_half_of_the_observed_outcome(wins, losses):
    p, mid = statistics.mcnemar_exact(wins, losses), statistics.mcnemar_exact(wins, losses, mid_p=True)
    observed = stats.binom.pmf(min(wins, losses), wins + losses, 0.5)
    assert mid == pytest.approx(p - (observed / 2 if wins == losses else observed), abs=1e-12)
    assert 0 < mid <= p <= 1


def test_mcnemar_of_many_pairs_does_not_overflow():
    assert statistics.mcnemar_exact(3000, 2800) == pytest.approx(stats.binomtest(2800, 5800).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="negative"):
        statistics.mcnemar_exact(-1, 2)


# --- Tango ---


def test_tango_of_two_equal_systems_is_analytic():
    interval = statistics.tango(0, 0, 50)
    assert (interval.low, interval.value, interval.high) == pytest.approx((-Z2 / (50 + Z2), 0, Z2 / (50 + Z2)))


@pytest.mark.parametrize(("wins", "losses", "n"), [(9, 1, 44), (3, 0, 20), (40, 25, 200), (0, 7, 7)])
def test_tango_is_the_inverted_score_test(wins, losses, n):
    """Without the closed form: the nuisance rate is found by maximising the likelihood at each end."""
    interval = statistics.tango(wins, losses, n)
    for end, side in ((interval.low, 1), (interval.high, -1)):
        if abs(end) > 1 - 1e-9:
            continue

        def minus_likelihood(losing, end=end):
            cells = np.array([losing + end, losing, 1 - 2 * losing - end])
            return -np.sum(np.array([wins, losses, n - wins - losses]) * np.log(cells + 1e-300))

        found = optimize.minimize_scalar(
            minus_likelihood, bounds=(max(0, -end), (1 - end) / 2), method="bounded", options={"xatol": 1e-10}
        )
        variance = n * (2 * found.x + end - end**2)
        assert (wins - losses - n * end) / math.sqrt(variance) == pytest.approx(side * math.sqrt(Z2), abs=1e-3)


@settings(max_examples=60)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_tango_agrees_with_mcnemars_score_test_and_is_symmetric(case):
    n, first, second = case
    wins, losses = min(first, second), max(first, second) - min(first, second)  # together at most n
    interval, mirrored = statistics.tango(wins, losses, n), statistics.tango(losses, wins, n)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high
    assert (interval.low, interval.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9)
    score = (wins - losses) / math.sqrt(wins + losses) if wins + losses else 0.0
    if abs(abs(score) - math.sqrt(Z2)) > 1e-6:
        assert (interval.low > 0) == (score > math.sqrt(Z2))
        assert (interval.high < 0) == (score < -math.sqrt(Z2))


@pytest.mark.parametrize("case", [(1, 1, 0), (-1, 0, 3), (3, 3, 5)])
def test_tango_refuses_impossible_counts(case):
    with pytest.raises(ValueError):
        statistics.tango(*case)


# --- bootstrap ---


def test_bootstrap_matches_scipys_bca():
    values = np.random.default_rng(3).beta(5, 2, 150)
    ours = statistics.bootstrap(as_counts(values), mean)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, random_state=0, method="BCa").confidence_interval
    # Ours is expanded by t and sqrt(n / (n - 1)), one per cent at this size.
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert ours.high - ours.low >= 0.99 * (theirs.high - theirs.low)


def test_bootstrap_value_is_scikit_learns_macro_f1():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 6, 120)
    answers = np.where(rng.random(120) < 0.7, truth, rng.integers(0, 6, 120))
    interval = statistics.bootstrap(f1_counts(truth, answers, 6), macro_f1, resamples=500)
    assert interval.value == pytest.approx(f1_score(truth, answers, average="macro"))
    assert interval.low < interval.value < interval.high
    assert interval.method == "bootstrap"


def test_bootstrap_depends_on_the_seed_and_not_on_the_order():
    counts = as_counts(np.random.default_rng(5).random(40))
    once = statistics.bootstrap(counts, mean, seed=1, resamples=500)
    assert statistics.bootstrap(counts[::-1].copy(), mean, seed=1, resamples=500) == once
    assert statistics.bootstrap(counts, mean, seed=2, resamples=500) != once


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 2, 200])
def test_equal_examples_give_an_interval_with_a_width(value, n):
    interval = statistics.bootstrap(as_counts([value] * n), mean)
    share = Z2 / (n + Z2)
    assert (interval.low, interval.high) == pytest.approx((value * (1 - share), value * (1 - share) + share))
    wilson = statistics.wilson(n, n)
    if value == 1:
        assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_intervals_always_hold_the_value_and_have_a_width(values, seed):
    counts = as_counts(values)
    one = statistics.bootstrap(counts, mean, seed=seed, resamples=50)
    two = statistics.paired_bootstrap(counts, counts[::-1].copy(), mean, seed=seed, resamples=50)
    for interval, lowest in ((one, 0), (two, -1)):
        assert lowest <= interval.low <= interval.value <= interval.high <= 1
        assert interval.high - interval.low > 1e-3


def test_copied_rows_as_units_change_nothing():
    counts = as_counts(np.random.default_rng(6).random(50))
    copied, units = np.repeat(counts, 4, axis=0), np.repeat(np.arange(50), 4)
    plain = statistics.bootstrap(counts, mean)
    grouped = statistics.bootstrap(copied, mean, units=units)
    assert (grouped.low, grouped.high) == pytest.approx((plain.low, plain.high), abs=1e-9)
    assert grouped.method == "bootstrap, by group"
    naive = statistics.bootstrap(copied, mean)
    assert naive.high - naive.low < 0.6 * (plain.high - plain.low)


def test_macro_f1_of_many_classes_is_covered():
    """The percentile bootstrap covers about half of the time here."""
    rng = np.random.default_rng(7)

    def sample(n):
        truth = rng.integers(0, 40, n)
        return f1_counts(truth, np.where(rng.random(n) < 0.8, truth, rng.integers(0, 40, n)), 40)

    true_value = float(macro_f1(sum(sample(20_000).sum(0) for _ in range(3))))
    covered = 0
    for seed in range(60):
        interval = statistics.bootstrap(sample(300), macro_f1, seed=seed, resamples=500)
        covered += interval.low <= true_value <= interval.high
    assert covered >= 0.85 * 60


def test_skewed_scores_are_covered():
    rng = np.random.default_rng(8)
    covered = 0
    for seed in range(200):
        values = np.where(rng.random(60) < 0.2, rng.beta(2, 2, 60), 1.0)
        interval = statistics.bootstrap(as_counts(values), mean, seed=seed, resamples=500)
        covered += interval.low <= 0.9 <= interval.high
    assert covered >= 0.92 * 200


def test_memory_does_not_grow_with_the_resamples():
    counts = as_counts(np.random.default_rng(9).random(5000))
    tracemalloc.start()
    statistics.bootstrap(counts, mean, resamples=400)
    small = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    statistics.bootstrap(counts, mean, resamples=1200)
    large = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert large < 1.2 * small
    assert large < 100e6


@pytest.mark.parametrize(
    ("counts", "value", "words"),
    [
        (np.zeros((0, 2)), mean, "non-empty"),
        (np.zeros(3), mean, "N × K"),
        (np.array([[np.nan, 1.0]]), mean, "not finite"),
        (np.array([[1.0, 0.0], [1.0, 1.0]]), lambda sums: np.where(sums[..., 1] < 1, np.nan, 0.5), "0 / 0"),
        (np.ones((3, 2)), lambda sums: sums, "must map"),
    ],
)
def test_broken_counts_and_values_are_refused(counts, value, words):
    with pytest.raises(ValueError, match=words):
        statistics.bootstrap(counts, value)


# --- paired bootstrap ---


def test_paired_difference_of_rates_is_near_tango():
    ours, theirs = np.zeros(200), np.zeros(200)
    ours[:150], theirs[20:130] = 1, 1
    interval = statistics.paired_bootstrap(as_counts(ours), as_counts(theirs), mean, rate=True)
    score = statistics.tango(40, 0, 200)
    assert interval.value == pytest.approx(0.2)
    assert (interval.low, interval.high) == pytest.approx((score.low, score.high), abs=0.02)
    assert interval.low <= score.low
    assert interval.high >= score.high


def test_pairing_is_kept():
    """Two systems that move together differ far more precisely than each is measured."""
    base = np.random.default_rng(10).random(300) * 0.9
    interval = statistics.paired_bootstrap(as_counts(base + 0.05), as_counts(base), mean)
    alone = statistics.bootstrap(as_counts(base), mean)
    assert interval.value == pytest.approx(0.05)
    assert interval.high - interval.low < 0.5 * (alone.high - alone.low)


def test_paired_bootstrap_of_equal_systems_is_tangos():
    counts = as_counts([1, 0, 1, 1])
    interval = statistics.paired_bootstrap(counts, counts, mean, rate=True)
    score = statistics.tango(0, 0, 4)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0, score.low, score.high))


def test_paired_difference_of_grouped_rates_counts_units():
    rng = np.random.default_rng(11)
    ours, theirs = (np.repeat((rng.random(30) < p).astype(float), 10) for p in (0.7, 0.5))
    units = np.repeat(np.arange(30), 10)
    plain = statistics.paired_bootstrap(as_counts(ours), as_counts(theirs), mean, rate=True)
    grouped = statistics.paired_bootstrap(as_counts(ours), as_counts(theirs), mean, rate=True, units=units)
    assert grouped.high - grouped.low > 2 * (plain.high - plain.low)


@pytest.mark.parametrize("function", [statistics.paired_bootstrap, statistics.permutation])
def test_systems_on_other_examples_cannot_be_paired(function):
    with pytest.raises(ValueError, match="differ in shape"):
        function(np.ones((3, 2)), np.ones((4, 2)), mean)


# --- permutation ---


def test_permutation_is_near_the_exact_binomial_for_rates():
    ours, theirs = np.zeros(40), np.zeros(40)
    ours[:9], theirs[9:11] = 1, 1
    p = statistics.permutation(as_counts(ours), as_counts(theirs), mean, permutations=20_000)
    assert p == pytest.approx(statistics.mcnemar_exact(9, 2), abs=0.01)


def test_permutation_is_near_scipys():
    rng = np.random.default_rng(12)
    first, second = rng.random(25), rng.random(25) * 0.9
    theirs = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        random_state=0,
    ).pvalue
    assert statistics.permutation(as_counts(first), as_counts(second), mean) == pytest.approx(theirs, abs=0.02)


def test_permutation_is_never_zero_and_one_for_equal_systems():
    ones, zeros = as_counts(np.ones(50)), as_counts(np.zeros(50))
    assert statistics.permutation(ones, zeros, mean, permutations=99) == 0.01
    assert statistics.permutation(ones, ones, mean, permutations=99) == 1.0


def test_permutation_swaps_whole_units():
    ours, theirs = as_counts(np.ones(40)), as_counts(np.zeros(40))
    # Four units: 2 of 16 swaps are as extreme.
    p = statistics.permutation(ours, theirs, mean, units=np.repeat(np.arange(4), 10))
    assert p == pytest.approx(2 / 16, abs=0.02)


def test_permutation_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(13)
    p_values = []
    for seed in range(200):
        base = rng.random(30)
        first, second = (np.clip(base + rng.normal(0, 0.2, 30), 0, 1) for _ in range(2))
        p_values.append(
            statistics.permutation(as_counts(first), as_counts(second), mean, seed=seed, permutations=199)
        )
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


# --- levels beyond the draws ---


@pytest.mark.parametrize("level", [0.99, 0.9995, 0.999999])
def test_a_level_beyond_the_draws_is_as_wide_as_the_normal_distribution_says(level):
    """10,000 draws place no quantile of 0.00005%; of a mean of many values the end is known."""
    values = np.random.default_rng(15).random(2000)
    base = np.random.default_rng(16).random(2000)
    gap = values - base
    half = stats.norm.ppf(0.5 + level / 2) * gap.std() / math.sqrt(2000)
    interval = statistics.paired_bootstrap(as_counts(values), as_counts(base), mean, level=level)
    assert interval.high - interval.value == pytest.approx(half, rel=0.08)
    assert interval.value - interval.low == pytest.approx(half, rel=0.08)
    single = statistics.bootstrap(as_counts(values), mean, level=level)
    half = stats.norm.ppf(0.5 + level / 2) * values.std() / math.sqrt(2000)
    assert single.high - single.low == pytest.approx(2 * half, rel=0.08)


def test_a_higher_level_never_gives_a_narrower_interval():
    values = np.random.default_rng(17).random(60)
    widths = []
    for level in (0.9, 0.95, 0.99, 0.996, 0.9999, 0.9999999):
        interval = statistics.bootstrap(as_counts(values), mean, level=level)
        widths.append(interval.high - interval.low)
    assert widths == sorted(widths)


def differing(rng, groups, each, alike):
    """Counts of two equally good systems, rows in groups; a share `alike` of the rows has its group's score."""
    units = np.repeat(np.arange(groups), each)
    rows, shared = rng.random((2, groups * each)), np.repeat(rng.random((2, groups)), each, axis=1)
    scores = np.where(rng.random(groups * each) < alike, shared, rows) ** 3
    ours, theirs = (np.stack([one, np.ones_like(one)], axis=1) for one in scores)
    return ours, theirs, units


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_a_difference_by_group_covers_zero_where_there_is_none(alike):
    rng, covered, above = np.random.default_rng(3), 0, 0
    for seed in range(200):
        ours, theirs, units = differing(rng, 20, 5, alike)
        found = statistics.paired_bootstrap(ours, theirs, mean, units=units, seed=seed, resamples=500)
        covered += found.low <= 0 <= found.high
        above += found.low > 0
    assert covered >= 0.9 * 200
    assert above <= 0.06 * 200


def test_groups_that_do_not_matter_leave_a_difference_about_as_wide():
    rng = np.random.default_rng(4)
    ours, theirs, units = differing(rng, 20, 5, 0.0)
    ours[:, 0] = np.clip(ours[:, 0], 0, 0.2)
    theirs[:, 0] = np.clip(theirs[:, 0], 0, 0.2)
    grouped = statistics.paired_bootstrap(ours, theirs, mean, units=units)
    plain = statistics.paired_bootstrap(ours, theirs, mean)
    assert grouped.high - grouped.low < 1.5 * (plain.high - plain.low)
