"""answer_leak: the input gives the answer away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.places import Places
from burnish.records import Finding, Kind

COPIED = 0.05  # of the rows: where more hold their answer, taking it from the input is the task
_LONG, _WORDS = 25, 5  # characters and words from which on an answer in the input is no chance
_SHORT = 60  # characters of an answer that a marker may announce
_MARKED = (
    r"(?:label|class|category|intent|answer|output|target|solution|response|completion|ground[ _]truth|gold|expected)"
    r"['\"]?(?:\s*(?:=>|->|[:=])\s*|\s+is\s+)['\"\[(<{*]*"
)
_SPACE = re.compile(r"\s+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.:-][A-Za-z0-9]+)+|[a-z]+[A-Z]\w*")  # a name rather than a word


class LeakCheck:
    """Rows whose input holds the label behind a marker, the answer's words, its JSON, or the name of the call."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.rows = 0
        self.marked = Places()
        self.held = Places()

    def add(self, row: TextRow) -> None:
        self.rows += 1
        target = row.example.target
        if self.kind == "classification":
            if is_marked(row.asked, target) or is_named(row.asked, target):
                self.marked.add(row.example.source)
        elif self.kind == "extraction":
            if holds_json(row.asked, target):
                self.marked.add(row.example.source)
        elif self.kind == "tool_calling":
            if any(is_named(row.asked, call["name"]) or holds_json(row.asked, call["arguments"]) for call in target):
                self.marked.add(row.example.source)
        elif row.answers:
            answer = row.answers[0].strip()
            if len(answer) <= _SHORT and is_marked(row.asked, answer):
                self.marked.add(row.example.source)
            elif len(answer) >= _LONG and answer in row.asked and len(answer.split()) >= _WORDS:
                self.held.add(row.example.source)

    def findings(self) -> Iterator[Finding]:
        few = self.held.count <= COPIED * self.rows
        count = self.marked.count + (self.held.count if few else 0)
        if count:
            places = [*self.marked.first, *(self.held.first if few else [])]
            yield Finding(
                "answer_leak",
                "warning",
                count,
                f"{rows_text(count)} ({count / self.rows:.1%}) with the answer in the input",
                "Take it out of the input: in use it will not be there.",
                tuple(sorted(places, key=lambda place: (place.file, place.line))),
            )
        if not few:
            yield Finding(
                "answer_leak",
                "info",
                self.held.count,
                f"{rows_text(self.held.count)} ({self.held.count / self.rows:.1%}) with the whole answer in the "
                "input, which may be what the task is",
                "See whether the input will hold it in use, too.",
                tuple(self.held.first),
            )


@lru_cache(maxsize=10_000)
def _marker(answer: str) -> re.Pattern[str]:
    end = r"(?!\w)" if answer[-1:].isalnum() else ""
    return re.compile(_MARKED + re.escape(answer) + end + rf"|[\[(<{{]{re.escape(answer)}[\])>}}]\s*$", re.IGNORECASE)


def is_marked(text: str, answer: str) -> bool:
    """Whether the text announces the answer (`label: refund`), or ends with it in brackets."""
    return bool(answer) and answer.casefold() in text.casefold() and _marker(answer).search(text) is not None


def is_named(text: str, name: str) -> bool:
    """Whether the text holds a name that no one writes by chance (`card_arrival`, `getWeather`)."""
    return name in text and len(name) > 4 and _NAME.fullmatch(name) is not None


def holds_json(text: str, value: object) -> bool:
    """Whether the text holds a JSON object, whatever its spaces."""
    if "{" not in text or not value:
        return False
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=dict)
    return len(compact) > 8 and _SPACE.sub("", compact) in _SPACE.sub("", text)
