"""Prompts: one system turn that is the same for every example, then the input alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from burnish.records import Example, Message, Passage
from burnish.tasks.json_text import compact

_SYSTEM = ("system", "developer")


def conversation(
    system: str, example: Example, shots: Sequence[Example], answer: Callable[[Example], Message]
) -> tuple[Message, ...]:
    """The system turn, the shots as user and assistant turns, the example's own turns.

    An example's own system text follows the instruction. A shot's own system text that differs stands in front
    of its first user turn, as there is one system turn only.
    """
    own = _system_text(example)
    turns = [Message("system", f"{system}\n\n{own}" if own else system)]
    for shot in shots:
        inputs = _turns(shot)
        text = _system_text(shot)
        if text and text != own:
            first = next((index for index, turn in enumerate(inputs) if turn.role == "user"), None)
            if first is not None:
                inputs[first] = replace(inputs[first], content=f"{text}\n\n{inputs[first].content}")
        turns += [*inputs, answer(shot)]
    return (*turns, *_turns(example))


def input_text(example: Example) -> str:
    """What an example asks, as one text: all turns but the system's."""
    return "\n".join(turn.content for turn in example.messages if turn.role not in _SYSTEM)


def with_passages(example: Example, passages: Sequence[Passage]) -> Example:
    """The example with numbered passages in front of its last user turn; the same one without passages."""
    if not passages:
        return example
    listed = "\n\n".join(
        f"[{number}] {passage.title}\n{passage.text}" if passage.title else f"[{number}] {passage.text}"
        for number, passage in enumerate(passages, 1)
    )
    turns = list(example.messages)
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        return replace(example, messages=(Message("user", listed), *turns))
    turns[last] = replace(turns[last], content=f"{listed}\n\n{turns[last].content}")
    return replace(example, messages=tuple(turns))


def _system_text(example: Example) -> str:
    return "\n\n".join(turn.content for turn in example.messages if turn.role in _SYSTEM and turn.content.strip())


def _turns(example: Example) -> list[Message]:
    return [as_text(turn) for turn in example.messages if turn.role not in _SYSTEM]


def as_text(turn: Message) -> Message:
    """An earlier call of the assistant's as it would have written it, since chat templates differ on calls."""
    if not turn.tool_calls:
        return turn
    calls = compact([{"name": call.name, "arguments": dict(call.arguments)} for call in turn.tool_calls])
    return replace(turn, content=f"{turn.content}\n{calls}" if turn.content else calls, tool_calls=())
