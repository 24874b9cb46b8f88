"""Rows whose answer cannot be used are findings with their places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.check import Checked, check_files
from burnish.records import Finding, Json, Source

TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {"seats": {"type": "integer"}},
            "required": ["seats"],
            "additionalProperties": False,
        },
    },
}


def check(tmp_path: Path, rows: list[Json], **options: Any) -> tuple[Checked, dict[str, Finding]]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    checked = check_files(file, **options)
    return checked, {item.kind: item for item in checked.report.findings}


def test_answers_that_break_the_schema(tmp_path: Path) -> None:
    rows: list[Json] = [{"text": f"t{i}", "target": {"a": i}} for i in range(20)]
    rows += [{"text": "u", "target": {"a": "x"}}, {"text": "v", "target": "{broken"}, {"text": "w", "target": None}]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    checked, found = check(tmp_path, rows, kind="extraction", schema=schema)
    broken = found["schema_violation"]
    file = str(tmp_path / "rows.jsonl")
    assert (broken.severity, broken.count, broken.rows) == ("error", 2, (Source(file, 21), Source(file, 22)))
    assert "'x'" not in broken.advice
    assert found["empty_field"].rows == (Source(file, 23),)
    assert (checked.report.rows, checked.bad) == (20, 3)
    _, found = check(tmp_path, rows, kind="extraction", schema=schema, allow_bad_rows=3)
    assert found["schema_violation"].severity == "warning"


@pytest.mark.parametrize(
    "call",
    [
        {"name": "book", "arguments": {"seats": "two"}},
        {"name": "book", "arguments": {}},
        {"name": "book", "arguments": {"seats": 2, "row": 1}},
        {"name": "cook", "arguments": {"seats": 2}},
        {"name": "book", "arguments": "{"},
        {"arguments": {}},
    ],
)
def test_calls_that_their_tool_would_refuse(tmp_path: Path, call: Json) -> None:
    def row(index: int, made: Json) -> Json:
        turns = [{"role": "user", "content": f"t{index}"}]
        return {"messages": [*turns, {"role": "assistant", "tool_calls": [{"function": made}]}], "tools": [TOOL]}

    rows = [row(i, {"name": "book", "arguments": {"seats": i}}) for i in range(20)] + [row(20, call)]
    _, found = check(tmp_path, rows, kind="tool_calling")
    assert found["invalid_tool_call"].rows == (Source(str(tmp_path / "rows.jsonl"), 21),)


def test_unknown_labels_and_damaged_bytes(tmp_path: Path) -> None:
    rows: list[Json] = [{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(20)]
    rows += [{"text": "t", "label": "c"}, '{"text": "half \\ud83d", "label": "a"}']
    file = tmp_path / "rows.jsonl"
    checked, found = check(tmp_path, rows, kind="classification", labels=["a", "b"])
    assert found["schema_violation"].rows == (Source(str(file), 21),)
    assert found["encoding_damage"].rows == (Source(str(file), 22),)
    file.write_bytes(file.read_bytes() + b'{"text": "caf\xe9", "label": "a"}\n')
    checked = check_files(file, kind="classification", labels=["a", "b"])
    assert next(item for item in checked.report.findings if item.kind == "encoding_damage").count == 2
