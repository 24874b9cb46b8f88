"""Where something was found: how often, and the first places."""

from __future__ import annotations

from burnish.records import Source

KEPT = 100_000  # places that a finding holds, at most; views and reports show the first few
SHOWN = 5  # names or places that a sentence holds, at most


class Places:
    """The number of places and the first `keep`."""

    def __init__(self, keep: int = KEPT) -> None:
        self.count = 0
        self.keep = keep
        self.first: list[Source] = []

    def add(self, source: Source) -> None:
        self.count += 1
        if len(self.first) < self.keep:
            self.first.append(source)
