"""How large a test must be, and what a test of a given size can show: guides on the normal approximation.

For paired answers that are right or wrong, the standard error of a difference d on n examples is √((ψ - d²) / n) with
ψ, the share of examples on which exactly one of the two systems is right (Miettinen 1968; as in Connor 1987). Before
a run nobody knows ψ; 20% is what two systems of about 80% show when half of their answers are alike.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from burnish.evaluation.looks import level_of, level_words
from burnish.evaluation.statistics import quantile

USUAL_DIFFER = 0.2
POWER = 0.8


def power_of(n: float, gain: float, *, differ: float = USUAL_DIFFER, level: float = 0.95) -> float:
    """How likely a test of n examples has the interval of a true gain above zero. differ: ψ, at least the gain."""
    spread = max(differ, gain) - gain * gain
    if spread <= 0:  # one system is always right and the other never
        return 1.0
    return NormalDist().cdf(gain / math.sqrt(spread / n) - quantile(level))


def detectable(n: float, *, differ: float = USUAL_DIFFER, level: float = 0.95, power: float = POWER) -> float:
    """The least true gain whose interval lies above zero with `power`, at most 1: z √(ψ / (n + z²)), or with ψ = the
    gain itself where that is larger, which is z² / (n + z²)."""
    z = quantile(level) + NormalDist().inv_cdf(power)
    return max(z * math.sqrt(differ / (n + z * z)), z * z / (n + z * z)) if n > 0 else 1.0


def size_for(gain: float, *, differ: float = USUAL_DIFFER, level: float = 0.95, power: float = POWER) -> int:
    """Test examples that show a true gain with `power`: z² (ψ - d²) / d². ValueError unless 0 < gain <= 1."""
    if not 0 < gain <= 1:
        raise ValueError(f"a gain lies above 0 and is at most 1, got {gain}")
    z = quantile(level) + NormalDist().inv_cdf(power)
    return max(1, math.ceil(z * z * (max(differ, gain) - gain * gain) / (gain * gain)))


def seen_with(low: float, high: float, *, level: float = 0.95, power: float = POWER) -> float:
    """The true gain that a test with an interval as wide as low … high shows with `power`, whatever the metric."""
    z = quantile(level)
    return (high - low) / (2 * z) * (z + NormalDist().inv_cdf(power))


def examples_needed(
    n: int,
    difference: float,
    low: float,
    high: float,
    *,
    margin: float = 0.0,
    power: float = POWER,
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


def outlook(n: int, margin: float, look: int = 1) -> tuple[str, bool]:
    """What a test of n independent examples can show, said before a run; and whether that is too little.

    margin: the gain that the task asks for. look: which look at the test the run will be. Too little: a gain of twice
    the margin (of 10 points, if that is more) would not be seen with 80% power.
    """
    level = level_of(look)
    least = detectable(n, level=level)
    late = f" At look {look} differences are judged by {level_words(level)} intervals." if look > 1 else ""
    told = (
        f"a test of {n:,} examples shows a true gain of {_points(least)} or more with {POWER:.0%} power (if the "
        f"systems differ on {USUAL_DIFFER:.0%} of the answers)"
    )
    if 0 < margin < least:
        chance = power_of(n, margin, level=level)
        told += (
            f"; one of {_points(margin)}, the margin, in {100 * chance:.0f}% of such tests. For that it takes about "
            f"{_rounded(size_for(margin, level=level)):,}"
        )
    return f"{told}.{late}", least > 2 * max(margin, 0.05)


def _points(gain: float) -> str:
    number = f"{100 * gain:.1f}".removesuffix(".0")
    return f"{number} point" if number == "1" else f"{number} points"


def _rounded(number: int) -> int:
    """Up to two digits: an estimate should not look like a count."""
    scale: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / scale) * scale
