"""Rows for Gemini models, as Vertex AI takes them for tuning and batches of requests.

{"systemInstruction"?: {"parts": [{"text"}]},
 "contents": [{"role": "user" | "model", "parts": [{"text"} | {"functionCall"} | {"functionResponse"}]}, …],
 "tools"?: [{"functionDeclarations": [schemas]}]}

Keys are read in camel case and with underscores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from burnish.data.strict_json import kind_of
from burnish.data.turns import BadFieldError, Tools, check_order, decoded, nearest, read_call, read_tools, text_of
from burnish.errors import MISSING
from burnish.records import Json, Message, Role, ToolCall

CONTENTS = "contents"
SYSTEM = ("systemInstruction", "system_instruction")

_ROLES: Mapping[str, Role] = {"user": "user", "model": "assistant", "function": "tool"}
_CALL = ("functionCall", "function_call")
_REPLY = ("functionResponse", "function_response")
_DECLARATIONS = ("functionDeclarations", "function_declarations")
_FIELD = re.compile(r"^([^.\[]+\[\d+\])\.(?:content|tool_calls)\b")
_PARTS = 'Write {"role": "user", "parts": [{"text": …}]}.'


def read_contents(value: Json, field: str) -> tuple[Message, ...]:
    """The turns of a row. Raises BadFieldError for what cannot be trained on."""
    contents = decoded(value, field, "the list of contents")
    if not isinstance(contents, list) or not contents:
        raise BadFieldError(field, "contents must be a list of turns with role and parts", contents, _PARTS)
    made: list[Message] = []
    for index, turn in enumerate(contents):
        made += _turns(turn, f"{field}[{index}]")
    check_order(made, field)
    return tuple(made)


def answer_of(contents: Json) -> Json:
    """What the last turn says, unchecked: its calls (named `function`, as elsewhere), else its text, else None."""
    last: Any = contents[-1] if isinstance(contents, list) and contents else None
    parts = last.get("parts") if isinstance(last, dict) else None
    held = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    calls: list[Json] = [{"function": part[name]} for part in held for name in _CALL if name in part]
    return calls or "".join(str(part["text"]) for part in held if "text" in part) or None


def written_part(field: str) -> str:
    """Where a field of a turn stands in the row: `contents[1].content` is `contents[1].parts` there."""
    return _FIELD.sub(r"\1.parts", field)


def declared_tools(value: Json, field: str) -> Tools:
    """The functions of all tools. Raises BadFieldError for tools of another kind (searches, code)."""
    found: list[Json] = []
    tools = decoded(value, field, "the list of tools")
    if not isinstance(tools, list):
        raise BadFieldError(field, f"tools must be a list, this is {kind_of(tools)}", tools, _TOOLS)
    for index, tool in enumerate(tools):
        place = f"{field}[{index}]"
        name = _one_of(tool, _DECLARATIONS) if isinstance(tool, dict) else None
        if name is None or not isinstance(tool[name], list):
            raise BadFieldError(place, "only tools with functionDeclarations are read", tool, _TOOLS)
        if len(tool) > 1:
            other = next(key for key in tool if key != name)
            raise BadFieldError(f"{place}.{other}", "only functionDeclarations are read", tool[other], "Remove it.")
        found += tool[name]
    return read_tools(found, field)


_TOOLS = 'Write [{"functionDeclarations": [{"name": …, "description": …, "parameters": {…}}]}].'


def system_instruction(values: Mapping[str, Json]) -> tuple[Message, ...]:
    """A row's system instruction as a turn, if it has one."""
    name = _one_of(values, SYSTEM)
    if name is None or values[name] in (None, ""):
        return ()
    value = decoded(values[name], name, "the instruction") if _is_object(values[name]) else values[name]
    if isinstance(value, dict):
        odd = next((key for key in value if key not in ("role", "parts")), None)
        if odd is not None:
            raise BadFieldError(f"{name}.{odd}", "the system instruction has no such key", value[odd], "Remove it.")
        return (Message("system", text_of(value.get("parts"), f"{name}.parts")),)
    return (Message("system", text_of(value, name)),)


def _is_object(value: Json) -> bool:
    """Whether a text holds an object, as tables carry it."""
    return isinstance(value, str) and value.lstrip().startswith("{")


def _turns(turn: Json, place: str) -> list[Message]:
    """The messages of a turn: one, or one for each result of a function."""
    if not isinstance(turn, dict):
        raise BadFieldError(place, f"a turn must be an object, this is {kind_of(turn)}", turn, _PARTS)
    odd = next((key for key in turn if key not in ("role", "parts") and turn[key] is not None), None)
    if odd is not None:
        fix = f"Remove it, so that nothing is dropped in silence.{nearest(odd, ['role', 'parts'])}"
        raise BadFieldError(place, f"a turn has no key {odd!r}", turn[odd], fix)
    said = turn.get("role", "user")
    role = _ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        fix = "Use user or model; a system text stands in systemInstruction."
        raise BadFieldError(f"{place}.role", "unknown role", said, fix)
    parts = turn.get("parts", MISSING)
    if not isinstance(parts, list) or not parts:
        raise BadFieldError(f"{place}.parts", "the turn has no list of parts", parts, _PARTS)
    texts: list[str] = []
    calls: list[ToolCall] = []
    replies: list[Message] = []
    for index, part in enumerate(parts):
        _take_part(part, f"{place}.parts[{index}]", texts, calls, replies)
    if calls and role != "assistant":
        raise BadFieldError(place, f"a {said} turn cannot call functions", MISSING, "Give the turn the role model.")
    if replies:
        if texts or calls:
            fix = "Give the results a turn of their own."
            raise BadFieldError(place, "results of functions stand beside other parts", MISSING, fix)
        return replies
    if role == "tool":
        fix = 'Write {"functionResponse": {"name": …, "response": {…}}}.'
        raise BadFieldError(place, "the turn holds no result of a function", MISSING, fix)
    return [Message(role, "".join(texts), tool_calls=tuple(calls))]


def _take_part(part: Json, place: str, texts: list[str], calls: list[ToolCall], replies: list[Message]) -> None:
    held = {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    call, reply = _one_of(held, _CALL), _one_of(held, _REPLY)
    if set(held) == {"text"}:
        texts.append(text_of(held["text"], f"{place}.text"))
    elif call is not None and len(held) == 1:
        calls.append(read_call(_renamed(held[call], "args", "arguments"), f"{place}.{call}"))
    elif reply is not None and len(held) == 1:
        replies.append(_reply(held[reply], f"{place}.{reply}"))
    else:
        fix = "Remove the part or the row."
        raise BadFieldError(place, "only texts, function calls and their results can be trained on", part, fix)


def _reply(value: Json, place: str) -> Message:
    inner: Any = value if isinstance(value, dict) else {}
    if not isinstance(inner.get("name"), str) or "response" not in inner:
        raise BadFieldError(place, "a result needs a name and a response", value, 'Write {"name": …, "response": …}.')
    response = inner["response"]
    text = response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)
    return Message("tool", text, name=inner["name"])


def _renamed(value: Json, old: str, new: str) -> Json:
    """Arguments under the name that calls have elsewhere; a call without any has none."""
    if not isinstance(value, dict):
        return value
    return {new: value.get(old) or {}, **{key: inner for key, inner in value.items() if key != old}}


def _one_of(values: Mapping[str, Json], names: tuple[str, str]) -> str | None:
    return next((name for name in names if values.get(name) is not None), None)
