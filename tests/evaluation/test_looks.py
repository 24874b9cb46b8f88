from __future__ import annotations

from fractions import Fraction

import pytest

from burnish.evaluation.looks import error_of, level_of, level_words, spent


def test_the_first_look_is_a_95_percent_interval_and_all_looks_stay_below_5_percent():
    assert (error_of(1), level_of(1), spent(1)) == (0.025, 0.95, 0.025)
    assert [error_of(look) for look in (2, 3)] == pytest.approx([0.0125, 0.025 / 6])
    assert sum(error_of(look) for look in range(1, 100_000)) < 0.05


@pytest.mark.parametrize("looks", [1, 2, 3, 10, 1000])
def test_what_was_spent_is_the_sum_of_the_looks(looks):
    exact = Fraction(1, 40) * (1 + sum(Fraction(1, look * (look - 1)) for look in range(2, looks + 1)))
    assert spent(looks) == pytest.approx(float(exact), abs=1e-15)


def test_later_looks_ask_for_more():
    levels = [level_of(look) for look in range(1, 50)]
    assert levels == sorted(levels)
    assert levels[-1] < 1


@pytest.mark.parametrize("function", [error_of, level_of, spent])
def test_there_is_no_look_before_the_first(function):
    with pytest.raises(ValueError, match="from 1"):
        function(0)


def test_levels_in_words_are_never_100_percent():
    words = [level_words(level_of(look)) for look in (1, 2, 3, 4, 10, 50)]
    assert words == ["95%", "97.5%", "99.17%", "99.58%", "99.944%", "99.998%"]
    assert level_words(1) == "100%"
