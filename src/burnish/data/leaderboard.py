"""Rows of the Berkeley Function-Calling Leaderboard (BFCL): nested questions, and every value that a call accepts.

{"id", "question": [[{role, content}, …]], "function": [schemas], "ground_truth": [{"name": {"argument": [values]}}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from burnish.data.preferences import Taken
from burnish.data.strict_json import kind_of
from burnish.data.turns import BadFieldError, decoded, finding, read_messages
from burnish.errors import MISSING
from burnish.records import Json, Message

QUESTION, FUNCTION, ANSWER = "question", "function", "ground_truth"

_PLACE = re.compile(rf"{ANSWER}\[(\d+)\]\.(?:name|arguments)(.*)")
_CALL = 'Write [{"function_name": {"argument": [accepted values]}}].'


def take_question_apart(values: Mapping[str, Json]) -> Taken:
    """The messages and the calls of a row, {"any_of": […]} where several values are right. Raises BadFieldError."""
    messages = question_turns(values[QUESTION])
    with finding("invalid_tool_call"):
        return Taken(messages, _calls(values.get(ANSWER, MISSING)), ANSWER, f"{QUESTION}[0]")


def written_place(field: str, values: Mapping[str, Json]) -> str:
    """Where a field of a call stands in the row: `ground_truth[0].arguments.x` is `ground_truth[0].f.x` there."""
    found = _PLACE.fullmatch(field)
    if found is None:
        return field
    call: Any = decoded(values[ANSWER], ANSWER, "the answer")
    name = next(iter(call[int(found[1])]))
    return f"{ANSWER}[{found[1]}].{name}{found[2] or ''}"


def question_turns(value: Json) -> tuple[Message, ...]:
    """The messages of a question of one turn."""
    value = decoded(value, QUESTION, "the question")
    if not isinstance(value, list) or not value:
        fix = 'Write [[{"role": "user", "content": …}]].'
        raise BadFieldError(QUESTION, "a question must be a list of turns, each a list of messages", value, fix)
    if len(value) > 1:
        fix = "Write a row for each turn, as messages with the calls and their results before it."
        what = f"questions of several turns are not read, this one has {len(value)}"
        raise BadFieldError(QUESTION, what, MISSING, fix)
    return read_messages(value[0], f"{QUESTION}[0]")


def _calls(value: Json) -> Json:
    value = decoded(value, ANSWER, "the answer") if value is not MISSING else value
    if not isinstance(value, list):
        return value  # read_target says what is wrong
    return [_call(item, f"{ANSWER}[{index}]") for index, item in enumerate(value)]


def _call(item: Json, place: str) -> Json:
    if not isinstance(item, dict) or len(item) != 1:
        what = "an accepted call must be an object with the function's name as its only key"
        if isinstance(item, str):
            what = "calls written as code are not read"
        raise BadFieldError(place, what, item, _CALL)
    ((name, arguments),) = item.items()
    if not isinstance(arguments, dict):
        what = f"the arguments must be an object, this is {kind_of(arguments)}"
        raise BadFieldError(f"{place}.{name}", what, arguments, _CALL)
    return {"name": name, "arguments": _accepted_fields(arguments, f"{place}.{name}")}


def _accepted_fields(fields: Mapping[str, Json], place: str) -> Json:
    """An object whose every field lists what is accepted there; "" in the list: the field may be left out."""
    made: dict[str, Json] = {}
    for key, values in fields.items():
        if not isinstance(values, list) or not values:
            what = f"the accepted values must be a list, this is {kind_of(values)}"
            what = "no value is accepted" if values == [] else what
            raise BadFieldError(f"{place}.{key}", what, values, _CALL)
        several = [_plain(value, f"{place}.{key}[{index}]") for index, value in enumerate(values)]
        made[key] = several[0] if len(several) == 1 and several[0] != "" else {"any_of": several}
    return made


def _plain(value: Json, place: str) -> Json:
    if isinstance(value, dict):
        return _accepted_fields(value, place)
    if isinstance(value, list):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    return value
