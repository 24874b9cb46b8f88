from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.evaluation import statistics
from burnish.evaluation.looks import level_of
from burnish.evaluation.power import detectable, examples_needed, outlook, power_of, seen_with, size_for


def test_examples_needed_gives_the_power_it_promises():
    rng = np.random.default_rng(14)

    def trial(n):
        draw = rng.multinomial(n, [0.15, 0.09, 0.76])
        return statistics.tango(int(draw[0]), int(draw[1]), n)

    pilot = statistics.tango(30, 18, 200)
    n = examples_needed(200, 0.06, pilot.low, pilot.high)
    assert n is not None
    power = np.mean([trial(n).low > 0 for _ in range(400)])
    assert 0.7 < power < 0.9


def test_examples_needed_has_no_answer_without_a_gain():
    assert examples_needed(100, 0.0, -0.1, 0.1) is None
    assert examples_needed(100, 0.05, -0.1, 0.2, margin=0.05) is None


# --- before a run ---


@pytest.mark.parametrize(("n", "gain", "differ"), [(200, 0.09, 0.2), (1000, 0.03, 0.1), (500, 0.1, 0.5)])
@pytest.mark.parametrize("level", [0.95, level_of(3)])
def test_power_is_what_tests_drawn_with_that_gain_show(n, gain, differ, level):
    """Against Tango's interval of drawn wins and losses: no normal approximation there."""
    rng = np.random.default_rng(n)
    wins, losses = (differ + gain) / 2, (differ - gain) / 2
    drawn = rng.multinomial(n, [wins, losses, 1 - differ], size=1500)
    seen = np.mean([statistics.tango(int(a), int(b), n, level).low > 0 for a, b, _ in drawn])
    assert power_of(n, gain, differ=differ, level=level) == pytest.approx(seen, abs=0.05)


@given(st.integers(1, 100_000), st.floats(0.01, 1), st.sampled_from([0.95, 0.975, 0.999]))
def test_the_detectable_gain_has_just_the_power_asked_for(n, differ, level):
    gain = detectable(n, differ=differ, level=level)
    assert 0 < gain <= 1
    assert power_of(n, gain, differ=differ, level=level) == pytest.approx(0.8, abs=1e-6)
    assert size_for(gain, differ=differ, level=level) == pytest.approx(n, abs=1 + 1e-6 * n)


def test_more_examples_show_less_and_a_late_look_shows_more():
    gains = [detectable(n) for n in (10, 100, 1000, 10_000)]
    assert gains == sorted(gains, reverse=True)
    assert detectable(200, level=level_of(5)) > detectable(200)
    assert detectable(0) == 1


def test_what_an_interval_shows_is_what_its_width_says():
    """Half of ±1.96 standard errors; 80% power needs 2.80 of them."""
    assert seen_with(-0.0196, 0.0196) == pytest.approx(0.028, abs=1e-4)
    n = examples_needed(100, 0.05, -0.1, 0.1)
    assert seen_with(-0.1 / (n / 100) ** 0.5, 0.1 / (n / 100) ** 0.5) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.5])
def test_no_gain_needs_no_test(gain):
    with pytest.raises(ValueError, match="above 0"):
        size_for(gain)


def test_the_outlook_names_the_margin_that_a_small_test_cannot_show():
    told, little = outlook(200, 0.05)
    assert "a true gain of 8.7 points or more with 80% power" in told
    assert "one of 5 points, the margin, in 36% of such tests" in told
    assert "it takes about 630" in told
    assert not little
    assert outlook(50, 0.05)[1]
    told, little = outlook(5000, 0.05)
    assert "margin" not in told
    assert not little


def test_the_outlook_of_a_late_look_says_so():
    told, _ = outlook(200, 0.05, look=3)
    assert "At look 3 differences are judged by 99.17% intervals." in told
