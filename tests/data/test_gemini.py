"""Rows for Gemini models: contents of parts, a system instruction, declared functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.check import check_files
from burnish.data.gemini import answer_of, declared_tools, read_contents, system_instruction
from burnish.data.guess import guess_kind
from burnish.data.inputs import read_inputs
from burnish.data.load import iter_examples, read_examples
from burnish.data.turns import BadFieldError
from burnish.errors import Problem
from burnish.records import Message, ToolCall

ROW: dict[str, Any] = {
    "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "A duck "}, {"text": "says?"}]},
        {"role": "model", "parts": [{"text": "Quack."}]},
    ],
}
WEATHER = {
    "name": "weather",
    "description": "Weather of a city.",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
}
CALL = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
CALLED: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Rain in Oslo?"}]}, {"role": "model", "parts": [CALL]}],
    "tools": [{"functionDeclarations": [WEATHER]}],
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def problem(path: Path, row: Any, kind: Any = "generation") -> Problem:
    [found] = iter_examples(write(path / "one.jsonl", row), kind=kind, format="gemini")
    assert isinstance(found, Problem), found
    return found


def test_a_row_is_its_turns(tmp_path: Path) -> None:
    under = {"system_instruction": "Be brief.", "contents": json.dumps(ROW["contents"])}
    file = write(tmp_path / "rows.jsonl", ROW, under)
    assert guess_kind(file) == "generation"
    reading = read_examples(file, kind="generation")
    assert reading.format == "gemini"
    for made in reading.examples:
        assert made.messages == (Message("system", "Be brief."), Message("user", "A duck says?"))
        assert made.target == "Quack."
    assert [one.messages for one in read_inputs(file, kind="generation")] == [made.messages] * 2
    assert not reading.files[0].unused


def test_calls_and_their_results(tmp_path: Path) -> None:
    result = {"functionResponse": {"name": "weather", "response": {"rain": True}}}
    after = [{"role": "user", "parts": [result]}, {"role": "model", "parts": [{"text": "Yes."}]}]
    file = write(tmp_path / "after.jsonl", CALLED | {"contents": [*CALLED["contents"], *after]})
    first = read_examples(write(tmp_path / "first.jsonl", CALLED), kind="tool_calling").examples[0]
    assert first.target == [{"name": "weather", "arguments": {"city": "Oslo"}}]
    assert first.tools[0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    second = read_examples(file, kind="generation").examples[0]
    assert second.messages[1].tool_calls == (ToolCall("weather", {"city": "Oslo"}),)
    assert second.messages[2] == Message("tool", '{"rain": true}', name="weather")
    assert guess_kind(write(tmp_path / "guess.jsonl", CALLED)) == "tool_calling"


@pytest.mark.parametrize(
    ("change", "field", "what"),
    [
        ({"contents": []}, "contents", "a list of turns"),
        ({"contents": [3]}, "contents[0]", "must be an object"),
        ({"contents": [{"role": "user", "content": "x"}]}, "contents[0]", "no key 'content'"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts", "no list of parts"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "contents[0].role", "unknown role"),
        (
            {"contents": [{"role": "user", "parts": [{"inlineData": {"data": "AA"}}]}]},
            "contents[0].parts[0]",
            "only texts, function calls",
        ),
        ({"contents": [ROW["contents"][0], {"parts": [CALL]}]}, "contents[1]", "a user turn cannot call"),
        ({"contents": ROW["contents"][:1]}, "contents[0]", "its last turn is the user's"),
        ({"systemInstruction": {"text": "x"}}, "systemInstruction.text", "no such key"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0]", "functionDeclarations"),
        ({"tools": [{"functionDeclarations": [WEATHER], "codeExecution": {}}]}, "tools[0].codeExecution", "only"),
        (
            {"contents": [ROW["contents"][0], {"role": "model", "parts": [{"functionCall": {"args": {}}}]}]},
            "contents[1].parts[0].functionCall.name",
            "no name",
        ),
        (
            {"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}]},
            "contents[0].parts[0].functionResponse",
            "a name and a response",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named_by_its_place(tmp_path: Path, change: Any, field: str, what: str) -> None:
    found = problem(tmp_path, ROW | change)
    assert (found.field, found.line) == (field, 1)
    assert what in found.what


KEYS = st.sampled_from(["role", "parts", "text", "functionCall", "functionResponse", "name", "args", "response", "x"])
LEAVES = st.none() | st.text(max_size=3) | st.sampled_from(["user", "model", "{}", "["]) | st.integers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@given(VALUES, VALUES, VALUES)
@settings(max_examples=400, deadline=None)
def test_whatever_stands_there_is_read_or_refused(contents: Any, system: Any, tools: Any) -> None:
    answer_of(contents)
    reads = {
        "contents": lambda: read_contents(contents, "contents"),
        "systemInstruction": lambda: system_instruction({"systemInstruction": system}),
        "tools": lambda: declared_tools(tools, "tools"),
    }
    named = []
    for place, read in reads.items():
        try:
            read()
        except BadFieldError as error:
            named.append((place, error.field))
    assert all(field.startswith(place) for place, field in named)


def test_places_of_answers_are_those_of_the_row(tmp_path: Path) -> None:
    bad = {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": 3}}}]}
    row = CALLED | {"contents": [CALLED["contents"][0], bad]}
    assert problem(tmp_path, row, "tool_calling").field.startswith("contents[1].parts")
    report = check_files([write(tmp_path / "bad.jsonl", *[CALLED | {"contents": [
        {"role": "user", "parts": [{"text": f"Rain in {i}?"}]}, CALLED["contents"][1]]} for i in range(5)], row)],
        kind="tool_calling").report  # fmt: skip
    assert "invalid_tool_call" in {finding.kind for finding in report.findings}
