"""Where something was found: how often, the first places, and how they are named."""

from __future__ import annotations

from pathlib import Path

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


def near(path: Path) -> Path:
    """Relative to the working directory where the file is below it: messages name places as the user would."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
