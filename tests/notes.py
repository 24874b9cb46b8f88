"""A progress that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping


class Notes:
    """lines: stages and notices in order; work that advances is left out."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.lines.append(f"{name}: {detail}")

    def notice(self, text: str, *, warning: bool = False) -> None:
        self.lines.append(text)

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        pass
