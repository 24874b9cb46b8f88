"""Texts of rows made fit to be shown: other people's, perhaps long."""

from __future__ import annotations

from burnish.reports.text import clean, cut


def row_text(text: str, limit: int) -> str:
    """At most `limit` characters of it, without what could steer a terminal or a page."""
    return cut(clean(text), limit)
