"""A progress that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Notes:
    """told: everything, as (method, its arguments …), in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @property
    def lines(self) -> list[str]:
        """Stages and notices as text; work that advances is left out."""
        texts = {"stage": lambda name, detail: f"{name}: {detail}", "notice": lambda text, warning: text}
        return [texts[method](*arguments) for method, *arguments in self.told if method in texts]

    def stage(self, name: str, detail: str = "") -> None:
        self.told.append(("stage", name, detail))

    def notice(self, text: str, *, warning: bool = False) -> None:
        self.told.append(("notice", text, warning))

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        self.told.append(("advance", what, done, total, facts))
