"""Inputs without answers are read as the labelled rows are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.inputs import read_inputs
from burnish.data.load import read_examples
from burnish.errors import DataError
from burnish.records import Example, Kind

TOOL = {"type": "function", "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "1", "type": "function", "function": {"name": "ring", "arguments": "{}"}}
USER = {"role": "user", "content": "hello"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(examples: list[Example]) -> list[str]:
    return ["|".join(f"{message.role}:{message.content}" for message in example.messages) for example in examples]


# (kind, a labelled row, what of it is the answer)
SHAPES: list[tuple[Kind, dict[str, Any], list[str]]] = [
    ("classification", {"text": "hello", "label": "a"}, ["label"]),
    ("classification", {"sentence": "hello", "category": "a"}, ["category"]),
    ("extraction", {"input": "hello", "output": {"a": 1}}, ["output"]),
    ("extraction", {"text": "hello", "target": '{"a": 1}', "system": "be brief"}, ["target"]),
    ("generation", {"prompt": "hello", "completion": "hi"}, ["completion"]),
    ("generation", {"prompt": [{"role": "system", "content": "s"}, USER], "completion": "hi"}, ["completion"]),
    ("generation", {"instruction": "greet", "input": "Ann", "output": "hi"}, ["output"]),
    ("generation", {"instruction": "greet", "output": "hi", "history": [["a", "b"]]}, ["output"]),
    ("classification", {"instruction": "ignored", "input": "hello", "label": "a"}, []),
    ("generation", {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]}, []),
    ("generation", {"messages": [USER, {"role": "assistant", "content": "hi"}]}, []),
    ("tool_calling", {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]}, []),
    ("tool_calling", {"text": "hello", "target": [{"name": "ring", "arguments": {}}], "tools": [TOOL]}, ["target"]),
]


@pytest.mark.parametrize(
    ("kind", "row", "answer"), SHAPES, ids=[f"{kind}-{','.join(row)}" for kind, row, _ in SHAPES]
)
def test_with_and_without_its_answer_a_row_is_the_same_input(
    tmp_path: Path, kind: Kind, row: dict[str, Any], answer: list[str]
):
    (trained,) = read_examples(write(tmp_path / "train.jsonl", row), kind=kind).examples
    bare = {key: value for key, value in row.items() if key not in answer}
    for key in ("messages", "conversations"):
        if key in bare:
            bare[key] = bare[key][:-1]
    for given_row in (row, bare):
        (found,) = read_inputs(write(tmp_path / "new.jsonl", given_row), kind=kind)
        assert found.messages == trained.messages
        assert found.tools == trained.tools
        assert found.target is None


def test_columns_of_the_task_are_used(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", {"id": 1, "note": "hello", "text": "not this", "code": "x"})
    (found,) = read_inputs(file, kind="classification", text="note", target="code")
    assert texts([found]) == ["user:hello"]
    with pytest.raises(DataError, match="there is no column 'nota'") as caught:
        read_inputs(file, kind="classification", text="nota")
    assert "note" in str(caught.value)


@pytest.mark.parametrize("name", ["in.txt", "in", "in.txt.gz"])
def test_plain_text_has_one_input_a_line(tmp_path: Path, name: str):
    data = '\ufeffone\r\n{"text": "two"}\nthree, four\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = read_inputs(tmp_path / name, kind="generation")
    assert texts(found) == ["user:one", 'user:{"text": "two"}', "user:three, four"]
    assert [example.source.line for example in found] == [1, 2, 3]


def test_tables_are_read(tmp_path: Path):
    (tmp_path / "in.csv").write_text('id,text\n1,"a, b"\n2,"c\nd"\n', encoding="utf-8")
    assert texts(read_inputs(tmp_path / "in.csv", kind="classification")) == ["user:a, b", "user:c\nd"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("in.txt", b"one\n\nthree\n", "in.txt:2: the line is empty"),
        ("in.txt", b"one\ncaf\xe9\n", "in.txt:2: not UTF-8"),
        ("in.txt", b"", "there are no inputs"),
        ("in.jsonl", b'{"text": "a"}\n{"texts": "b"}\n', "in.jsonl:2: no column with the input was found"),
        ("in.jsonl", b'{"text": "a"}\n{oops\n', "in.jsonl:2"),
        ("in.jsonl", b'{"messages": [{"role": "assistant", "content": "a"}]}\n', "in.jsonl:1"),
        ("in.jsonl", b'{"text": 4.5}\n', "in.jsonl:1:text"),
        ("in.csv", b"", "the file cannot be used"),
        ("in.csv", b"text\n", "write a row for every input"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, name: str, content: bytes, told: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_inputs(tmp_path / name, kind="generation")
    assert told in str(caught.value)


def test_all_bad_rows_are_counted_and_the_first_shown(tmp_path: Path):
    file = write(tmp_path / "in.jsonl", *[{"wrong": i} for i in range(50)], {"text": "good"})
    with pytest.raises(DataError, match="50 of 51 inputs") as caught:
        read_inputs(file, kind="generation", show=3)
    assert (caught.value.count, len(caught.value.problems)) == (50, 3)


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1), min_size=1))
def test_every_line_comes_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]):
    kept = [line for line in lines if line.strip() and not line.startswith("\ufeff")] or ["x"]
    file = tmp_path_factory.mktemp("lines") / "in.txt"
    file.write_text("\n".join(kept), encoding="utf-8")
    assert [example.messages[0].content for example in read_inputs(file, kind="generation")] == kept
