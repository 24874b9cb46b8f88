"""Spellings of labels: which of them mean one label, and which of these is the usual one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_EDGES = " \t\r\n\u00a0_\"'`“”‘’.,:;!?()[]{}"  # not + - # * %: "A", "A+" and "A-" are three labels
_PARTS = re.compile(
    r"(?<=[^\s_./,-])[\s_./,-]+(?=[^\s_./,-])"
)  # between words; between digits it is part of a number


class Spelled(NamedTuple):
    """Labels that mean the same. usual: the one with the most rows; clear: it has more than the others together."""

    usual: str
    others: tuple[str, ...]
    clear: bool


def folded(label: str) -> str:
    """What the spellings of one label share: case, signs between words and punctuation around them do not count."""

    def between(match: re.Match[str]) -> str:
        before, after = match.string[match.start() - 1], match.string[match.end()]
        return match[0] if before.isdigit() and after.isdigit() else " "

    return _PARTS.sub(between, label.casefold().strip(_EDGES))


def spellings(labels: Mapping[str, int]) -> Iterator[Spelled]:
    """The labels that are written in several ways. labels: rows of each."""
    same: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, rows in labels.items():
        same[folded(label)][label] = rows
    for word, written in same.items():
        if word and len(written) > 1:
            usual, *others = sorted(written, key=lambda label: (-written[label], label))
            yield Spelled(usual, tuple(others), 2 * written[usual] > written.total())
