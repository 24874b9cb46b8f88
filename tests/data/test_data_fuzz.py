"""Whatever a file holds, reading it gives Examples, Problems or a BurnishError; what is read is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed import CASES

from burnish.data.check import check_files
from burnish.data.load import iter_examples, read_examples
from burnish.errors import BurnishError, Problem
from burnish.records import KINDS, Example, Kind

EXTENSIONS = ("json", "jsonl", "csv", "tsv", "parquet", "gz", "zst", "txt")
MAGIC = st.sampled_from(
    [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"[", b"{", b"text,label\n", b"\xff\xfe"]
)
KEYS = st.sampled_from(
    [
        "text",
        "label",
        "target",
        "messages",
        "role",
        "content",
        "tool_calls",
        "tools",
        "function",
        "name",
        "arguments",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "conversations",
        "from",
        "value",
        "weight",
        "type",
        "parameters",
        "chosen",
        "rejected",
        "preferred_output",
        "non_preferred_output",
        "kto_tag",
        "id",
        "tool_call_id",
        "functions",
        "function_call",
        "enum",
        "contents",
        "parts",
        "systemInstruction",
        "functionCall",
        "args",
        "functionResponse",
        "response",
        "functionDeclarations",
        "question",
        "ground_truth",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["user", "assistant", "tool", "system", "model", "human", "gpt", "text", "function", "object", "{}", "[]"]
    )
)
ROW = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read_all(path: Path, kind: Kind, **options: Any) -> list[Example | Problem]:
    items = list(iter_examples(path, kind=kind, **options))
    assert items, "an answer of no kind"
    for item in items:
        if isinstance(item, Problem):
            assert item.what
            assert item.fix
            assert item.line >= 1
            str(item).encode()  # can be printed
        else:
            assert item.messages[-1].role in ("user", "tool")
            assert item.target not in (None, "", [])
            json.dumps([item.target, item.tools], allow_nan=False).encode()
    return items


@given(magic=MAGIC, raw=st.binary(max_size=300), extension=st.sampled_from(EXTENSIONS), kind=st.sampled_from(KINDS))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_bytes(folder: Path, magic: bytes, raw: bytes, extension: str, kind: Kind) -> None:
    path = folder / f"bytes.{extension}"
    path.write_bytes(magic + raw)
    read_all(path, kind)


@given(case=st.sampled_from([case for case in CASES if len(case.content) < 10_000]), data=st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_corpus(folder: Path, case: Any, data: st.DataObject) -> None:
    raw = bytearray(case.content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = folder / f"damaged.{case.extension}"
    path.write_bytes(bytes(raw))
    read_all(path, case.kind, **case.options)


@given(rows=st.lists(ROW, min_size=1, max_size=4), kind=st.sampled_from(KINDS), array=st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_rows(folder: Path, rows: list[Any], kind: Kind, array: bool) -> None:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows) if array else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    items = read_all(path, kind)
    if not any("Unreadable" in type(item).__name__ for item in items):
        assert len(items) == len(rows), "a row was dropped in silence"


@given(
    rows=st.lists(st.lists(ROW, max_size=4), min_size=1, max_size=3),
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from(["messages", "conversations"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_turns(folder: Path, rows: list[Any], kind: Kind, shape: str) -> None:
    path = folder / "turns.jsonl"
    path.write_text("\n".join(json.dumps({shape: row}) for row in rows), encoding="utf-8")
    read_all(path, kind)


@given(raw=st.binary(max_size=200), kind=st.sampled_from(KINDS))
@settings(max_examples=50, deadline=None)
def test_the_whole_readers_raise_nothing_but_burnish_errors(folder: Path, raw: bytes, kind: Kind) -> None:
    path = folder / "whole.jsonl"
    path.write_bytes(raw)
    for read in (read_examples, check_files):
        with pytest.raises(BurnishError) as caught:
            read(path, kind=kind)
        assert str(path) in str(caught.value)
