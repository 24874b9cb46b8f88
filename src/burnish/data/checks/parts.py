"""Groups of which two parts have rows: only possible with files of one's own, a split keeps groups whole."""

from __future__ import annotations

from collections.abc import Iterator

from burnish.data.checks.base import rows_text
from burnish.data.places import KEPT
from burnish.records import Finding, Source


class GroupParts:
    """Which groups each part has; of the held-out parts also where their rows stand."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = {}  # part -> hashes of its groups
        self.held: dict[str, list[tuple[int, Source]]] = {"validation": [], "test": []}

    def add(self, part: str, group: str, source: Source) -> None:
        self.seen.setdefault(part, set()).add(hash(group))
        if part in self.held:
            self.held[part].append((hash(group), source))

    def findings(self) -> Iterator[Finding]:
        for seen, held in (("train", "test"), ("validation", "test"), ("train", "validation")):
            crossing = self.seen.get(seen, set()) & self.seen.get(held, set())
            rows = [source for group, source in self.held[held] if group in crossing]
            if rows:
                groups = "1 group has" if len(crossing) == 1 else f"{len(crossing):,} groups have"
                yield Finding(
                    "split_leak",
                    "warning",
                    len(rows),
                    f"{groups} rows in {seen} and in {held} ({rows_text(len(rows))} of {held})",
                    f"Move each group into one part: what {held} is to show is how the model does on other groups.",
                    tuple(rows[:KEPT]),
                )
