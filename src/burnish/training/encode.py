"""Examples to items of an objective: token sequences with a loss mask, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from burnish.errors import TrainingError, at_place
from burnish.models.chat import Chat
from burnish.models.layout import Labelled, Span
from burnish.records import Example, Message, Source
from burnish.tasks.base import Task
from burnish.training.objectives.base import Item
from burnish.training.objectives.make import ObjectiveName

Turns = Literal["last", "all"]


class Encoding(NamedTuple):
    """rows: items in the order of the examples; too_long: examples left out because they exceed max_length."""

    rows: list[Item]
    too_long: list[tuple[Source, int]]


def tail_item(tokens: Sequence[int], prompt_length: int, weight: float, source: Source) -> Item:
    """An item of one sequence whose tokens from prompt_length on are learned: the answer and its end of turn."""
    return Item((Labelled(tuple(tokens), (Span(prompt_length, len(tokens)),)),), weight, source)


def encode(
    examples: Sequence[Example],
    task: Task,
    chat: Chat,
    *,
    full: bool,
    max_length: int,
    objective: ObjectiveName = "sft",
    turns: Turns = "last",
) -> Encoding:
    """Render every example as the objective needs it.

    sft: the answer after its prompt; turns "all" also learns the assistant's earlier turns (those of weight 0 never,
    those of weight 1 always), each as an item of its own where the template rewrites them. dpo, orpo, simpo: chosen
    and rejected. kto: each answer, and beside it the answer of another example to the same prompt, which estimates
    the KL divergence.
    An example with a sequence of more than max_length tokens is left out whole, never cut: a cut answer would teach
    the model to stop in mid-sentence, or leave no label at all (trl #6668).
    """
    rows: list[Item] = []
    too_long: list[tuple[Source, int]] = []
    for number, example in enumerate(examples):
        beside = examples[(number + 1) % len(examples)]
        with at_place(f"{example.source.file}:{example.source.line}"):
            items = _items(example, beside, task, chat, full=full, objective=objective, turns=turns)
        longest = max(len(sequence.tokens) for item in items for sequence in item.sequences)
        if longest > max_length:
            too_long.append((example.source, longest))
        else:
            rows += items
    return Encoding(rows, too_long)


def _items(
    example: Example,
    beside: Example,
    task: Task,
    chat: Chat,
    *,
    full: bool,
    objective: ObjectiveName,
    turns: Turns,
) -> list[Item]:
    messages = task.messages(example, full=full)
    if objective == "kto":
        return _unpaired(example, messages, task, chat, task.answer(beside))
    if objective == "sft":
        sequences = chat.render_apart(messages, task.answer(example), all_turns=turns == "all")
        return [_item(example, [sequence]) for sequence in sequences]
    pair = [task.answer(example), _rejected(task, example)]
    return [_item(example, [chat.render_turns(messages, answer) for answer in pair])]


def _item(example: Example, sequences: Sequence[Labelled], *, desirable: bool = True) -> Item:
    return Item(tuple(sequences), example.weight, example.source, desirable=desirable)


def _unpaired(
    example: Example, messages: Sequence[Message], task: Task, chat: Chat, mismatched: Message
) -> list[Item]:
    """One item for a single answer, two for a pair, each with a mismatched answer beside it."""
    beside = chat.render_turns(messages, mismatched)
    first = chat.render_turns(messages, task.answer(example))
    target = example.target
    if isinstance(target, dict) and "desirable" in target:
        return [_item(example, [first, beside], desirable=bool(target["desirable"]))]
    second = chat.render_turns(messages, _rejected(task, example))
    return [_item(example, [first, beside]), _item(example, [second, beside], desirable=False)]


def _rejected(task: Task, example: Example) -> Message:
    find = getattr(task, "rejected", None)
    message: Message | None = find(example) if find else None
    if message is None:
        raise TrainingError(
            "this objective needs a rejected answer for every example",
            got=f"kind {task.kind}",
            where=f"{example.source.file}:{example.source.line}",
            fix="use kind: preference with pairs, or training.objective: sft (kto for single answers)",
        )
    return message


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
