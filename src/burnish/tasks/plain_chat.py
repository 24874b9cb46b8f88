"""Rows of further data sets as training sees them: their own turns and their own answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.records import Example, Message
from burnish.tasks.generation import Generation
from burnish.tasks.prompts import as_text


@dataclass(frozen=True)
class PlainChat(Generation):
    """See tasks/base.py:Task. The prompt is the row's own turns: no instruction, no shots."""

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        return tuple(as_text(turn) for turn in example.messages)


PLAIN_CHAT = PlainChat("plain chat", "", None, ())
