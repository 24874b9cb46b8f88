"""What tuning cost in general ability: the probe before and after, compared question by question, and the rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from burnish.errors import RunError
from burnish.evaluation import statistics
from burnish.records import Forgetting, Interval, ProbeAnswer
from burnish.tasks.base import Floats

_ROUNDING = 1e-9


def measure(answers: Sequence[ProbeAnswer], level: float = 0.95) -> Interval:
    """Share of questions answered rightly, with Wilson's interval. ValueError when there are none."""
    return statistics.rate(_hits(answers), level)


def compare_probes(
    before: Sequence[ProbeAnswer],
    after: Sequence[ProbeAnswer],
    *,
    probe: str,
    allowed: float | None,
    seed: int,
    level: float = 0.95,
) -> Forgetting:
    """After minus before on the same questions: paired interval and McNemar's exact test, as for systems.

    RunError: the answers are not to the same questions in the same order.
    """
    if [one.question_id for one in before] != [one.question_id for one in after]:
        raise RunError("the probes before and after are of other questions", fix="probe again")
    ours, theirs = _hits(after), _hits(before)
    ones = np.ones_like(ours)
    interval = statistics.paired_bootstrap(
        np.stack([ours, ones], axis=1),
        np.stack([theirs, ones], axis=1),
        lambda sums: sums[..., 0] / sums[..., 1],
        seed=seed,
        level=level,
        rate=True,
    )
    gained, lost = int((ours > theirs).sum()), int((ours < theirs).sum())
    return Forgetting(
        probe=probe,
        questions=len(after),
        chance=float(np.mean([1 / len(one.choices) for one in after])),
        before=measure(before, level),
        after=measure(after, level),
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=statistics.mcnemar_exact(gained, lost),
        gained=gained,
        lost=lost,
        allowed=allowed,
    )


class Judgement(NamedTuple):
    """What the gate makes of the probe. blocks: hold for it."""

    blocks: bool
    reason: str
    advice: tuple[str, ...]


def judge(found: Forgetting) -> Judgement:
    """Hold when the fall is larger than allowed and no accident; tell it in any case.

    blocks: before - after > allowed, and the 95% interval of after - before lies below zero. Both are asked for: the
    first alone would hold one run in several for chance (a probe of 150 questions is uncertain by some points), the
    second alone a run that has lost one point of a thousand questions. A fall that is larger than allowed but may be
    chance is told as a doubt.
    """
    fall = -found.difference
    p_value = f"p = {found.p_value:.2g}" if found.p_value >= 0.001 else "p < 0.001"
    told = (
        f"Forgetting: {_percent(found.after)} of {found.questions:,} general questions ({found.probe}) are answered "
        f"rightly after tuning, {_percent(found.before)} before: {100 * found.difference:+.1f} points (95% interval "
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f}; {found.lost} lost, {found.gained} gained; {p_value})"
    )
    if found.allowed is None:
        lost = " Do not use the model for anything else without measuring that." if found.high < 0 else ""
        return Judgement(False, f"{told}. This task holds no model back for it (goal.forgetting).{lost}", ())
    allowed = f"the {100 * found.allowed:g} points allowed"
    too_much = fall > found.allowed + _ROUNDING
    if too_much and found.high < 0:
        return Judgement(True, f"{told}. That is more than {allowed}.", _ADVICE)
    if found.before.low <= found.chance:
        chance = f"{100 * found.chance:.0f}%"
        doubt = f"The untuned model is not clearly above chance ({chance}), so this probe cannot see forgetting."
    elif too_much:
        doubt = f"That is more than {allowed}, but it may be chance. More questions would tell."
    elif found.low < -found.allowed - _ROUNDING:
        doubt = f"That is within {allowed}, but a larger fall is not ruled out."
    else:
        doubt = f"That is within {allowed}."
    return Judgement(False, f"{told}. {doubt}", ())


_ADVICE = (
    "To forget less: mix general instructions into training (`replay: {share: 0.1}` in the task file), lower "
    "training.learning_rate, or train for fewer training.num_epochs. If general ability does not matter where the "
    "model is used, set goal.forgetting: null before the next fresh test.",
)


def _hits(answers: Sequence[ProbeAnswer]) -> Floats:
    return np.array([float(one.chosen == one.answer) for one in answers])


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}%"
