"""Records of what is measured beside the metrics: how far confidence can be believed, and slices of the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about one confidence: its mean, the share that is right with Wilson's interval, how many."""

    confidence: float
    right: float
    low: float
    high: float
    examples: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence can be believed. accuracy, confidence: shares right and claimed, over all answers.

    error: expected calibration error; chance, chance_high: mean and 95th percentile of what a system whose confidence
    is exactly right would show on as many answers. brier, log_loss (nats): of the confidence as a forecast.
    """

    examples: int
    accuracy: float
    confidence: float
    error: float
    chance: float
    chance_high: float
    brier: float
    log_loss: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Answers at least this confident: their share of all, and the share of them that is right.

    wanted: the accuracy that was asked for, where it was; no answer is left (share 0) where none reaches it.
    """

    confidence: float
    share: float
    accuracy: float
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Temperature:
    """By which a confidence's logit is divided. metric: what counted as right; answers: it was fitted on."""

    value: float
    metric: str
    answers: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A system's confidence on the sealed test, by a metric that counts right answers.

    raw: as the system gives it. temperature: fitted on `fitted_on` validation answers, None when there were too few;
    scaled: the confidence with it. risk_area: AURC. coverage: some points of accuracy over coverage, by the scaled
    confidence where there is one.
    """

    system: str
    metric: str
    raw: Reliability
    temperature: float | None
    fitted_on: int
    scaled: Reliability | None
    risk_area: float
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """The candidate against the best baseline on a part of the sealed test.

    by, name: "class" and a label, "length", "source", "language", or a column and its value. value, baseline: of the
    metric there. low, high: interval of the difference at `level`, which Holm's rule makes stricter the more slices
    there are. change: "worse" or "better" when that interval does not hold zero.
    """

    by: str
    name: str
    examples: int
    metric: str
    value: float
    baseline: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    change: Literal["worse", "better", "unclear"]


@dataclass(frozen=True, slots=True)
class Slices:
    """All slices with enough examples, those that got worse first, then by difference. small: how many have too few
    to be compared; fewest: how many would do."""

    candidate: str
    baseline: str
    slices: tuple[Slice, ...]
    small: int
    fewest: int
