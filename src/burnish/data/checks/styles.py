"""inconsistent_format: answers that write the same thing in another way than most do.

Compared are, field by field: kinds of values, forms of dates, upper and lower case, space at the ends, missing
fields; of free text also its language. Only the few that differ from the many are told: a mixture of many styles is
a style.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.checks.classes import listed
from burnish.data.language import guess_language
from burnish.data.places import Places
from burnish.records import Finding, Json, Kind, Source

MOST_FIELDS = 200
ENOUGH = 20  # values that a usual style is seen by

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATES = (
    ("2024-03-31", re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}(?!\d)")),
    ("2024/03/31", re.compile(r"\b\d{4}/\d{1,2}/\d{1,2}\b")),
    ("31/03/2024", re.compile(r"(?<![\d/])\d{1,2}/\d{1,2}/\d{4}(?![\d/])")),
    ("31.03.2024", re.compile(r"(?<![\d.])\d{1,2}\.\d{1,2}\.\d{4}(?![\d.])")),
    ("31-03-2024", re.compile(r"(?<![\d-])\d{1,2}-\d{1,2}-\d{4}(?![\d-])")),
    ("March 31, 2024", re.compile(rf"\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b", re.IGNORECASE)),
    ("31 March 2024", re.compile(rf"\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH},? \d{{4}}\b", re.IGNORECASE)),
)
_SHORT_DATES = (  # only as a whole value: in text they may be anything
    ("31/03/24", re.compile(r"\d{1,2}/\d{1,2}/\d{2}")),
    ("31.03.24", re.compile(r"\d{1,2}\.\d{1,2}\.\d{2}")),
    ("31-03-24", re.compile(r"\d{1,2}-\d{1,2}-\d{2}")),
)
_YEAR = re.compile(r"\d{4}")


Field = tuple[str, ...] | None  # keys from the answer's top, none for a text as a whole; None: the input


class Aspect(NamedTuple):
    """most: the usual style's share from which on the others stand out."""

    words: str
    most: float


ASPECTS = {
    "type": Aspect("a value of another kind", 0.9),
    "date": Aspect("a date in another form", 0.5),
    "case": Aspect("other letters in size", 0.97),
    "space": Aspect("space at an end", 0.9),
    "language": Aspect("another language", 0.95),
    "presence": Aspect("a field left out", 0.99),
}


class StyleCheck:
    """Styles of answers by field and aspect, with the places of each."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.rows = 0
        self.styles: dict[tuple[Field, str], defaultdict[str, Places]] = {}
        self.fields: defaultdict[str, int] = defaultdict(int)
        self.shapes: defaultdict[frozenset[str], Places] = defaultdict(Places)

    def add(self, row: TextRow) -> None:
        self.rows += 1
        source, target = row.example.source, row.example.target
        if (spoken := guess_language(row.asked)) is not None:
            self._note(None, "language", spoken, source)
        if self.kind == "generation":
            self._text((), target, source, free=True, asked=row.asked)
        elif self.kind == "extraction":
            self._object((), target, source)
            self._shape(target, source)
        elif self.kind == "tool_calling":
            for call in target:
                self._object((call["name"],), call["arguments"], source)

    def _note(self, field: Field, aspect: str, style: str, source: Source) -> None:
        if (field, aspect) in self.styles or len(self.styles) < MOST_FIELDS:
            self.styles.setdefault((field, aspect), defaultdict(Places))[style].add(source)

    def _shape(self, target: Mapping[str, Json], source: Source) -> None:
        keys = frozenset(target)
        if keys in self.shapes or len(self.shapes) < MOST_FIELDS:
            self.shapes[keys].add(source)
            for key in keys:
                self.fields[key] += 1

    def _object(self, above: tuple[str, ...], value: Mapping[str, Json], source: Source) -> None:
        for key, item in value.items():
            field = (*above, key)
            if isinstance(item, Mapping):
                self._object(field, item, source)
            elif item is not None:
                self._note(field, "type", _kind(item), source)
                for text in item if isinstance(item, list) else [item]:
                    if isinstance(text, str):
                        self._text(field, text, source, free=False)

    def _text(self, field: Field, text: str, source: Source, *, free: bool, asked: str = "") -> None:
        self._note(field, "space", "none" if text == text.strip() else "some", source)
        for form in _dates(text, free):
            self._note(field, "date", form, source)
        if (case := _case(text, free)) is not None:
            self._note(field, "case", case, source)
        spoken = guess_language(text) if free else None
        if spoken is not None and spoken.split()[0] not in asked:  # "Translate into Chinese": then it is no slip
            self._note(field, "language", spoken, source)

    def findings(self) -> Iterator[Finding]:
        for key in self.fields:
            with_it = self.fields[key]
            if ENOUGH <= with_it < self.rows and with_it >= ASPECTS["presence"].most * self.rows:
                styles = self.styles.setdefault(((key,), "presence"), defaultdict(Places))
                styles["there"].count = with_it
                for keys, places in self.shapes.items():
                    if key not in keys:
                        for place in places.first:
                            styles["not there"].add(place)
        for (field, aspect), found in self.styles.items():
            yield from _odd_ones(field, aspect, found)


def _odd_ones(field: Field, aspect: str, found: Mapping[str, Places]) -> Iterator[Finding]:
    total = sum(places.count for places in found.values())
    usual, most = max(found.items(), key=lambda item: item[1].count)
    if len(found) < 2 or total < ENOUGH or most.count < ASPECTS[aspect].most * total:
        return
    if aspect == "space" and usual == "some":  # an old habit is a leading space in every completion
        return
    odd = {style: places for style, places in found.items() if style != usual}
    places = sorted(
        {place for one in odd.values() for place in one.first}, key=lambda place: (place.file, place.line)
    )
    count = sum(one.count for one in odd.values())
    others = listed([f"{style} ({one.count:,})" for style, one in odd.items()])
    what = f"{ASPECTS[aspect].words} in {_named(field)}: {others}; most have {usual} ({most.count:,})"
    yield Finding(
        "inconsistent_format",
        "info" if field is None else "warning",
        count,
        f"{rows_text(count)} with {what}",
        "Write all in one style, or say in the instruction when to use which.",
        tuple(places),
        within=field if aspect == "space" else None,
    )


def _named(field: Field) -> str:
    return "the input" if field is None else ".".join(field) or "the answer"


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list) else "text"


def _dates(text: str, free: bool) -> list[str]:
    if not free and len(text) <= 8:
        return [form for form, pattern in _SHORT_DATES if pattern.fullmatch(text)]
    return [form for form, pattern in _DATES if pattern.search(text)] if _YEAR.search(text) else []


def _case(text: str, free: bool) -> str | None:
    """Upper, lower or capitalised (of free text only whether all is upper case); None for too few letters."""
    letters = [sign for sign in text[:200] if sign.isalpha()]
    if len(letters) < (12 if free else 4):
        return None
    upper = sum(map(str.isupper, letters))
    if upper == len(letters):
        return "UPPER CASE"
    if free:
        return "mixed case"
    if upper == 0:
        return "lower case"
    return "Capitals" if letters[0].isupper() else "miXed"
