"""Where something was found: how often, and the first few places."""

from __future__ import annotations

from burnish.data.lengths import SHOWN
from burnish.records import Source


class Places:
    """The number of places and the first SHOWN."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Source] = []

    def add(self, source: Source) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(source)
