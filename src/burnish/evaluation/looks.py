"""What a look at a sealed test costs: the error that each of its looks may spend.

Whoever tries candidate after candidate on one test ships a lucky one in the end. So the looks share one budget: the
chance that any of them, however many there will be, ships a system that is no better than a baseline stays at or
below 5%. The first look spends half of it, the lower side of a 95% interval, which is what a test that is used as
intended gets; look k ≥ 2 spends 2.5% / (k (k - 1)), and as 1/2 + 1/6 + 1/12 + … = 1 all later looks together spend
the other half. This is alpha spending (Foster and Stine 2008) with Bonferroni's union bound: it holds whatever the
candidates have in common, and nobody needs to know beforehand how many there will be.
"""

from __future__ import annotations

import math

FIRST = 0.025


def error_of(look: int) -> float:
    """The chance of a false ship that this look (1, 2, …) may take. ValueError below 1."""
    if look < 1:
        raise ValueError(f"looks are counted from 1, got {look}")
    return FIRST if look == 1 else FIRST / (look * (look - 1))


def level_of(look: int) -> float:
    """Level of the two-sided interval that decides at this look: its lower side errs with `error_of`."""
    return 1 - 2 * error_of(look)


def spent(looks: int) -> float:
    """What the first `looks` looks may err together: 2.5% (2 - 1 / looks), below 5%."""
    error_of(looks)
    return FIRST * (2 - 1 / looks)


def level_words(level: float) -> str:
    """95%, 97.5%, 99.17%, 99.944%: with as many digits as tell a late look's level from 100%."""
    missing = 100 * (1 - level)
    digits = 0 if missing <= 0 else max(0, 1 - math.floor(math.log10(missing) + 1e-9))
    text = f"{100 * level:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"
