"""What reports say of hosted models: what they are, and what their answers cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from burnish.reports.text import one_line

Record = Mapping[str, Any]


def hosted_note(config: Record, name: str) -> str:
    """Model and host of a hosted system, empty for others."""
    for one in config.get("hosted") or ():
        if isinstance(one, Mapping) and one.get("name") == name:
            return one_line(f"{one.get('model')} at {urlsplit(str(one.get('base_url'))).netloc}", 120)
    return ""


def per_1000(evaluation: Record) -> str:
    """USD of 1,000 answers, empty where nothing is paid."""
    cost = evaluation.get("cost_per_example")
    return "" if cost is None else f"${1000 * float(cost):,.3g}"
