"""Documents cut into passages: whole sentences and paragraphs where they fit, with an overlap between neighbours."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from burnish.data.words import WORD
from burnish.records import Passage

# The end of a sentence, with its closing quotes and brackets, or an empty line.
_BORDER = re.compile(r"\n[^\S\n]*\n\s*|(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])(?![」』）])")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Document:
    """id: what examples name it by. marks: offsets in the text, ascending, with the number of the line or page that
    begins there; unit: which of the two."""

    id: str
    title: str
    text: str
    file: str
    unit: Literal["line", "page"]
    marks: tuple[tuple[int, int], ...] = ((0, 1),)

    def place(self, offset: int) -> str:
        """Where in the file the text at an offset stands."""
        found = bisect_right(self.marks, offset, key=lambda mark: mark[0])
        return f"{self.unit} {self.marks[max(0, found - 1)][1]}"


class _Span(NamedTuple):
    """A sentence, or a piece of one that is too long. first: whether a paragraph begins with it."""

    start: int
    end: int
    words: int
    first: bool


def passages_of(document: Document, *, longest: int = 150, overlap: int = 30) -> Iterator[Passage]:
    """The passages of a document, in order; together they hold all of its text.

    longest, overlap: in words (a character of a script without spaces is one). A passage ends at a paragraph's end
    where it is half full and the next paragraph does not fit as a whole, else at a sentence's end; a sentence that is
    longer than a passage is cut between words. The next passage begins with the last sentences, up to `overlap`.
    """
    spans = list(_spans(document.text, longest))
    begin = end = 0
    while begin < len(spans):
        end = _end(spans, begin, end + 1, longest)
        whole = document.text[spans[begin].start : spans[end - 1].end]
        text = whole.lstrip()
        place = document.place(spans[begin].start + len(whole) - len(text))
        yield Passage(document.id, document.title, text.rstrip(), document.file, place)
        if end == len(spans):
            return
        # What is repeated leaves room for the next sentence: a passage must say something new.
        begin = _overlapping(spans, end, min(overlap, longest - spans[end].words))


def _end(spans: Sequence[_Span], begin: int, least: int, longest: int) -> int:
    """Where the passage that starts at `begin` ends, exclusive; not before `least`."""
    total, end = sum(span.words for span in spans[begin:least]), least
    while end < len(spans) and total + spans[end].words <= longest:
        if spans[end].first and 2 * total >= longest and total + _paragraph(spans, end, longest) > longest:
            break
        total += spans[end].words
        end += 1
    return end


def _paragraph(spans: Sequence[_Span], begin: int, enough: int) -> int:
    """Words of the paragraph that starts at `begin`, counted until they are more than enough."""
    total, place = spans[begin].words, begin + 1
    while place < len(spans) and not spans[place].first and total <= enough:
        total += spans[place].words
        place += 1
    return total


def _overlapping(spans: Sequence[_Span], end: int, overlap: int) -> int:
    total, begin = 0, end
    while begin > 0 and total + spans[begin - 1].words <= overlap:
        begin -= 1
        total += spans[begin].words
    return begin


def _spans(text: str, longest: int) -> Iterator[_Span]:
    start, first = 0, True
    for border in [*_BORDER.finditer(text), None]:
        end = len(text) if border is None else border.end()
        if text[start:end].strip():
            yield from _cut(text, start, end, longest, first)
            first = False
        if border is not None and _PARAGRAPH.search(border.group()):
            first = True
        start = end


def _cut(text: str, start: int, end: int, longest: int, first: bool) -> Iterator[_Span]:
    """A sentence, in pieces of at most `longest` words."""
    places = [match.start() for match in WORD.finditer(text, start, end)]
    if len(places) <= longest:
        yield _Span(start, end, len(places), first)
        return
    cuts = [start, *places[longest::longest], end]
    for number, (left, right) in enumerate(pairwise(cuts)):
        words = min(longest, len(places) - number * longest)
        yield _Span(left, right, words, first and number == 0)
