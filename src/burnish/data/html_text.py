"""The text of an HTML page: its title, and blocks with the line where each begins."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

_SILENT = {"script", "style", "template", "noscript", "svg"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "summary", "table", "ul",
}  # fmt: skip


class Page(NamedTuple):
    """blocks: (line, text) of paragraphs, headings, list items; a table is one, its rows on lines of their own."""

    title: str
    blocks: list[tuple[int, str]]


def read_html(text: str) -> Page:
    """What a browser would show of a page, without its layout. Broken markup is read as far as it goes."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.end_block()
    return Page(" ".join("".join(reader.title).split()), reader.blocks)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.blocks: list[tuple[int, str]] = []
        self._words: list[str] = []
        self._line = 1
        self._begun = False
        self._silent = 0
        self._in_title = False
        self._as_is = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "title" and not self._silent:
            self._in_title = True
        elif tag in ("br", "tr"):
            self._words.append("\n")
        elif tag in ("td", "th"):
            self._words.append(" ")
        elif tag in _BLOCKS:
            self.end_block()
            self._as_is += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:  # <svg/> opens nothing
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self.end_block()
            self._as_is = max(0, self._as_is - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._in_title:
            self.title.append(data)
            return
        if not self._begun and data.strip():
            self._begun = True
            lines = len(data[: len(data) - len(data.lstrip())].splitlines()) - 1
            self._line = self.getpos()[0] + max(0, lines)
        if self._begun:
            self._words.append(data if self._as_is else " ".join(("|" + data + "|").split())[1:-1])

    def end_block(self) -> None:
        lines = (
            " ".join(line.split()) if not self._as_is else line.rstrip() for line in "".join(self._words).split("\n")
        )
        text = "\n".join(line for line in lines if line.strip())
        if text:
            self.blocks.append((self._line, text))
        self._words, self._begun = [], False
