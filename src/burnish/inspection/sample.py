"""The rows that embedding checks look at: a sample that the rows' content decides, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from burnish.data.fingerprint import input_key
from burnish.records import Example, Kind, Message, Source
from burnish.tasks.tool_calling import tools_called

SAMPLE = 5000  # rows of each part
REQUESTS = "requests"  # the part of rows that were asked for in use, without answers
LONGEST = 2000  # characters of a text, its last ones: an embedding model reads no more


class Item(NamedTuple):
    """A row as the checks see it. unit: rows that belong together (a group, copies of an input) share it."""

    id: str
    text: str
    label: str | None
    unit: str
    source: Source
    part: str


class Sample(NamedTuple):
    """items: the rows looked at, in the order of their files; rows: how many there were."""

    items: tuple[Item, ...]
    rows: int

    def part(self, name: str) -> list[Item]:
        """The rows of one part."""
        return [item for item in self.items if item.part == name]


class Sampler:
    """Keeps at most `size` different rows of each part: those with the smallest hash, so order does not matter."""

    def __init__(self, size: int, kind: Kind) -> None:
        self._size = size
        self._label = _LABELS.get(kind, _no_label)
        self._kept: dict[str, dict[str, Item]] = {}
        self._ranks: dict[str, list[tuple[int, str]]] = {}  # heaps: the largest hash first, negated
        self._rows = 0

    def add(self, example: Example, part: str = "train") -> None:
        """Look at one more row."""
        self._rows += 1
        rank = -int.from_bytes(hashlib.blake2b(example.id.encode(), digest_size=8).digest(), "big")
        kept, ranks = self._kept.setdefault(part, {}), self._ranks.setdefault(part, [])
        if example.id in kept or (len(ranks) >= self._size and rank <= ranks[0][0]):
            return
        kept[example.id] = self._item(example, part)
        if len(ranks) < self._size:
            heapq.heappush(ranks, (rank, example.id))
        else:
            del kept[heapq.heapreplace(ranks, (rank, example.id))[1]]

    def sample(self) -> Sample:
        """What was kept."""
        items = [item for kept in self._kept.values() for item in kept.values()]
        return Sample(tuple(sorted(items, key=lambda item: (item.source.file, item.source.line))), self._rows)

    def _item(self, example: Example, part: str) -> Item:
        unit = input_key(example) if example.group is None else f"group {example.group}"
        label = None if example.target is None else self._label(example)
        return Item(example.id, input_text(example.messages), label, unit, example.source, part)


def _no_label(example: Example) -> str | None:
    return None


_LABELS: dict[Kind, Callable[[Example], str | None]] = {
    "classification": lambda example: str(example.target),
    "tool_calling": tools_called,
}


def input_text(messages: Sequence[Message]) -> str:
    """What was asked, without the system's turn; of a long conversation its end."""
    turns = [message.content for message in messages if message.role not in ("system", "developer")]
    return "\n".join(turns)[-LONGEST:]
