"""How long work tells of itself. The terminal's implementation is reports/terminal.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives what a run does; must never raise."""

    def stage(self, name: str, detail: str = "") -> None:
        """A new step of the lifecycle begins."""

    def notice(self, text: str, *, warning: bool = False) -> None:
        """One line the user should read."""

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        """`done` of `total` units of `what` are finished; facts are shown beside (loss, tokens/s, …)."""


class Silent:
    """Says nothing: the default for library use."""

    def stage(self, name: str, detail: str = "") -> None:
        pass

    def notice(self, text: str, *, warning: bool = False) -> None:
        pass

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        pass


def teller(progress: Progress, what: str) -> Callable[[int, int], None]:
    """A function that tells of (done, total) units of `what`."""
    return lambda done, total: progress.advance(what, done, total)
