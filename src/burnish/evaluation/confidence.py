"""A system's confidence on a task: which answers count as right, the temperature of validation, the sealed test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from burnish.evaluation import calibration
from burnish.evaluation.measures import Calibration, Coverage, Temperature
from burnish.records import Example, Prediction
from burnish.tasks.base import Floats, Metric, Task

FEWEST = 20  # answers that a temperature is fitted on
ACCURACIES = (0.8, 0.9, 0.95, 0.99)  # asked for in the table of what can be left to the system


def counting_metric(task: Task) -> Metric | None:
    """The metric that says of one answer whether it is right: the primary one if it is a rate, else the first rate.

    None for free text measured by degrees (chrF): a probability of being right means nothing there.
    """
    primary = task.metrics[0]
    if primary.rate or task.kind == "generation":
        return primary if primary.rate else None
    return next((metric for metric in task.metrics if metric.rate), None)


def fit(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Temperature | None:
    """The temperature of validation answers; None where nothing counts as right, or with fewer than 20 answers."""
    metric = counting_metric(task)
    confidences, right = _pairs(metric, examples, predictions)
    if metric is None or len(right) < FEWEST:
        return None
    return Temperature(calibration.fit_temperature(confidences, right), metric.name, len(right))


def calibration_of(
    system: str,
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    temperature: Temperature | None,
    seed: int,
) -> Calibration | None:
    """What the sealed test says of a system's confidence, as it is and with the temperature; None if it has none."""
    metric = counting_metric(task)
    confidences, right = _pairs(metric, examples, predictions)
    if metric is None or not len(right):
        return None
    shown = calibration.scaled(confidences, temperature.value) if temperature else confidences
    curve = calibration.risk_coverage(shown, right)
    points = {wanted: calibration.threshold_for(curve, wanted) for wanted in ACCURACIES}
    return Calibration(
        system=system,
        metric=metric.name,
        raw=calibration.reliability(confidences, right, seed=seed),
        temperature=temperature.value if temperature else None,
        fitted_on=temperature.answers if temperature else 0,
        scaled=calibration.reliability(shown, right, seed=seed) if temperature else None,
        risk_area=calibration.risk_area(shown, right),
        coverage=tuple(_named(wanted, point) for wanted, point in points.items()),
    )


def _named(wanted: float, point: Coverage | None) -> Coverage:
    """No answers are left where the accuracy is never reached."""
    return replace(point, wanted=wanted) if point else Coverage(1.0, 0.0, 0.0, wanted)


def _pairs(
    metric: Metric | None, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> tuple[Floats, Floats]:
    """(M,) confidences and (M,) zeros and ones of the answers that have a confidence."""
    if metric is None:
        return np.zeros(0), np.zeros(0)
    found = [
        (prediction.confidence, float(metric.counts(example, prediction.parsed)[0]))
        for example, prediction in zip(examples, predictions, strict=True)
        if prediction.confidence is not None
    ]
    return np.array([sure for sure, _ in found], dtype=np.float64), np.array([hit for _, hit in found])
