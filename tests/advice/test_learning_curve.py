"""The learning curve: exact points give the curve back, coverage on simulated curves, shape of the predictions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_curves import Curve, exponential, flat, measured, power_law, s_shaped

from burnish.advice.learning_curve import Point, fit, points_from_intervals, points_of
from burnish.errors import ConfigError

SIZES = (50, 100, 200, 400)


@pytest.mark.parametrize(
    ("curve", "sizes", "seeds", "least"),
    [
        (power_law, (50, 100, 200), 3, 0.95),
        (power_law, SIZES, 3, 0.95),
        (power_law, SIZES, 1, 0.95),
        (power_law, (50, 100, 200, 400, 800, 1600), 3, 0.95),
        (flat, SIZES, 3, 0.95),
        (flat, SIZES, 1, 0.92),
        (s_shaped, SIZES, 3, 0.95),
        (s_shaped, (50, 100, 200), 1, 0.95),
        (exponential, SIZES, 3, 0.88),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    curve: Callable[[np.random.Generator], Curve], sizes: tuple[int, ...], seeds: int, least: float
) -> None:
    rng = np.random.default_rng(3)
    trials, held = 120, dict.fromkeys((2, 5, 10), 0)
    for _ in range(trials):
        true = curve(rng)
        fitted = fit(measured(true, sizes, seeds, 500, rng))
        for times in held:
            found = fitted.forecast(times * sizes[-1])
            held[times] += found.low <= true(times * sizes[-1]) <= found.high
    allowed = 2.6 * math.sqrt(least * (1 - least) / trials)  # one miss in 200 by chance
    assert all(count / trials >= least - allowed for count in held.values()), held


def test_sure_answers_about_a_target_are_right() -> None:
    rng = np.random.default_rng(5)
    said: dict[str, list[bool]] = {"yes": [], "no": [], "unclear": []}
    for _ in range(200):
        true = power_law(rng)
        fitted = fit(measured(true, (50, 100, 200, 400, 800, 1600), 3, 500, rng))
        target = true(1600) + rng.uniform(-0.02, 0.2)
        said[fitted.reach(target).answer].append(true(16000) >= target)
    assert len(said["yes"]) > 10
    assert len(said["no"]) > 10
    assert np.mean(said["yes"]) >= 0.9
    assert np.mean(said["no"]) <= 0.1


def test_exact_points_give_the_curve_back() -> None:
    def true(n: float) -> float:
        return 0.9 - 0.5 * (n / 50) ** -0.7

    points = [Point(n, true(n), 0.0005) for n in (50, 100, 200, 400, 800, 1600)]
    fitted = fit(points)
    assert not fitted.misfit
    assert fitted.forecast(3200).value == pytest.approx(true(3200), abs=0.006)
    reached = fitted.reach(0.86, minutes_per_row=2, wage=30)
    assert reached.rows == pytest.approx(50 * (0.5 / 0.04) ** (1 / 0.7), rel=0.1)
    assert reached.more is not None
    assert reached.cost == pytest.approx(reached.more * 2 / 60 * 30)
    assert fitted.reach(0.95).answer == "no"
    assert fitted.reach(0.80).answer == "yes"


def test_a_rise_from_nothing_is_not_taken_for_the_end_of_one() -> None:
    """Three points of a model that is only learning the form of an answer, as on SNIPS: 43% with all rows."""
    points = points_of([(50, [0.075]), (100, [0.115]), (200, [0.185])], test_rows=200)
    found = fit(points).forecast(1540)
    assert found.low < 0.2
    assert found.value > 0.28
    assert found.high > 0.6


def test_points_that_fall_are_told_as_a_misfit() -> None:
    fitted = fit([Point(50, 0.9, 0.01), Point(100, 0.7, 0.01), Point(200, 0.5, 0.01), Point(400, 0.4, 0.01)])
    assert fitted.misfit


values = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=6)


@given(values, st.floats(0.003, 0.1))
@settings(max_examples=40)
def test_predictions_are_rates_and_rise(values: list[float], error: float) -> None:
    fitted = fit([Point(50 * 2**i, value, error) for i, value in enumerate(values)])
    found = [fitted.forecast(rows) for rows in (fitted.rows, 2 * fitted.rows, 5 * fitted.rows, 10 * fitted.rows)]
    for one in found:
        assert 0 <= one.low <= one.value <= one.high <= 1
    middles = [float(np.median(fitted.values_at(rows))) for rows in (50, 100, 1000, 10_000)]
    assert middles == sorted(middles)
    assert np.all(fitted.gap >= 0)
    assert np.all(fitted.asymptote <= 1)


@given(values, st.floats(0.003, 0.1), st.floats(0, 1), st.floats(0, 0.3))
@settings(max_examples=40)
def test_a_higher_target_is_never_easier(values: list[float], error: float, target: float, more: float) -> None:
    fitted = fit([Point(50 * 2**i, value, error) for i, value in enumerate(values)])
    low, high = fitted.reach(target), fitted.reach(min(1.0, target + more))
    assert low.probability >= high.probability
    assert low.ever >= high.ever
    if low.rows is not None and high.rows is not None:
        assert low.rows <= high.rows


@given(values, st.floats(0.003, 0.1))
@settings(max_examples=10)
def test_the_fit_is_the_same_every_time_and_in_any_order(values: list[float], error: float) -> None:
    points = [Point(50 * 2**i, value, error) for i, value in enumerate(values)]
    assert fit(points).forecast(400) == fit(points[::-1]).forecast(400)


def test_more_precise_points_give_narrower_intervals() -> None:
    widths = []
    for error in (0.002, 0.01, 0.05):
        found = fit([Point(n, 0.9 - 0.5 * (n / 50) ** -0.7, error) for n in SIZES]).forecast(2000)
        widths.append(found.high - found.low)
    assert widths == sorted(widths)


def test_points_of_repeats_by_hand() -> None:
    points = points_of([(100, [0.5, 0.6, 0.7]), (50, [0.4, 0.5, 0.6])], test_rows=100)
    assert [point.rows for point in points] == [50, 100]
    from scipy.stats import t

    between = 0.01 * (t.ppf(0.975, 4) / 1.959964) ** 2
    assert points[0].error == pytest.approx(math.sqrt(between / 3 + 0.25 / 100), rel=1e-5)
    single = points_of([(100, [1.0])], test_rows=100)[0]
    assert single.error == pytest.approx(math.sqrt(0.02**2 + 0.005 * 0.995 / 100), rel=1e-5)
    from_interval = points_from_intervals([(100, 0.5, 0.402, 0.598)])[0]
    assert from_interval.error == pytest.approx(0.05, rel=1e-3)


def test_too_few_sizes_and_impossible_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="three sizes"):
        fit([Point(50, 0.5, 0.1), Point(50, 0.6, 0.1), Point(100, 0.7, 0.1)])
    with pytest.raises(ConfigError, match="no point"):
        points_of([(50, [1.5])])
    with pytest.raises(ConfigError, match="no point"):
        points_of([(0, [0.5])])
