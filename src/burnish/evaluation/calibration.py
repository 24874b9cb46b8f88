"""Can a confidence be believed, can it be corrected, and what can be left to it: pure functions of two arrays.

confidences: (N,) probabilities that a system gives its own answers; right: (N,) zeros and ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from burnish.evaluation.measures import Coverage, Reliability, ReliabilityBin
from burnish.evaluation.statistics import wilson
from burnish.tasks.base import Floats

BINS = 10
_PER_BIN = 20  # fewer answers than this in a bin say little: small tests get fewer bins
_EDGE = 1e-6  # a confidence of 0 or 1 has no logit
_COLDEST, _HOTTEST = 0.05, 20.0
_CHANCE_DRAWS = 1000


def logits(confidences: Floats) -> Floats:
    """ln(p / (1 - p)), with p kept a millionth away from 0 and 1."""
    kept = np.clip(confidences, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def scaled(confidences: Floats, temperature: float) -> Floats:
    """σ(logit(p) / T): above 1 the temperature makes answers less sure, below 1 surer. Their order stays."""
    return np.asarray(1 / (1 + np.exp(-logits(confidences) / temperature)))


def fit_temperature(confidences: Floats, right: Floats) -> float:
    """The temperature at which the answers' being right is likeliest (Guo et al. 2017, section 4.2).

    For two labels this is their method; for more, and for texts, it is applied to the logit of the answer given, all
    that a system tells. Targets are drawn in as in Platt 1999, equation 1, so that a validation part on which all is
    right does not ask for certainty. Between 0.05 and 20; ValueError without answers.
    """
    from scipy.optimize import minimize_scalar

    _check(confidences, right)
    hits = float(right.sum())
    good, bad = (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2)
    targets, raw = np.where(right > 0.5, good, bad), logits(confidences)

    def loss(log_temperature: float) -> float:
        z = raw / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, z) - targets * z))  # cross-entropy of σ(z)

    bounds = (math.log(_COLDEST), math.log(_HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def reliability(confidences: Floats, right: Floats, *, seed: int = 0) -> Reliability:
    """How far confidence and being right part, over bins that hold equally many answers.

    The calibration error is Σ n_b / N |mean confidence - share right| (Naeini et al. 2015; equal-mass bins as in
    Nguyen and O'Connor 2015). It is never zero on a sample, even for a perfect system, so it stands beside what such
    a system would show: answers drawn right with exactly these confidences (Bröcker and Smith 2007), of which
    `chance` is the mean and `chance_high` the 95th percentile.
    """
    _check(confidences, right)
    order = np.argsort(confidences, kind="stable")
    places = np.array_split(order, max(1, min(BINS, len(order) // _PER_BIN)))
    starts = np.cumsum([0, *(len(place) for place in places[:-1])])
    sure = np.clip(confidences[order], 0.0, 1.0)
    sums = np.add.reduceat(sure, starts)

    def error(hits: Floats) -> Floats:
        """(…, N) in the order of confidence -> (…) calibration error."""
        return np.asarray(np.abs(np.add.reduceat(hits, starts, axis=-1) - sums).sum(axis=-1) / len(sure))

    rng = np.random.default_rng(seed)
    drawn = np.array([float(error((rng.random(len(sure)) < sure).astype(np.float64))) for _ in range(_CHANCE_DRAWS)])
    kept = np.clip(sure, _EDGE, 1 - _EDGE)
    hits = right[order]
    return Reliability(
        examples=len(sure),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        error=float(error(hits)),
        chance=float(drawn.mean()),
        chance_high=float(np.quantile(drawn, 0.95)),
        brier=float(np.mean((sure - hits) ** 2)),
        log_loss=float(-np.mean(hits * np.log(kept) + (1 - hits) * np.log1p(-kept))),
        bins=tuple(_bin(confidences[place], right[place]) for place in places),
    )


def _bin(confidences: Floats, right: Floats) -> ReliabilityBin:
    found = wilson(float(right.sum()), len(right))
    return ReliabilityBin(float(confidences.mean()), found.value, found.low, found.high, len(right))


def risk_coverage(confidences: Floats, right: Floats) -> list[Coverage]:
    """What is answered and how well, for every confidence that could be asked for: from the surest answers to all.

    Answers of equal confidence cannot be told apart and come together.
    """
    _check(confidences, right)
    order = np.argsort(-confidences, kind="stable")
    sure, hits = confidences[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(sure[1:] < sure[:-1], True))
    n = len(sure)
    return [Coverage(float(sure[at]), (at + 1) / n, float(hits[at] / (at + 1))) for at in last.tolist()]


def risk_area(confidences: Floats, right: Floats) -> float:
    """Area under the curve of error over coverage (AURC, Geifman et al. 2019): the lower, the better mistakes are the
    unsure answers. Ties count with their mean."""
    _check(confidences, right)
    area, before = 0.0, 0
    n, wrong = len(right), 0.0
    for point in risk_coverage(confidences, right):
        upto = round(point.share * n)
        errors = (1 - point.accuracy) * upto
        share = (errors - wrong) / (upto - before)
        area += sum((wrong + share * (k - before)) / k for k in range(before + 1, upto + 1))
        before, wrong = upto, errors
    return area / n


def threshold_for(curve: Sequence[Coverage], wanted: float) -> Coverage | None:
    """The point of `risk_coverage` that answers most at this accuracy or better; None when no part reaches it."""
    return next((point for point in reversed(curve) if point.accuracy >= wanted - 1e-12), None)


def _check(confidences: Floats, right: Floats) -> None:
    if confidences.shape != right.shape or confidences.ndim != 1 or not len(right):
        raise ValueError(f"need as many confidences as answers, got {confidences.shape} and {right.shape}")
    if not (np.isfinite(confidences).all() and np.isin(right, (0.0, 1.0)).all()):
        raise ValueError("confidences must be finite, and answers right (1) or not (0)")
