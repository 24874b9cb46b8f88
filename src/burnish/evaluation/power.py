"""How large a test must be, and what a test of a given size can show: rough guides on the normal approximation."""

from __future__ import annotations

import math
from statistics import NormalDist

from burnish.evaluation.statistics import quantile


def examples_needed(
    n: int,
    difference: float,
    low: float,
    high: float,
    *,
    margin: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> int | None:
    """Test examples at which a true difference of this size has its interval above `margin` with `power`.

    From the standard error that the interval low … high of `n` examples implies: n ((z_level + z_power) s / d)².
    None when the difference is not above the margin. A rough guide: the difference is itself uncertain.
    """
    if difference <= margin:
        return None
    z = quantile(level)
    error = (high - low) / (2 * z)
    return math.ceil(n * ((z + NormalDist().inv_cdf(power)) * error / (difference - margin)) ** 2)
