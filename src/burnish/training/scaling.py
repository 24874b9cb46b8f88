"""Loss scaling for float16 (Micikevicius et al. 2018, sections 3.2 and 3.3).

float16 ends at 65,504 and rounds to 0 what is below 6e-8, where many gradients are. The loss is multiplied by a
power of two before the backward pass and the gradients, in float32, are divided by it afterwards: both are exact.
The factor is halved when a gradient overflows, and the step is computed again, so that no example is passed over; it
is doubled after many good steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.whole import computing

BEGIN = 2.0**16
LEAST = 1.0  # below it, the gradients of the loss itself do not fit
MOST = 2.0**24
GOOD_STEPS = 2000  # without an overflow before the factor is doubled


class LossScale(NamedTuple):
    """factor: of the next step's loss; good: steps since it changed; overflows: of the whole training."""

    factor: float = BEGIN
    good: int = 0
    overflows: int = 0


def after(scale: LossScale, *, overflowed: bool) -> LossScale:
    """The scale after a step. An overflow at the least factor leaves a factor below LEAST."""
    if overflowed:
        return LossScale(scale.factor / 2, 0, scale.overflows + 1)
    if scale.good + 1 < GOOD_STEPS:
        return scale._replace(good=scale.good + 1)
    return LossScale(min(2 * scale.factor, MOST), 0, scale.overflows)


def scale_for(model: Any) -> LossScale | None:
    """Where a training begins: None for a model that computes in another format than float16."""
    halves = any(parameter.dtype == torch.float16 for parameter in model.parameters())
    return LossScale() if halves or computing(model).dtype == torch.float16 else None


def unscale(parameters: Iterable[Tensor], scale: LossScale) -> None:
    """Divide the gradients by the factor, in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(1 / scale.factor)
