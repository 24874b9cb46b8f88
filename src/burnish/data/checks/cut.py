"""truncated: answers that break off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.places import KEPT, Places
from burnish.records import Finding, Source

LEAST = 40  # characters of an answer that can be told to break off
FINISHED = 0.97  # share of answers with an end mark from which on one without it stands out
LIMIT = 200  # characters from which on equal longest lengths look like a limit
_ENDED = re.compile(r"[.!?…。！？।؟)\]}>\"'”’»`*|%:;~]\s*$")
_OPEN = re.compile(
    r"(?:[,(\[{–—&/]|\s[-:]|\b(?:the|an?|and|or|of|to|in|on|with|for|from|by|that|which|are|was|were|as|at|but|because"
    r"|if|than|its|their|your|my|our|into|about|such|der|die|das|und|oder|mit|von|le|la|les|et|ou|de|des|el|los|y|con))$"
)


def breaks_off(answer: str) -> bool:
    """Whether an answer ends where none does: at a comma, an article, inside a block of code."""
    return answer.count("```") % 2 == 1 or _OPEN.search(answer) is not None


class CutCheck:
    """Answers that break off, that lack the end mark that nearly all others have, or that end at one same length."""

    def __init__(self) -> None:
        self.rows = 0
        self.broken: set[Source] = set()
        self.unended = Places()
        self.longest = 0
        self.longest_places = Places()

    def add(self, row: TextRow) -> None:
        if not row.answers or len(row.answers[0]) < LEAST:
            return
        answer, source = row.answers[0].rstrip(), row.example.source
        self.rows += 1
        if breaks_off(answer):
            self.broken.add(source)
        elif not _ENDED.search(answer[-3:]):
            self.unended.add(source)
        if len(answer) > self.longest:
            self.longest, self.longest_places = len(answer), Places()
        if len(answer) == self.longest:
            self.longest_places.add(source)

    def findings(self) -> Iterator[Finding]:
        found = set(self.broken)
        if self.unended.count + len(self.broken) <= (1 - FINISHED) * self.rows:
            found.update(self.unended.first)
        if self.longest >= LIMIT and self.longest_places.count >= 5:
            found.update(self.longest_places.first)
        if found:
            places = sorted(found, key=lambda place: (place.file, place.line))
            yield Finding(
                "truncated",
                "warning",
                len(places),
                f"{rows_text(len(places))} ({len(places) / self.rows:.1%} of those with {LEAST} characters or more) "
                "with an answer that breaks off",
                "Complete the answers, or remove the rows (burnish check --fix drop).",
                tuple(places[:KEPT]),
            )
