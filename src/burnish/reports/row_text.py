"""Texts of rows made fit to be shown: other people's, perhaps long, perhaps personal."""

from __future__ import annotations

from burnish.data.checks.masking import masked
from burnish.reports.text import clean, cut


def row_text(text: str, limit: int) -> str:
    """At most `limit` characters of it, personal data and secrets masked, without what could steer a terminal."""
    return cut(clean(masked(text)), limit)
