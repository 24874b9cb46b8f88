"""Examples to token sequences with a loss mask, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from burnish.errors import TrainingError
from burnish.models.chat import Chat
from burnish.records import Example, Source
from burnish.tasks.base import Task


class Encoded(NamedTuple):
    """One example for training. tokens[i] is learned for i >= prompt_length.

    The labelled part is the tail of the sequence: the answer and its end of turn.
    """

    tokens: tuple[int, ...]
    prompt_length: int
    weight: float
    source: Source

    @property
    def labelled(self) -> int:
        """Tokens that carry a label."""
        return len(self.tokens) - self.prompt_length


class Encoding(NamedTuple):
    """rows in the order of the examples; too_long: those left out because they exceed max_length."""

    rows: list[Encoded]
    too_long: list[tuple[Source, int]]


def encode(examples: Sequence[Example], task: Task, chat: Chat, *, full: bool, max_length: int) -> Encoding:
    """Render every example. A row that is longer than max_length tokens is left out whole, never cut:
    a cut answer would teach the model to stop in mid-sentence, or leave no label at all (trl #6668)."""
    rows: list[Encoded] = []
    too_long: list[tuple[Source, int]] = []
    for example in examples:
        rendered = chat.render(task.messages(example, full=full), task.answer(example))
        if len(rendered.tokens) > max_length:
            too_long.append((example.source, len(rendered.tokens)))
        else:
            rows.append(Encoded(tuple(rendered.tokens), rendered.prompt_length, example.weight, example.source))
    return Encoding(rows, too_long)


def refuse_too_long(encoding: Encoding, *, max_length: int, max_dropped: float) -> None:
    """Raise TrainingError when more than the share max_dropped of the rows is too long."""
    total = len(encoding.rows) + len(encoding.too_long)
    if not encoding.rows or len(encoding.too_long) > max_dropped * total:
        longest = max((length for _, length in encoding.too_long), default=0)
        first = encoding.too_long[0][0] if encoding.too_long else Source("?", 0)
        raise TrainingError(
            f"{len(encoding.too_long)} of {total} training examples are longer than {max_length} tokens",
            got=f"the longest has {longest} tokens",
            where=f"{first.file}:{first.line}",
            fix=f"set training.max_length: {longest}, shorten them, or allow it with training.max_dropped",
        )
