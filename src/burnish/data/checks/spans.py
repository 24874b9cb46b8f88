"""Places in a text that should not be shown, found by patterns with a cheap gate and a strict check."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Pattern(NamedTuple):
    """name: what is found, as a placeholder says it. gate: a quick no for most texts. valid: the check of a match.

    group: the part of the match that is meant (0: all of it).
    """

    name: str
    regex: re.Pattern[str]
    gate: Callable[[str], bool]
    valid: Callable[[str], bool] = lambda text: True
    group: int = 0


def has_any(*parts: str, fold: bool = False) -> Callable[[str], bool]:
    """A gate: whether a text holds one of the parts; quicker than a pattern of alternatives. fold: in any case."""

    def gate(text: str) -> bool:
        looked = text.lower() if fold else text
        for part in parts:  # noqa: SIM110 - a generator takes three times as long
            if part in looked:
                return True
        return False

    return gate


class Span(NamedTuple):
    """text[start:end] is a `name`."""

    start: int
    end: int
    name: str


def find_spans(text: str, patterns: Sequence[Pattern]) -> list[Span]:
    """What the patterns find, in the order of the text. Where two overlap, the earlier pattern of the list wins."""
    found: list[Span] = []
    passed: dict[Callable[[str], bool], bool] = {}  # patterns share gates
    for pattern in patterns:
        opened = passed.get(pattern.gate)
        if opened is None:
            opened = passed[pattern.gate] = pattern.gate(text)
        if not opened:
            continue
        for match in pattern.regex.finditer(text):
            start, end = match.span(pattern.group)
            if any(start < span.end and span.start < end for span in found):
                continue
            if pattern.valid(match[pattern.group]):
                found.append(Span(start, end, pattern.name))
    return sorted(found)


def replaced(text: str, spans: Sequence[Span]) -> str:
    """The text with `[NAME]` in place of each span."""
    parts: list[str] = []
    at = 0
    for span in spans:
        parts += [text[at : span.start], f"[{span.name}]"]
        at = span.end
    return "".join([*parts, text[at:]])
