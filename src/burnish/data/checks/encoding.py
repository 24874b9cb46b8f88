"""encoding_damage: text that went through the wrong encoding, replacement characters, control characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.places import Places
from burnish.records import Finding

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")


def damage(text: str) -> str | None:
    """What is damaged in a text, in words, or None."""
    if not text.isprintable() and _CONTROL.search(text):
        return "control characters"
    if text.isascii():
        return None
    if "\ufffd" in text:
        return "replacement characters (�)"
    from ftfy.badness import is_bad

    return "letters of the wrong encoding (such as Ã© for é)" if is_bad(text) else None


def repaired(text: str) -> str:
    """The text with wrong encodings undone and control characters left out; what � stood for cannot be known."""
    if damage(text) is None:
        return text
    from ftfy import fix_encoding

    return _CONTROL.sub("", fix_encoding(text))


class EncodingCheck:
    """Rows with damage, by its sort."""

    def __init__(self) -> None:
        self.places = Places()
        self.sorts: Counter[str] = Counter()

    def add(self, row: TextRow) -> None:
        if (found := damage(row.whole)) is not None:
            self.sorts[found] += 1
            self.places.add(row.example.source)

    def findings(self) -> Iterator[Finding]:
        if self.places.count:
            sorts = ", ".join(f"{sort} ({count:,})" for sort, count in self.sorts.most_common())
            yield Finding(
                "encoding_damage",
                "warning",
                self.places.count,
                f"{rows_text(self.places.count)} with {sorts}",
                "Read the source again with its right encoding, or let burnish check --fix repair undo it.",
                tuple(self.places.first),
            )
