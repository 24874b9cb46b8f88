"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int, total: int, *, peak: float, warmup_ratio: float, kind: Literal["cosine", "linear", "constant"]
) -> float:
    """Rate of 0-based `step` out of `total`: linear warm-up to `peak`, then decay towards 0.

    cosine: Loshchilov and Hutter 2017, equation 5, with one cycle and a minimum of 0.
    """
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    return peak * (0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1 - done)
