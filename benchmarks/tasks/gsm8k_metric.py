"""The metric of gsm8k.yaml."""

from __future__ import annotations

import re


def same_number(target: str, answer: str) -> bool:
    """Whether the numbers behind #### are equal, thousands' commas and decimal zeros left out."""
    wanted, found = _number(target), _number(answer)
    return wanted is not None and wanted == found


def _number(text: str) -> float | None:
    found = re.search(r"####\s*\$?(-?[\d,]*\.?\d+)", text)
    return None if found is None else float(found[1].replace(",", ""))
