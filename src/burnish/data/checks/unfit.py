"""Rows whose answer or text cannot be used: findings with their places, not only bad rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from burnish.data.checks.base import rows_text
from burnish.data.checks.classes import listed
from burnish.data.places import Places
from burnish.errors import Problem
from burnish.records import Finding, Source

_WORDS = {
    "schema_violation": "with an answer that is not what the task allows",
    "invalid_tool_call": "with a tool call that its tool would refuse",
    "empty_field": "without an answer",
    "encoding_damage": "with bytes or characters that are no text",
}


class UnfitRows:
    """Problems counted by the kind of finding they are."""

    def __init__(self) -> None:
        self.places: defaultdict[str, Places] = defaultdict(Places)
        self.reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.fixes: dict[str, str] = {}

    @property
    def count(self) -> int:
        return sum(places.count for places in self.places.values())

    def add(self, problem: Problem) -> None:
        self.places[problem.finding].add(Source(problem.file, problem.line))
        reasons = self.reasons[problem.finding]
        if problem.what in reasons or len(reasons) < 1000:
            reasons[problem.what] += 1
        self.fixes.setdefault(problem.finding, problem.fix)

    def findings(self, allowed: int = 0) -> Iterator[Finding]:
        """allowed: up to so many rows may be left out of a run."""
        for kind, places in self.places.items():
            reasons = [f"{what} ({count:,})" for what, count in self.reasons[kind].most_common()]
            yield Finding(
                kind,
                "error" if self.count > allowed else "warning",
                places.count,
                f"{rows_text(places.count)} {_WORDS[kind]}: {listed(reasons)}",
                f"{self.fixes[kind]} A run stops at such rows; --allow-bad-rows {self.count} goes on without them.",
                tuple(places.first),
            )
