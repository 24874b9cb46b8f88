"""Numbers in the advisor's sentences."""

from __future__ import annotations

from burnish.advice.facts import Reason, SystemFact


def percent(value: float) -> str:
    """0.8512 -> 85.1%."""
    return f"{100 * value:.1f}%"


def points(difference: float) -> str:
    """0.05 -> 5.0 points."""
    return f"{100 * difference:.1f} points".replace("-", "−")


def range_words(system: SystemFact) -> str:
    """93.3% (91.5 to 94.9)."""
    return f"{percent(system.value)} ({100 * system.low:.1f} to {100 * system.high:.1f})"


def measured(text: str, system: SystemFact) -> Reason:
    """A sentence about a system's own measurement."""
    return Reason(text, "measured", f"{'learning curve' if system.forecast else 'evaluation'} of {system.name}")
