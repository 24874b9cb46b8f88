"""One field of a row's answer edited, in whatever form the row holds the answer; the input stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from burnish.data.cleaning.rewrite import dumped
from burnish.data.strict_json import BadJsonError, parse_json
from burnish.records import Json

Edit = Callable[[str], str]

_SAID = ("content", "value", "tool_calls", "function_call")  # where a turn holds what it says


def with_answer(values: Mapping[str, Json], column: str, field: Sequence[str], edit: Edit) -> dict[str, Json]:
    """A row's values with every text in one field of its answer edited.

    column: holds the answer, or the turns of which the last is the answer. field: keys that lead to it from the
    answer's top (of calls the function's name, then its arguments); none for an answer that is one text.
    What is not there stays as it is.
    """
    if column not in values:
        return dict(values)
    value = values[column]
    turns = _parsed(value) if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns or not _is_turn(turns[-1]):
        return {**values, column: _answer(value, field, edit)}
    last = {key: _answer(said, field, edit) if key in _SAID else said for key, said in turns[-1].items()}
    made = [*turns[:-1], last]
    if made == turns:
        return dict(values)
    return {**values, column: _written(made, value) if isinstance(value, str) else made}


def _is_turn(value: Json) -> bool:
    return isinstance(value, dict) and ("role" in value or "from" in value)


def _answer(value: Json, field: Sequence[str], edit: Edit) -> Json:
    """A text in several parts stays: which of their ends are the answer's is not said."""
    return value if not field and isinstance(value, list) and len(value) != 1 else _within(value, field, edit)


def _within(value: Json, field: Sequence[str], edit: Edit) -> Json:
    """The answer, or a part of it, with the field edited; JSON in a text is written back in its style."""
    if not field:
        items = value if isinstance(value, list) else [value]
        made = [edit(item) if isinstance(item, str) else item for item in items]
        return made if isinstance(value, list) else made[0]
    if isinstance(value, str):
        inner = _parsed(value)
        changed = _within(inner, field, edit)
        return value if inner is None or changed == inner else _written(changed, value)
    if isinstance(value, list):
        return [_within(item, field, edit) for item in value]
    if not isinstance(value, dict):
        return value
    if field[0] in value:
        return value | {field[0]: _within(value[field[0]], field[1:], edit)}
    if isinstance(value.get("function"), dict):
        return value | {"function": _within(value["function"], field, edit)}
    if value.get("name") == field[0] and "arguments" in value:
        return value | {"arguments": _within(value["arguments"], field[1:], edit)}
    return value


def _parsed(text: str) -> Json:
    """What a JSON text holds; None for another text."""
    try:
        return parse_json(text.strip())
    except BadJsonError:
        return None


def _written(value: Json, like: str) -> str:
    body = like.strip()
    before, _, after = like.partition(body)
    return before + dumped(value, body.encode("utf-8", "surrogatepass")).decode("utf-8") + after
