"""What `burnish advise` found, as kept in advice.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.advice.candidates import Ranked
from burnish.advice.facts import Facts, Recommendation
from burnish.advice.learning_curve import LearningCurve, Reach, fit, points_of
from burnish.records import Evaluation, Finding


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A system trained on `rows` rows drawn by `seed`, measured on the held-out examples.

    seconds: of the training; prompt_tokens, completion_tokens, seconds_per_example: of its answers, means.
    """

    system: str
    rows: int
    seed: int
    value: float
    seconds: float
    seconds_per_example: float
    prompt_tokens: float
    completion_tokens: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A system's learning curve. rows: all there are to train on; reached: that the system's training sees, which is
    fewer where the task file allows it less than an epoch; value, low, high: forecast with these; measured: whether
    that many were trained on; reach: of the goal's target, None without one. misfit: see advice/learning_curve.py."""

    system: str
    points: tuple[CurvePoint, ...]
    rows: int
    reached: int
    value: float
    low: float
    high: float
    measured: bool
    misfit: bool
    reach: Reach | None


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation and everything it rests on.

    path: the study's folder; metric: the goal's; examples: held out, that systems were measured on; rows: left to
    train on; systems: measured, in the order of the ladder; models: candidates ranked, where any were named; seconds:
    of each step; remarks: one sentence each.
    """

    name: str
    path: str
    metric: str
    examples: int
    rows: int
    recommendation: Recommendation
    facts: Facts
    systems: tuple[Evaluation, ...]
    curves: tuple[Curve, ...]
    findings: tuple[Finding, ...]
    models: tuple[Ranked, ...]
    seconds: dict[str, float]
    remarks: tuple[str, ...]


def fitted(points: Sequence[CurvePoint], examples: int) -> LearningCurve:
    """The learning curve through the points of one system. examples: that each was measured on.

    Raises ConfigError for fewer than three sizes.
    """
    by_rows: dict[int, list[float]] = {}
    for point in points:
        by_rows.setdefault(point.rows, []).append(point.value)
    return fit(points_of(list(by_rows.items()), test_rows=examples))
