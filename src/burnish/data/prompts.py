"""The input of a row: a text, messages, or the columns of Alpaca."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.data.turns import BadFieldError, decoded, read_messages, text_of
from burnish.records import Json, Message


def system_turns(values: Mapping[str, Json]) -> tuple[Message, ...]:
    """The column `system` (or `system_prompt`) as a turn, if the row has one."""
    for column in ("system", "system_prompt"):
        if values.get(column) not in (None, ""):
            return (Message("system", text_of(values[column], column)),)
    return ()


def prompt_turns(value: Json, field: str) -> tuple[Message, ...]:
    """An input: a text becomes one user turn; a list, or the JSON of one with roles, is a conversation."""
    value = listed(value, field)
    if isinstance(value, list):
        return read_messages(value, field)
    return (Message("user", text_of(value, field)),)


def listed(value: Json, field: str) -> Json:
    """The value itself, or the list of messages that a text holds (tables carry lists as text)."""
    if isinstance(value, str) and value.lstrip().startswith('[{"role"'):
        return decoded(value, field, "the list of messages")
    return value


def has_roles(value: Json) -> bool:
    """Whether a value is a list of messages with roles."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "role" in value[0]


def is_conversation(value: Json) -> bool:
    """Whether a value is a list of turns, OpenAI's or ShareGPT's."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ("role" in first or "from" in first)


def alpaca_turns(values: Mapping[str, Json], column: str) -> tuple[Message, ...]:
    """Alpaca's instruction (in `column`) with its input (or Dolly's context), system text and history."""
    instruction = text_of(values[column], column)
    given = next((name for name in ("input", "context") if values.get(name) is not None), None)  # context: Dolly
    context = text_of(values[given], given) if given is not None else ""
    question = f"{instruction}\n{context}" if context.strip() else instruction  # joined as LLaMA-Factory does
    turns = list(system_turns(values))
    history = decoded(values.get("history") or [], "history", "the history")
    if not isinstance(history, list):
        raise BadFieldError(
            "history", "the history must be a list of pairs", history, 'Write [["question", "answer"]].'
        )
    for index, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            fix = 'Write ["question", "answer"].'
            raise BadFieldError(f"history[{index}]", "a turn of the history must be a pair of texts", pair, fix)
        turns.append(Message("user", text_of(pair[0], f"history[{index}][0]")))
        turns.append(Message("assistant", text_of(pair[1], f"history[{index}][1]")))
    return (*turns, Message("user", question))
