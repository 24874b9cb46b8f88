"""Every shape of row, for every kind of task, becomes the Example it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from burnish.data.formats import to_example
from burnish.data.shapes import Columns, Format, Rules, detect_shape, shape_of
from burnish.data.streams import Row
from burnish.data.turns import BadFieldError
from burnish.errors import Problem
from burnish.records import Example, Kind, Message, ToolCall

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {}}}}}
CALL = {"name": "f", "arguments": {"x": 1}}
USER = {"role": "user", "content": "q"}
SYSTEM = {"role": "system", "content": "s"}


def convert(values: dict[str, Any], kind: Kind, format: Format = "auto", **columns: str) -> Example:
    rules = Rules(kind, Columns(**columns), format)
    made = to_example("f", Row(4, values), shape_of(values, rules), rules)
    assert isinstance(made, Example), made
    assert made.source.line == 4
    return made


def said(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def answer_of(kind: Kind) -> tuple[Any, Any, str]:
    """A kind's target, the same as a value of a row, and as the text of an assistant turn."""
    if kind == "classification":
        return "yes", "yes", "yes"
    if kind == "extraction":
        return {"a": [1, None]}, {"a": [1, None]}, '{"a": [1, null]}'
    if kind == "generation":
        return "Yes, indeed", "Yes, indeed", "Yes, indeed"
    return [CALL], [CALL], json.dumps([CALL])


@pytest.mark.parametrize("kind", ["classification", "extraction", "generation", "tool_calling"])
def test_every_shape_for_every_kind(kind: Kind) -> None:
    target, value, text = answer_of(kind)
    column = {"classification": "label"}.get(kind, "target")
    rows: list[dict[str, Any]] = [
        {"text": "q", column: value},
        {"text": "q", column: text},
        {"messages": [USER, said(text)]},
        {"messages": json.dumps([USER, said(text)])},
        {"prompt": "q", "completion": value},
        {"prompt": [USER], "completion": [said(text)]},
        {"prompt": "q", "response": text},
        {"instruction": "q", "output": text},
        {"instruction": "q", "input": "", "output": value, "system": "", "history": []},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": text}]},
        {"conversations": [USER, said(text)]},
    ]
    ids = set()
    for row in rows:
        made = convert(row | {"tools": [TOOL]}, kind)
        assert made.messages == (Message("user", "q"),), row
        assert made.target == target, row
        assert made.tools == (TOOL,)
        ids.add(made.id)
    assert len(ids) == 1


def test_multi_turn_messages_keep_everything_before_the_answer() -> None:
    turns = [
        SYSTEM,
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": CALL}]},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
        {"role": "assistant", "content": "five", "weight": 0},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Al"},
        {"role": "assistant", "content": "done", "weight": 1, "refusal": None},
    ]
    made = convert({"messages": turns, "parallel_tool_calls": False}, "generation")
    assert made.messages == (
        Message("system", "s"),
        Message("user", "q"),
        Message("assistant", "", (ToolCall("f", {"x": 1}, "1"),)),
        Message("tool", "5", tool_call_id="1"),
        Message("assistant", "five", weight=0.0),
        Message("user", "ab", name="Al"),
    )
    assert made.target == "done"


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
@pytest.mark.parametrize("tools", [[TOOL], [TOOL["function"]], json.dumps([TOOL])])
def test_calls_of_the_last_turn_are_the_target(arguments: Any, tools: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    made = convert(
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": tools},
        "tool_calling",
    )
    assert made.target == [CALL]
    assert made.tools == (TOOL,)


def test_calls_of_before_november_2023() -> None:
    turn = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}
    made = convert({"messages": [USER, turn], "functions": [TOOL["function"]]}, "tool_calling")
    assert (made.target, made.tools) == ([CALL], (TOOL,))


def test_sharegpt_calls_and_system() -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "5"},
        {"from": "gpt", "value": "five"},
    ]
    row = {"conversations": turns, "system": "s", "tools": json.dumps([TOOL])}
    made = convert(row, "generation")
    assert [message.role for message in made.messages] == ["system", "user", "assistant", "tool"]
    assert made.messages[2].tool_calls == (ToolCall("f", {"x": 1}),)
    assert made.target == "five"
    assert convert(row | {"conversations": turns[:2]}, "tool_calling").target == [CALL]


def test_alpaca_input_system_and_history() -> None:
    row = {"instruction": "Do", "input": "this", "output": "ok", "system": "s", "history": [["a", "b"]]}
    assert convert(row, "generation").messages == (
        Message("system", "s"),
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "Do\nthis"),
    )


def test_completion_of_several_turns() -> None:
    turns = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "5"}, said("five")]
    made = convert({"prompt": [USER], "completion": turns}, "generation")
    assert [message.role for message in made.messages] == ["user", "assistant", "tool"]
    assert made.target == "five"


def test_named_columns() -> None:
    row = {"term": "flu", "chapter": " Infections ", "code": 7, "w": "0.5", "text": "no", "label": "no"}
    made = convert(row, "classification", text="term", target="chapter", group="code", weight="w")
    assert (made.messages[0].content, made.target, made.group, made.weight) == ("flu", "Infections", "7", 0.5)
    chat = {"messages": [SYSTEM, USER], "intent": "buy"}
    made = convert(chat, "classification", target="intent")
    assert (len(made.messages), made.target) == (2, "buy")
    assert convert({"text": [USER], "label": "x"}, "classification").messages == (Message("user", "q"),)
    assert convert({"prompt": "q", "chosen": "a", "rejected": "b"}, "generation", target="chosen").target == "a"
    assert convert({"text": "q", "label": 3}, "classification").target == "3"
    assert convert({"text": "q", "label": True}, "classification").target == "true"
    assert convert({"text": "q", "label": "a", "target": "b"}, "classification", "extraction").target == "b"
    assert convert({"question": "q", "answer": 42}, "generation").target == "42"


def test_the_most_frequent_of_the_first_shapes_counts() -> None:
    chat, table = {"messages": [USER, said("a")]}, {"text": "q", "label": "a"}
    rules = Rules("classification")
    assert str(detect_shape([Row(1, chat), Row(2, table), Row(3, table)], rules)) == "columns text → label"
    assert str(detect_shape([Row(1, chat), Row(2, table)], rules)) == "messages"
    assert str(detect_shape([Row(1, {"x": 1}), Row(2, chat)], rules)) == "messages"
    with pytest.raises(BadFieldError):
        detect_shape([Row(1, {"x": 1})], rules)
    stray = to_example("f", Row(9, chat), shape_of(table, rules), rules)
    assert isinstance(stray, Problem)
    assert (stray.line, "mixed shapes" in stray.what) == (9, True)


def test_rows_share_their_tools() -> None:
    row = {"text": "q", "target": [CALL], "tools": [TOOL]}
    one, two = convert(row, "tool_calling"), convert(json.loads(json.dumps(row)), "tool_calling")
    assert one.tools[0] is two.tools[0]


def test_empty_inputs_are_left_to_the_check() -> None:
    assert convert({"text": "", "label": "a"}, "classification").messages == (Message("user", ""),)


XLAM = {
    "id": 0,
    "query": "q",
    "answers": '[{"name": "live", "arguments": {"type": "beta"}}]',
    "tools": '[{"name": "live", "description": "d", "parameters": {"type": {"type": "str", "default": "game"}}}]',
}


@pytest.mark.parametrize(
    ("row", "kind", "said_before", "target"),
    [
        ({"instruction": "i", "context": "c", "response": "a", "category": "qa"}, "generation", ["i\nc"], "a"),
        ({"instruction": "i", "context": "", "response": "a"}, "generation", ["i"], "a"),
        ({"instruction": "i", "input": "x", "completion": "a"}, "generation", ["i\nx"], "a"),
        ({"system_prompt": "s", "question": "q", "response": "a"}, "generation", ["s", "q"], "a"),
        ({"query": "q", "response": "yes"}, "classification", ["q"], "yes"),
        (XLAM, "tool_calling", ["q"], [{"name": "live", "arguments": {"type": "beta"}}]),
        ({"system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": "q"}]}, said("a")]},
         "generation", ["s", "q"], "a"),
        ({"system": "s", "messages": [SYSTEM, USER, said("a")]}, "generation", ["s", "q"], "a"),
        ({"system_prompt": "s", "conversations": [USER, said("a")]}, "generation", ["s", "q"], "a"),
        ({"conversations": [{"from": "user", "value": "q", "weight": 0}, {"from": "gpt", "value": "a", "weight": 1}]},
         "generation", ["q"], "a"),
    ],
    ids=["dolly", "dolly-alone", "instruction", "orca", "response", "xlam", "bedrock", "twice", "hermes", "slimorca"],
)  # fmt: skip
def test_rows_of_well_known_sets(row: dict[str, Any], kind: Kind, said_before: list[str], target: Any) -> None:
    made = convert(row, kind)
    assert [message.content for message in made.messages] == said_before
    assert made.target == target


def test_two_system_texts_are_not_silently_one() -> None:
    row = {"system": "t", "messages": [SYSTEM, USER, said("a")]}
    rules = Rules("generation")
    made = to_example("f", Row(4, row), shape_of(row, rules), rules)
    assert isinstance(made, Problem)
    assert (made.field, made.got) == ("system", "'t'")
