"""Metrics as functions of summed counts, and the shapes that several kinds share.

The metric of a set is value(sum of counts), so that a bootstrap resamples rows of counts and never text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from burnish.records import Example, Parsed
from burnish.tasks.base import Floats, Metric


@dataclass(frozen=True, slots=True)
class CountMetric:
    """A metric made of two functions; see tasks/base.py:Metric for their contract."""

    name: str
    rate: bool
    counts: Callable[[Example, Parsed], Floats]
    value: Callable[[Floats], Floats]


def divide(above: Floats, below: Floats, empty: float = 0.0) -> Floats:
    """above / below, and `empty` where below is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    out: Floats = np.full(np.broadcast(above, below).shape, empty)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _quotient(sums: Floats) -> Floats:
    return divide(sums[..., 0], sums[..., 1])


def rate_metric(name: str, right: Callable[[Example, Parsed], bool]) -> CountMetric:
    """The share of examples that are right. Counts: [0 or 1, 1]."""

    def counts(example: Example, parsed: Parsed) -> Floats:
        return np.array([float(right(example, parsed)), 1.0])

    return CountMetric(name, True, counts, _quotient)


def mean_metric(name: str, score: Callable[[Example, Parsed], float]) -> CountMetric:
    """The mean of a score in [0, 1]. Counts: [score, 1]."""

    def counts(example: Example, parsed: Parsed) -> Floats:
        return np.array([score(example, parsed), 1.0])

    return CountMetric(name, False, counts, _quotient)


def share_metric(name: str, parts: Callable[[Example, Parsed], tuple[int, int]]) -> CountMetric:
    """Right parts over all parts, pooled over examples. Counts: [right, all]."""

    def counts(example: Example, parsed: Parsed) -> Floats:
        return np.array(parts(example, parsed), dtype=np.float64)

    return CountMetric(name, False, counts, _quotient)


def f1_value(sums: Floats) -> Floats:
    """F1 = 2 tp / (2 tp + fp + fn) of sums (…, 3) of [tp, fp, fn]; 1 where there is nothing to find or found."""
    tp, fp, fn = sums[..., 0], sums[..., 1], sums[..., 2]
    return divide(2 * tp, 2 * tp + fp + fn, empty=1.0)


def f1_metric(name: str, parts: Callable[[Example, Parsed], tuple[int, int, int]]) -> CountMetric:
    """Micro F1 over parts of answers. Counts: [tp, fp, fn]."""

    def counts(example: Example, parsed: Parsed) -> Floats:
        return np.array(parts(example, parsed), dtype=np.float64)

    return CountMetric(name, False, counts, f1_value)


def precision_recall_f1(tp: float, fp: float, fn: float) -> dict[str, float]:
    """The three, 0 where there is nothing to divide by (as scikit-learn's zero_division=0)."""
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def primary_first(metrics: Iterable[Metric], primary: str) -> tuple[Metric, ...]:
    """The same metrics, the one called `primary` in front."""
    return tuple(sorted(metrics, key=lambda metric: metric.name != primary))
