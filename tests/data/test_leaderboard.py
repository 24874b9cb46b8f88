"""Rows of the Berkeley Function-Calling Leaderboard: nested questions, and all values that a call accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.check import check_files
from burnish.data.guess import guess_kind
from burnish.data.inputs import read_inputs
from burnish.data.load import iter_examples, read_examples
from burnish.errors import Problem
from burnish.records import Message, Parsed
from burnish.tasks.tool_calling import ToolCalling, tool_calling_metrics, tools_called

AREA = {
    "name": "calc.area",
    "description": "Area of a triangle.",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float", "description": "Its base."},
            "height": {"type": "integer", "description": "Its height."},
            "unit": {"type": "string", "description": "cm unless given."},
        },
        "required": ["base", "height"],
    },
}
CALLED = "ground_truth[0].calc.area"
ROW: dict[str, Any] = {
    "id": "simple_0",
    "question": [[{"role": "user", "content": "Area of a triangle with base 10 and height 5?"}]],
    "function": [AREA],
    "ground_truth": [{"calc.area": {"base": [10, 10.0], "height": [5], "unit": ["cm", ""]}}],
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_is_its_question_its_tools_and_its_calls(tmp_path: Path) -> None:
    file = write(tmp_path / "BFCL_v3_simple.json", ROW, ROW | {"question": json.dumps(ROW["question"])})
    assert guess_kind(file) == "tool_calling"
    reading = read_examples(file, kind="tool_calling")
    made = reading.examples[0]
    assert (reading.format, reading.files[0].container) == ("bfcl", "jsonl")  # whatever its name says
    assert made.messages == (Message("user", "Area of a triangle with base 10 and height 5?"),)
    accepted = {"base": {"any_of": [10, 10.0]}, "height": 5, "unit": {"any_of": ["cm", ""]}}
    assert made.target == [{"name": "calc.area", "arguments": accepted}]
    parameters = made.tools[0]["function"]["parameters"]
    assert parameters["type"] == "object"
    assert parameters["properties"]["base"]["type"] == "number"
    (asked, _) = read_inputs(file, kind="tool_calling")
    assert (asked.messages, asked.tools) == (made.messages, made.tools)


def test_every_accepted_value_counts_and_the_first_is_learned(tmp_path: Path) -> None:
    (made,) = read_examples(write(tmp_path / "rows.jsonl", ROW), kind="tool_calling").examples
    task = ToolCalling("t", "Call.", True, tool_calling_metrics())
    answer = json.loads(task.answer(made).content)
    assert answer == [{"name": "calc.area", "arguments": {"base": 10, "height": 5, "unit": "cm"}}]
    match = task.metrics[0]
    for arguments, right in (
        ({"base": 10.0, "height": 5}, True),
        ({"base": 10, "height": 5, "unit": "cm"}, True),
        ({"base": 10, "height": 6}, False),
        ({"base": 10, "height": 5, "unit": "m"}, False),
    ):
        answered = Parsed([{"name": "calc.area", "arguments": arguments}])
        assert match.counts(made, answered)[0] == float(right), arguments


def test_objects_and_lists_of_objects_list_what_their_fields_accept(tmp_path: Path) -> None:
    find = {
        "name": "find",
        "parameters": {
            "type": "dict",
            "properties": {"where": {"type": "array", "items": {"type": "dict"}}, "budget": {"type": "dict"}},
        },
    }
    truth = {"where": [[{"field": ["age"], "sign": [">", ">="]}]], "budget": [{"min": [1], "max": ["", 2]}]}
    row = ROW | {"function": [find], "ground_truth": [{"find": truth}]}
    (made,) = read_examples(write(tmp_path / "rows.jsonl", row), kind="tool_calling").examples
    assert made.target[0]["arguments"] == {
        "where": [{"field": "age", "sign": {"any_of": [">", ">="]}}],
        "budget": {"min": 1, "max": {"any_of": ["", 2]}},
    }


def test_the_checks_see_the_value_that_is_learned(tmp_path: Path) -> None:
    rows = [
        ROW | {"question": [[{"role": "user", "content": f"Area of figure {i}, base {i}, height {i * 7}?"}]]}
        | {"ground_truth": [{"calc.area": {"base": [i], "height": [i * 7], "unit": ["cm", ""] if i % 30 else ["m"]}}]}
        for i in range(1, 120)
    ]  # fmt: skip
    report = check_files(write(tmp_path / "rows.jsonl", *rows), kind="tool_calling").report
    assert [finding.kind for finding in report.findings] == []


@pytest.mark.parametrize(
    ("change", "field", "what"),
    [
        ({"question": ROW["question"] * 2}, "question", "several turns"),
        ({"question": "q"}, "question", "not valid JSON"),
        ({"question": []}, "question", "list of turns"),
        ({"question": [[{"role": "usr", "content": "q"}]]}, "question[0][0].role", "unknown role"),
        ({"function": []}, "tools", "lists none"),
        ({"function": [{"name": "f", "parameters": {"type": "dicct"}}]}, "function[0].parameters.type", "Schema"),
        ({"ground_truth": ["calc.area(base=10, height=5)"]}, "ground_truth[0]", "written as code"),
        ({"ground_truth": [{"calc.area": {"base": [1], "height": 5}}]}, CALLED + ".height", "a list"),
        ({"ground_truth": [{"calc.area": {"base": [], "height": [5]}}]}, CALLED + ".base", "no value"),
        ({"ground_truth": [{"calc.area": {"base": ["x"], "height": [5]}}]}, CALLED + ".base", "number"),
        ({"ground_truth": [{"calc.area": {"base": [1]}}]}, "ground_truth[0].calc.area", "'height' missing"),
        ({"ground_truth": [{"area": {"base": [1], "height": [5]}}]}, "ground_truth[0].area", "no tool"),
        ({"ground_truth": [{"calc.area": 1}]}, "ground_truth[0].calc.area", "must be an object"),
        ({"ground_truth": []}, "ground_truth", "unlabelled"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row(tmp_path: Path, change: dict[str, Any], field: str, what: str) -> None:
    file = write(tmp_path / "rows.jsonl", ROW, ROW, ROW | change)
    bad = [item for item in iter_examples(file, kind="tool_calling") if isinstance(item, Problem)]
    assert [(item.line, item.field) for item in bad] == [(3, field)]
    assert what in bad[0].what
    assert bad[0].fix
    assert (bad[0].finding != "") == field.startswith("ground_truth") or field == "tools"


def test_tools_of_each_row_are_no_classes(tmp_path: Path) -> None:
    """Every row lists tools of its own: their names are neither rare labels nor spellings of one another."""
    rows = []
    for i in range(120):
        name = f"solve.problem_{i // 2}" if i % 2 else f"solve_problem_{i // 2}"
        tool = AREA | {"name": name}
        asked = f"{'Please work out' if i % 2 else 'Tell me the'} area {i * i}: base {i + 1} and height {i + 2}."
        row = ROW | {"function": [tool], "question": [[{"role": "user", "content": asked}]]}
        rows.append(row | {"ground_truth": [{name: {"base": [i + 1], "height": [i + 2]}}]})
    kinds = {one.kind for one in check_files(write(tmp_path / "rows.jsonl", *rows), kind="tool_calling",
                                             stratum=tools_called).report.findings}  # fmt: skip
    assert kinds & {"rare_class", "label_spelling", "class_imbalance"} == set()
