"""What `burnish tune` tried and found: frozen dataclasses without logic, as those of records.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from burnish.records import Json, Paired, PromptTrial


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a search. state: pruned trials were stopped early, running ones wait for --resume.

    settings: what the trial sets, by name of the setting. value: what the search maximises, of the best evaluation;
    loss, metric and step: of that evaluation, on validation examples. reason: why it was pruned or failed.
    curve: value by evaluation; the evaluations of all trials lie at equal shares of their steps.
    """

    number: int
    state: Literal["done", "pruned", "failed", "running"]
    settings: Mapping[str, Json] = field(hash=False)
    value: float | None
    loss: float | None
    metric: float | None
    step: int | None
    seconds: float
    reason: str | None
    curve: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search: trial 0 has the task file's own settings, `best` is the number of the best one (None: all failed).

    metric: what the best is best at, a metric's name or "validation_loss"; examples: that it was measured on.
    gain: the best minus trial 0, in the metric's units, above 0 when better; standard_error: of that difference, at
    most, None where it is not known. importance: share of each setting in the variance (PED-ANOVA), once there are
    enough trials. remarks: what a reader should know, one sentence each.
    """

    name: str
    path: str
    metric: str
    examples: int
    trials: tuple[Trial, ...]
    best: int | None
    gain: float | None
    standard_error: float | None
    search: Mapping[str, Json] = field(hash=False)
    importance: Mapping[str, float] = field(hash=False)
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptTuning:
    """A search for a better instruction: trial 0 has the task file's own, `best` is the place of the best one.

    system: what was prompted; model: what wrote the candidates. metric, examples: what was measured, on how many
    validation examples. gain: the best against trial 0 on the same examples, None when trial 0 is the best.
    remarks: what a reader should know, one sentence each.
    """

    name: str
    path: str
    system: str
    model: str
    metric: str
    examples: int
    rounds: int
    trials: tuple[PromptTrial, ...]
    best: int
    gain: Paired | None
    remarks: tuple[str, ...]
