"""The learning curve against trainings that were really made (benchmarks/real_curves.json)."""

from __future__ import annotations

import numpy as np
import pytest
from real_curves import FULL_RUNS, forecasts, known_curves, score_of

from burnish.advice.learning_curve import PRIOR, Prior


def test_forecasts_hold_what_came_and_lie_on_both_sides_of_it() -> None:
    found = [one for curve in known_curves() for one in forecasts(curve, PRIOR)]
    assert len(found) > 20
    assert np.mean([one.held for one in found]) >= 0.9
    assert abs(np.mean([one.median - one.value for one in found])) < 0.04


def test_flat_curves_alone_would_do_worse() -> None:
    flat = Prior(shares=(0.01, 0.01, 0.01, 0.97))
    tuned = [curve for curve in known_curves() if curve.system == "tuned"]
    ours, theirs = (np.mean([f.score for c in tuned for f in forecasts(c, prior)]) for prior in (PRIOR, flat))
    assert ours < theirs


def test_every_full_run_is_foretold_where_its_task_has_a_curve() -> None:
    for curve in known_curves():
        if curve.system == "tuned" and curve.task in FULL_RUNS:
            assert any(one.value == FULL_RUNS[curve.task][1] for one in forecasts(curve, PRIOR)), curve.task


def test_the_score_of_a_normal_forecast() -> None:
    """Gneiting and Raftery 2007, equation 21: of N(0, 1) at its mean (√2 - 1) / √π."""
    drawn = np.random.default_rng(0).standard_normal(200_000)
    assert score_of(drawn, 0.0) == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi), abs=3e-3)
    assert score_of(np.full(10, 0.3), 0.5) == pytest.approx(0.2)
