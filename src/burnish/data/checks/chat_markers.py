"""chat_marker: text that a chat template was already written into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from burnish.data.checks.base import TextRow, rows_text
from burnish.data.places import Places
from burnish.records import Finding

_MARKER = re.compile(
    r"<\|[A-Za-z]\w{0,40}\|>|<｜[^｜\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^###\s?(?:Instruction|Response|Human|Assistant)\s?:",
    re.MULTILINE,
)
_END = re.compile(r"</s>\s*$", re.MULTILINE)
_SIGNS = ("<", "[", "###")


def chat_marker(text: str) -> str | None:
    """The first marker of a chat template in a text, None where there is none. `</s>` is one at the end of a line,
    where no `<s>` before it makes it a tag of HTML."""
    if not any(sign in text for sign in _SIGNS):
        return None
    found = _MARKER.search(text)
    if found is None and "<s>" not in text:
        found = _END.search(text)
    return None if found is None else found[0].strip()


class ChatMarkerCheck:
    """Rows with markers, and which."""

    def __init__(self) -> None:
        self.places = Places()
        self.markers: Counter[str] = Counter()

    def add(self, row: TextRow) -> None:
        if (found := chat_marker(row.whole)) is not None:
            self.markers[found] += 1
            self.places.add(row.example.source)

    def findings(self) -> Iterator[Finding]:
        if self.places.count:
            markers = ", ".join(marker for marker, _ in self.markers.most_common(3))
            yield Finding(
                "chat_marker",
                "warning",
                self.places.count,
                f"{rows_text(self.places.count)} with markers of a chat template ({markers})",
                "Give the turns as messages, without markers: the model's own chat template writes them.",
                tuple(self.places.first),
            )
