"""html: tags and entities left in text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.places import Places
from burnish.records import Finding

USUAL = 0.2  # of the rows: where more have markup, it is what the task is about
_TAG = re.compile(
    r"</?(?:a|abbr|b|blockquote|body|br|button|center|code|dd|div|dl|dt|em|font|footer|form|h[1-6]|head|header|hr|html"
    r"|i|iframe|img|input|label|li|link|main|meta|nav|ol|option|p|pre|script|section|select|small|span|strong|style"
    r"|sub|sup|svg|table|tbody|td|textarea|th|thead|title|tr|tt|u|ul|video)(?:\s[^<>]{0,2000})?/?>|<!--|<!doctype",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|apos|copy|reg|hellip|[lr][sd]quo|[mn]dash|#\d{2,6}|#x[0-9a-fA-F]{2,5}"
                     r"|[A-Za-z]{1,2}(?:acute|grave|uml|circ|tilde|cedil|ring|slash|lig));")  # fmt: skip
_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr|/h[1-6])\s*/?>", re.IGNORECASE)


def has_markup(text: str) -> bool:
    """Whether a text holds a tag or an entity of HTML."""
    return ("<" in text and _TAG.search(text) is not None) or ("&" in text and _ENTITY.search(text) is not None)


def without_markup(text: str) -> str:
    """The text a browser would show, roughly: no tags, scripts or comments, line breaks for blocks, plain letters."""
    if not has_markup(text):
        return text
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", _HIDDEN.sub("", text)))).strip()


class MarkupCheck:
    """Rows with tags or entities."""

    def __init__(self) -> None:
        self.rows = 0
        self.places = Places()

    def add(self, row: TextRow) -> None:
        self.rows += 1
        if has_markup(row.whole):
            self.places.add(row.example.source)

    def findings(self) -> Iterator[Finding]:
        count = self.places.count
        if count:
            usual = count > USUAL * self.rows
            yield Finding(
                "html",
                "info" if usual else "warning",
                count,
                f"{rows_text(count)} ({count / self.rows:.1%}) with HTML tags or entities",
                "Keep them if markup is what the task is about."
                if usual
                else "Take the plain text of the source, or let burnish check --fix repair remove them.",
                tuple(self.places.first),
            )
