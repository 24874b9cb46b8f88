"""Conversations as rows write them: messages, tool calls and tool schemas, checked and made into records.

Everything here raises BadFieldError with the path of the field, such as `messages[1].tool_calls[0].function.name`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, get_args

from burnish.calls import parameter_schema
from burnish.data.checks.masking import masked
from burnish.data.fingerprint import canonical
from burnish.data.strict_json import BadJsonError, kind_of, parse_json
from burnish.errors import MISSING, shorten
from burnish.records import Json, Message, Role, ToolCall
from burnish.thoughts import has_thought, with_thought

Tools = tuple[Mapping[str, Json], ...]

ROLES: tuple[Role, ...] = get_args(Role)
SHAREGPT_ROLES: Mapping[str, Role | str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "function_call",
}
_MESSAGE_KEYS = {"role", "content", "tool_calls", "name", "tool_call_id", "weight", "function_call", "refusal"}
_SHAREGPT_KEYS = {"from", "value", "weight", "name"}
_REASONING = {"reasoning", "reasoning_content", "thinking"}  # as APIs give it, beside the content


class BadFieldError(Exception):
    """One field of a row is wrong. Never leaves this package: it becomes a Problem with file and line.

    The value is masked before it is cut, so that no half of a secret stays. finding: the kind of finding it is.
    """

    def __init__(self, field: str, what: str, got: object, fix: str, finding: str = "") -> None:
        super().__init__(what)
        self.field = field
        self.what = what
        self.got = "" if got is MISSING else shorten(_Plain(masked(repr(got))))
        self.fix = fix
        self.finding = finding


@contextmanager
def finding(kind: str) -> Iterator[None]:
    """What is wrong in here is a finding of this kind, where nothing closer says otherwise."""
    try:
        yield
    except BadFieldError as error:
        error.finding = error.finding or kind
        raise


def nearest(word: str, words: Sequence[str]) -> str:
    """` Did you mean X?` for the closest of the words, else an empty string."""
    close = difflib.get_close_matches(word, list(words), 1, 0.6)
    if not close:
        folded = {other.casefold(): other for other in words}
        close = [folded[word.casefold()]] if word.casefold() in folded else []
    return f" Did you mean {close[0]!r}?" if close else ""


def decoded(value: Json, field: str, what: str) -> Json:
    """The value itself, or what a JSON string holds (tables carry lists and objects as text)."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value.strip())
    except BadJsonError as error:
        place = f"{field}.{error.field}" if error.field else field
        raise BadFieldError(place, f"{what} is {error.what}", _got(error, value), error.fix) from None


class _Plain(str):
    """Text that is already shortened: shown as it is."""

    def __repr__(self) -> str:
        return str(self)


def _got(error: BadJsonError, value: str) -> str:
    return _Plain(error.got) if error.got else value


def text_of(value: Json, field: str) -> str:
    """A string, or a list of OpenAI text parts joined without anything between them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = []
        for index, part in enumerate(value):
            place = f"{field}[{index}]"
            if isinstance(part, str):
                texts.append(part)
                continue
            if not isinstance(part, dict):
                raise BadFieldError(place, f"a content part must be an object, this is {kind_of(part)}", part, _PARTS)
            if part.get("type", "text" if "text" in part else None) != "text":  # Bedrock's parts have no type
                what = "only content parts of type 'text' can be trained on"
                raise BadFieldError(f"{place}.type", what, part.get("type", MISSING), "Remove the part or the row.")
            if not isinstance(part.get("text"), str):
                what = "a text part needs a string 'text'"
                raise BadFieldError(f"{place}.text", what, part.get("text", MISSING), _PARTS)
            texts.append(part["text"])
        return "".join(texts)
    what = "there is no text" if value is None else f"text must be a string, this is {kind_of(value)}"
    raise BadFieldError(field, what, value, "Write the text as a string.")


_PARTS = 'Write {"type": "text", "text": "…"}, or the whole content as one string.'


def read_messages(value: Json, field: str) -> tuple[Message, ...]:
    """OpenAI messages. Unknown roles, unknown keys, and replies to calls that were not made are errors."""
    value = decoded(value, field, "the list of messages")
    if not isinstance(value, list):
        what = f"{field} must be a list of messages, this is {kind_of(value)}"
        raise BadFieldError(field, what, value, 'Write [{"role": "user", "content": …}, …].')
    if not value:
        raise BadFieldError(field, "the list of messages is empty", MISSING, "Remove the row or add its turns.")
    made = tuple(_read_message(item, f"{field}[{index}]") for index, item in enumerate(value))
    check_order(made, field)
    return made


def refuse_unknown(item: Mapping[str, Json], known: Collection[str], place: str, whose: str) -> None:
    """Raise BadFieldError for a key with a value that is none of the known ones; whose: "a message"."""
    for key, value in item.items():
        if key in known or value is None:
            continue
        fix = f"Remove it, so that nothing is dropped in silence.{nearest(key, sorted(known))}"
        raise BadFieldError(f"{place}.{key}", f"{whose} has no such key", value, fix)


def _read_message(item: Json, place: str) -> Message:
    if not isinstance(item, dict):
        what = f"a message must be an object, this is {kind_of(item)}"
        raise BadFieldError(place, what, item, 'Write {"role": "user", "content": …}.')
    refuse_unknown(item, _MESSAGE_KEYS | _REASONING, place, "a message")
    if item.get("refusal") is not None:
        fix = "Move the refusal's text to content."
        raise BadFieldError(f"{place}.refusal", "refusals are not read", item["refusal"], fix)
    role = _role(item, place)
    calls = read_tool_calls(item.get("tool_calls"), f"{place}.tool_calls") if item.get("tool_calls") else ()
    if item.get("function_call") is not None:  # OpenAI before November 2023
        calls += (read_call(item["function_call"], f"{place}.function_call"),)
    if calls and role != "assistant":
        fix = "Move the calls to the assistant turn."
        raise BadFieldError(f"{place}.tool_calls", f"a {role} turn cannot call tools", MISSING, fix)
    content = item.get("content")
    if content is None and not calls:
        what = "the turn has no content"
        raise BadFieldError(f"{place}.content", what, content if "content" in item else MISSING, "Write its text.")
    text = "" if content is None else text_of(content, f"{place}.content")
    return Message(
        role=role,
        content=_with_reasoning(item, role, text, place),
        tool_calls=calls,
        name=_string(item, "name", place),
        tool_call_id=_string(item, "tool_call_id", place),
        weight=turn_weight(item.get("weight"), role, f"{place}.weight"),
    )


def _with_reasoning(item: Mapping[str, Json], role: Role, text: str, place: str) -> str:
    """The content with the reasoning that stands beside it in front, as models write it."""
    found = [key for key in sorted(_REASONING) if item.get(key) not in (None, "")]
    if not found:
        return text
    key, value = found[0], item[found[0]]
    field = f"{place}.{key}"
    if not isinstance(value, str):
        raise BadFieldError(
            field, f"reasoning must be text, this is {kind_of(value)}", value, "Write it as a string."
        )
    if role != "assistant":
        raise BadFieldError(field, f"a {role} turn has no reasoning", value, "Move it to the assistant's turn.")
    if len(found) > 1 or has_thought(text):
        beside = f"{found[1]} beside it" if len(found) > 1 else "a thought in the content"
        raise BadFieldError(field, f"there is reasoning twice, with {beside}", value, "Keep one of them.")
    return with_thought(value, text)


def _role(item: Mapping[str, Json], place: str) -> Role:
    role = item.get("role")
    if role is None and "from" in item:
        fix = "Rename from/value to role/content, or the column to 'conversations' (ShareGPT)."
        raise BadFieldError(f"{place}.role", "the message has ShareGPT's keys", sorted(item), fix)
    if role is None:
        raise BadFieldError(f"{place}.role", "the message has no role", MISSING, f"Use one of {', '.join(ROLES)}.")
    if role == "function":
        return "tool"
    for known in ROLES:
        if role == known:
            return known
    hint = nearest(role, ROLES) if isinstance(role, str) else ""
    if isinstance(role, str) and not hint and SHAREGPT_ROLES.get(role.lower()) in ROLES:
        hint = f" Did you mean {SHAREGPT_ROLES[role.lower()]!r}?"
    raise BadFieldError(f"{place}.role", "unknown role", role, f"Use one of {', '.join(ROLES)}.{hint}")


def _string(item: Mapping[str, Json], key: str, place: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise BadFieldError(f"{place}.{key}", f"{key} must be a string", value, "Write it in quotes.")
    return value


def turn_weight(value: Json, role: Role, field: str) -> float | None:
    """OpenAI's turn weight: 0 or 1 on assistant turns, at most 0 on others (SlimOrca), where it says nothing new."""
    if value is None:
        return None
    if role != "assistant":
        if value == 0 and not isinstance(value, bool):  # true of every such turn: none is trained on
            return None
        fix = "Remove it: only assistant turns are trained on."
        raise BadFieldError(field, f"a {role} turn cannot have a weight", value, fix)
    if isinstance(value, bool) or value not in (0, 1):
        raise BadFieldError(field, "a turn's weight must be 0 or 1", value, "Write 0 (left out of the loss) or 1.")
    return float(value)


def check_order(messages: Sequence[Message], field: str) -> None:
    """Raises BadFieldError where a tool's turn answers no call."""
    open_calls: set[str] = set()
    called = False
    for index, message in enumerate(messages):
        called = called or bool(message.tool_calls)
        open_calls.update(call.id for call in message.tool_calls if call.id is not None)
        if message.role != "tool":
            continue
        if not called:
            fix = "Put the assistant turn with its tool_calls in front."
            raise BadFieldError(f"{field}[{index}]", "a tool turn answers no call", message.content, fix)
        if message.tool_call_id is not None and open_calls and message.tool_call_id not in open_calls:
            fix = f"Use the id of an earlier call.{nearest(message.tool_call_id, sorted(open_calls))}"
            what = "no earlier call has this id"
            raise BadFieldError(f"{field}[{index}].tool_call_id", what, message.tool_call_id, fix)


def read_sharegpt(value: Json, field: str, system: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    """ShareGPT turns: from human, gpt, system, tool, observation or function_call (a JSON call as value).

    system: turns of the row's other columns, put in front.
    """
    value = decoded(value, field, "the list of turns")
    if not isinstance(value, list) or not value:
        what = f"{field} must be a list of turns with from and value"
        raise BadFieldError(field, what, value, 'Write [{"from": "human", "value": …}, {"from": "gpt", "value": …}].')
    made = tuple(_sharegpt_turn(item, f"{field}[{index}]") for index, item in enumerate(value))
    check_order(made, field)
    return system + made


def _sharegpt_turn(item: Json, place: str) -> Message:
    if not isinstance(item, dict):
        what = f"a turn must be an object, this is {kind_of(item)}"
        raise BadFieldError(place, what, item, 'Write {"from": "human", "value": …}.')
    refuse_unknown(item, _SHAREGPT_KEYS, place, "a turn")
    sender = item.get("from")
    role = SHAREGPT_ROLES.get(sender) if isinstance(sender, str) else None
    if role is None:
        hint = nearest(sender, list(SHAREGPT_ROLES)) if isinstance(sender, str) else ""
        fix = f"Use one of human, gpt, system, tool.{hint}"
        raise BadFieldError(f"{place}.from", "unknown sender", item.get("from", MISSING), fix)
    if "value" not in item:
        raise BadFieldError(f"{place}.value", "the turn has no value", MISSING, "Write its text.")
    if role == "function_call":
        calls = decoded(item["value"], f"{place}.value", "the call")
        listed = calls if isinstance(calls, list) else [calls]
        return Message("assistant", "", read_tool_calls(listed, f"{place}.value"))
    known = next(known for known in ROLES if known == role)
    weight = turn_weight(item.get("weight"), known, f"{place}.weight")
    return Message(known, text_of(item["value"], f"{place}.value"), name=_string(item, "name", place), weight=weight)


def read_tool_calls(value: Json, field: str) -> tuple[ToolCall, ...]:
    """Calls as OpenAI nests them ({id, type, function: {name, arguments}}) or flat ({name, arguments})."""
    with finding("invalid_tool_call"):
        return _read_tool_calls(value, field)


def _read_tool_calls(value: Json, field: str) -> tuple[ToolCall, ...]:
    value = decoded(value, field, "the list of calls")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        what = f"tool calls must be a list, this is {kind_of(value)}"
        raise BadFieldError(field, what, value, 'Write [{"name": …, "arguments": {…}}].')
    made = []
    for index, item in enumerate(value):
        place = f"{field}[{index}]"
        if not isinstance(item, dict):
            what = f"a call must be an object, this is {kind_of(item)}"
            raise BadFieldError(place, what, item, 'Write {"name": …, "arguments": {…}}.')
        if item.get("type") not in (None, "function"):
            raise BadFieldError(f"{place}.type", "only calls of type 'function' are read", item["type"], "Remove it.")
        nested = item.get("function")
        call_id = _string(item, "id", place)
        made.append(
            read_call(nested, f"{place}.function", call_id) if nested is not None else read_call(item, place, call_id)
        )
    return tuple(made)


def read_call(item: Json, place: str, call_id: str | None = None) -> ToolCall:
    """A flat call, {name, arguments}."""
    if not isinstance(item, dict):
        what = f"a call must be an object, this is {kind_of(item)}"
        raise BadFieldError(place, what, item, 'Write {"name": …, "arguments": {…}}.')
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        what = "the call has no name"
        raise BadFieldError(f"{place}.name", what, item.get("name", MISSING), "Write the function's name.")
    arguments = decoded(item.get("arguments"), f"{place}.arguments", "the arguments")
    if "arguments" not in item or not isinstance(arguments, dict):
        what = "a call's arguments must be an object (or a JSON string of one)"
        raise BadFieldError(f"{place}.arguments", what, item.get("arguments", MISSING), "Write {} for no arguments.")
    return ToolCall(name, arguments, call_id)


def read_tools(value: Json, field: str) -> Tools:
    """OpenAI function schemas; flat ones ({name, parameters}) are wrapped, and parameters made JSON Schema.

    Equal lists share one object.
    """
    value = decoded(value, field, "the list of tools")
    if value is None:
        return ()
    if not isinstance(value, list):
        what = f"tools must be a list, this is {kind_of(value)}"
        raise BadFieldError(field, what, value, _TOOL)
    try:
        key = canonical(value)
    except (TypeError, ValueError):
        raise BadFieldError(field, "the tools hold values that JSON does not have", value, _TOOL) from None
    try:
        return _read_tools(key.decode("utf-8"), field)
    except BadJsonError as error:
        raise BadFieldError(field, error.what, MISSING, error.fix) from None


_TOOL = 'Write [{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}].'


@lru_cache(maxsize=4096)  # most files repeat a few lists of tools; rows then share them
def _read_tools(text: str, field: str) -> Tools:
    made: list[Mapping[str, Json]] = []
    names: set[str] = set()
    for index, item in enumerate(parse_json(text)):
        place = f"{field}[{index}]"
        if not isinstance(item, dict):
            raise BadFieldError(place, f"a tool must be an object, this is {kind_of(item)}", item, _TOOL)
        item = _without_nulls(item)
        if "function" in item and item.get("type", "function") != "function":
            raise BadFieldError(f"{place}.type", "only tools of type 'function' are read", item["type"], "Remove it.")
        function = item["function"] if "function" in item else {k: v for k, v in item.items() if k != "type"}
        inner = f"{place}.function" if "function" in item else place
        if isinstance(function, dict) and isinstance(function.get("parameters"), dict):
            function = {**function, "parameters": parameter_schema(function["parameters"])}
        _check_function(function, inner)
        if function["name"] in names:
            fix = "Name each tool once."
            raise BadFieldError(f"{inner}.name", "two tools have one name", function["name"], fix)
        names.add(function["name"])
        made.append({"type": "function", "function": function})
    return tuple(made)


def _without_nulls(value: Json) -> Json:
    """Parquet writes null for every key that any row has; in a schema an absent key is meant."""
    if isinstance(value, dict):
        return {
            key: item if key in ("enum", "const", "default") else _without_nulls(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _check_function(function: Any, place: str) -> None:
    import jsonschema
    from jsonschema.exceptions import SchemaError

    if not isinstance(function, dict):
        raise BadFieldError(place, f"a function must be an object, this is {kind_of(function)}", function, _TOOL)
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise BadFieldError(f"{place}.name", "the tool has no name", function.get("name", MISSING), _TOOL)
    if not isinstance(function.get("description", ""), str):
        what = "the description must be a string"
        raise BadFieldError(f"{place}.description", what, function["description"], "Write it in quotes.")
    parameters = function.get("parameters", {})
    if not isinstance(parameters, dict):
        what = f"parameters must be a JSON Schema object, this is {kind_of(parameters)}"
        raise BadFieldError(f"{place}.parameters", what, parameters, _TOOL)
    try:
        jsonschema.Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        fix = "Write JSON Schema (the types are object, array, string, number, integer, boolean, null)."
        raise BadFieldError(f"{place}.parameters{path}", "not a valid JSON Schema", error.instance, fix) from None
