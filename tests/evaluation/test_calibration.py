from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from burnish.evaluation import calibration

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


def arrays(rows):
    return np.array([one for one, _ in rows]), np.array([float(hit) for _, hit in rows])


def sure_too_often(n, seed, temperature=3.0):
    """Answers whose true chance of being right is σ(logit(confidence) / temperature)."""
    rng = np.random.default_rng(seed)
    confidences = 1 / (1 + np.exp(-rng.normal(2.5, 2.5, n)))
    truth = 1 / (1 + np.exp(-np.log(confidences / (1 - confidences)) / temperature))
    return confidences, (rng.random(n) < truth).astype(float)


# --- temperature ---


def test_the_temperature_that_was_planted_is_found():
    for planted in (0.5, 1.0, 3.0):
        found = calibration.fit_temperature(*sure_too_often(20_000, 1, planted))
        assert found == pytest.approx(planted, rel=0.06)


def test_the_temperature_is_that_of_logistic_regression_without_intercept():
    confidences, right = sure_too_often(5000, 2)
    fitted = LogisticRegression(C=1e9, fit_intercept=False).fit(calibration.logits(confidences)[:, None], right)
    # Platt's targets draw in a little: 5,000 answers hardly feel it.
    assert 1 / calibration.fit_temperature(confidences, right) == pytest.approx(fitted.coef_[0, 0], rel=0.01)


def test_it_minimises_the_log_loss():
    confidences, right = sure_too_often(2000, 3)
    best = minimize_scalar(lambda t: log_loss(right, calibration.scaled(confidences, t)), bounds=(0.1, 10))
    assert calibration.fit_temperature(confidences, right) == pytest.approx(best.x, rel=0.02)


def test_scaling_mends_the_calibration_of_answers_it_was_not_fitted_on():
    temperature = calibration.fit_temperature(*sure_too_often(300, 4))
    confidences, right = sure_too_often(3000, 5)
    raw = calibration.reliability(confidences, right)
    mended = calibration.reliability(calibration.scaled(confidences, temperature), right)
    assert raw.error > raw.chance_high
    assert mended.error < 0.4 * raw.error
    assert mended.brier < raw.brier
    assert mended.log_loss < raw.log_loss


@pytest.mark.parametrize("right", [1.0, 0.0])
def test_a_validation_part_that_is_all_right_or_all_wrong_asks_for_no_certainty(right):
    confidences = np.linspace(0.6, 0.99, 40)
    temperature = calibration.fit_temperature(confidences, np.full(40, right))
    assert 0.05 <= temperature <= 20
    assert calibration.scaled(confidences, temperature).min() > 0
    assert calibration.scaled(confidences, temperature).max() < 1


@given(answers, st.floats(0.05, 20))
def test_scaling_keeps_the_order_and_the_range(rows, temperature):
    confidences, _ = arrays(rows)
    scaled = calibration.scaled(confidences, temperature)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    order = np.argsort(confidences)
    assert (np.diff(scaled[order]) >= -1e-12).all()


def test_a_temperature_of_one_changes_nothing():
    confidences = np.array([0.001, 0.3, 0.5, 0.999])
    assert calibration.scaled(confidences, 1.0) == pytest.approx(confidences)


# --- reliability ---


def test_bins_and_scores_are_scikit_learns():
    confidences, right = sure_too_often(1000, 6)
    found = calibration.reliability(confidences, right)
    share, sure = calibration_curve(right, confidences, n_bins=10, strategy="quantile")
    assert [one.confidence for one in found.bins] == pytest.approx(sure, abs=2e-3)
    assert [one.right for one in found.bins] == pytest.approx(share, abs=2e-2)
    assert found.brier == pytest.approx(brier_score_loss(right, confidences))
    assert found.log_loss == pytest.approx(log_loss(right, np.clip(confidences, 1e-6, 1 - 1e-6)), abs=1e-6)
    assert sum(one.examples for one in found.bins) == 1000


def test_the_error_is_the_weighted_distance_of_the_bins():
    confidences, right = sure_too_often(500, 7)
    found = calibration.reliability(confidences, right)
    by_hand = sum(one.examples / 500 * abs(one.confidence - one.right) for one in found.bins)
    assert found.error == pytest.approx(by_hand)


def test_what_chance_shows_is_what_a_perfect_system_shows():
    """Half of perfect systems lie on either side of about the mean, and one of twenty above the 95th percentile."""
    rng, above, errors, chances = np.random.default_rng(8), 0, [], []
    for seed in range(200):
        confidences = rng.beta(4, 1, 120)
        found = calibration.reliability(confidences, (rng.random(120) < confidences).astype(float), seed=seed)
        above += found.error > found.chance_high
        errors.append(found.error)
        chances.append(found.chance)
    assert 2 <= above <= 22
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.06)


def test_few_answers_get_few_bins():
    assert len(calibration.reliability(*sure_too_often(10, 9)).bins) == 1
    assert len(calibration.reliability(*sure_too_often(100, 9)).bins) == 5


@settings(max_examples=40, deadline=None)
@given(answers)
def test_reliability_is_within_its_bounds(rows):
    confidences, right = arrays(rows)
    found = calibration.reliability(confidences, right)
    assert 0 <= found.error <= 1
    assert 0 <= found.brier <= 1
    assert 0 <= found.chance <= 1
    assert 0 <= found.chance_high <= 1
    assert found.accuracy == pytest.approx(right.mean())
    assert sum(one.examples for one in found.bins) == len(rows)


# --- what can be left to it ---


def test_risk_and_coverage_by_hand():
    confidences, right = np.array([0.9, 0.8, 0.8, 0.5]), np.array([1.0, 1.0, 0.0, 0.0])
    curve = calibration.risk_coverage(confidences, right)
    assert [(one.confidence, one.share) for one in curve] == [(0.9, 0.25), (0.8, 0.75), (0.5, 1.0)]
    assert [one.accuracy for one in curve] == pytest.approx([1, 2 / 3, 0.5])
    # Risks after 1, 2, 3, 4 answers, the tie sharing its one mistake: 0, 0.25, 1/3, 0.5.
    assert calibration.risk_area(confidences, right) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert calibration.threshold_for(curve, 0.6) == curve[1]
    assert calibration.threshold_for(curve, 0.5) == curve[2]
    assert calibration.threshold_for(curve[1:], 0.9) is None


@given(answers)
def test_the_area_is_that_of_the_plain_loop_where_there_are_no_ties(rows):
    _, right = arrays(rows)
    confidences = np.linspace(1, 0.1, len(rows))
    risks = [1 - right[: k + 1].mean() for k in range(len(rows))]
    assert calibration.risk_area(confidences, right) == pytest.approx(np.mean(risks))


@given(answers)
def test_the_curve_ends_with_all_answers_and_never_answers_less(rows):
    confidences, right = arrays(rows)
    curve = calibration.risk_coverage(confidences, right)
    assert curve[-1].share == 1
    assert curve[-1].accuracy == pytest.approx(right.mean())
    assert [one.share for one in curve] == sorted(one.share for one in curve)
    point = calibration.threshold_for(curve, 0.8)
    if point is not None:
        kept = confidences >= point.confidence
        assert right[kept].mean() == pytest.approx(point.accuracy)
        assert point.accuracy >= 0.8 - 1e-9
        assert all(one.accuracy < 0.8 for one in curve if one.share > point.share)


@pytest.mark.parametrize(
    ("confidences", "right", "words"),
    [
        ([], [], "as many"),
        ([0.5], [1.0, 0.0], "as many"),
        ([np.nan], [1.0], "finite"),
        ([0.5], [0.3], "right"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [calibration.fit_temperature, calibration.reliability, calibration.risk_coverage, calibration.risk_area],
)
def test_what_is_no_answer_is_refused(function, confidences, right, words):
    with pytest.raises(ValueError, match=words):
        function(np.array(confidences), np.array(right))
