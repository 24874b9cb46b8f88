"""What report and model card say of the size of the test."""

from __future__ import annotations

from burnish.evaluation.power import POWER, examples_needed, seen_with
from burnish.reports.rundata import RunData
from burnish.reports.text import count, points


def power_sentence(data: RunData) -> str:
    """What this test could show, from the width of the deciding interval; empty without one."""
    pair = data.pair(data.baseline)
    if not pair or pair["high"] <= pair["low"]:
        return ""
    level, margin = pair.get("level", 0.95), float(data.verdict.get("margin") or 0.0)
    least = seen_with(pair["low"], pair["high"], level=level)
    told = (
        f"What this test can show: a true gain of {points(least).removeprefix('+')} points over {data.baseline} "
        f"would be seen in {POWER:.0%} of tests of {count(data.test_size)} examples"
    )
    needed = examples_needed(data.test_size, margin, pair["low"], pair["high"], level=level) if margin else None
    if needed is not None and needed > data.test_size:
        told += f"; to see one of {points(margin).removeprefix('+')}, the margin, takes about {count(needed)}"
    return f"{told}."
