"""Rows come out as they went in, whatever the file; memory stays bounded; nothing raises for bad content."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.data.read import Container, Row, Unreadable, container, read_rows
from burnish.data.streams import CHUNK
from burnish.data.strict_json import stream_values
from burnish.errors import Problem

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), min_size=1, max_size=6)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)


def as_jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_array(rows: list[Any]) -> str:
    return json.dumps(rows)


def as_printed_array(rows: list[Any]) -> str:
    return json.dumps(rows, indent=2, ensure_ascii=False)


def as_printed_objects(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row, indent=1) for row in rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def values(path: Path) -> list[dict[str, Any]]:
    rows = list(read_rows(path))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.values for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("write", "extension"),
    [(as_jsonl, ".jsonl"), (as_jsonl, ".json"), (as_array, ".json"), (as_printed_array, ".json"), (as_array, "")],
)
@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_json_rows_survive(
    folder: Path, write: Callable[[list[Any]], str], extension: str, packing: str, rows: list[dict[str, Any]]
) -> None:
    raw = write(rows).encode()
    if packing == ".gz":
        raw = gzip.compress(raw)
    elif packing == ".zst":
        raw = zstandard.compress(raw)
    path = folder / f"rows{extension}{packing}"
    path.write_bytes(raw)
    assert values(path) == rows


@given(rows=st.lists(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), min_size=1, max_size=6))
@example(rows=[{"": [{}]}])
@example(rows=[{"a": {"b": [{}, {}]}}, {"c": [{}]}])
@settings(max_examples=50, deadline=None)
def test_printed_objects_survive(folder: Path, rows: list[dict[str, Any]]) -> None:
    path = folder / "objects.json"
    path.write_text(as_printed_objects(rows), encoding="utf-8")
    assert values(path) == rows


@given(rows=ROWS, size=st.integers(1, 40), indent=st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_an_array_is_the_same_however_it_is_cut_into_chunks(rows: list[Any], size: int, indent: int | None) -> None:
    raw = json.dumps(rows, ensure_ascii=False, indent=indent).encode()
    chunks = [raw[start : start + size] for start in range(0, len(raw), size)]
    read = list(stream_values(chunks, "f", array=True))
    assert [row.values for row in read if isinstance(row, Row)] == rows
    if indent is not None:  # a row starts on the line of its bracket
        starts = [1 + number for number, line in enumerate(raw.split(b"\n")) if line.startswith((b" {", b" {}"))]
        assert [row.line for row in read if isinstance(row, Row)] == starts


@given(raw=st.text(alphabet='[]{}",:\\ \nab1', max_size=60).map(str.encode), size=st.integers(1, 20))
@example(raw=b'[{"a": "b, "c": 1},\n{"a": 1}]', size=3)
@settings(max_examples=300, deadline=None)
def test_damaged_arrays_do_not_depend_on_chunks(raw: bytes, size: int) -> None:
    whole = list(stream_values([b"[" + raw], "f", array=True))
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert list(stream_values([b"[", *pieces], "f", array=True)) == whole
    try:
        assert isinstance(json.loads(b"[" + raw), list)
    except ValueError:
        assert any(isinstance(item, Problem) for item in whole)


@pytest.mark.parametrize(
    ("extension", "delimiter"), [(".csv", ","), (".csv", ";"), (".csv", "\t"), (".tsv", "\t"), ("", ",")]
)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6), ending=st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=30, deadline=None)
def test_tables_survive(
    folder: Path, extension: str, delimiter: str, rows: list[tuple[str, str]], ending: str
) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=ending)
    writer.writerow(["text", "label"])
    writer.writerows(rows)
    path = folder / f"table{extension}"
    path.write_bytes(sink.getvalue().encode())
    assert values(path) == [{"text": text, "label": label} for text, label in rows]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@given(
    rows=st.lists(
        st.tuples(TEXT, st.none() | st.integers(-(2**62), 2**62), st.lists(TEXT, max_size=3)), min_size=1, max_size=9
    )
)
@settings(max_examples=20, deadline=None)
def test_parquet_survives(folder: Path, packing: str, rows: list[Any]) -> None:
    table = pa.table(
        {
            "text": pa.array([row[0] for row in rows], pa.string()),
            "number": pa.array([row[1] for row in rows], pa.int64()),
            "list": pa.array([row[2] for row in rows], pa.list_(pa.string())),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=4)
    raw = sink.getvalue()
    path = folder / f"rows.parquet{packing}"
    path.write_bytes({"": raw, ".gz": gzip.compress(raw), ".zst": zstandard.compress(raw)}[packing])
    read = list(read_rows(path))
    assert [row.line for row in read] == list(range(1, len(rows) + 1))
    assert values(path) == table.to_pylist()


def test_lines_are_counted_through_marks_blank_lines_and_quoted_breaks(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\r\n{"a": 3}')
    assert [(row.line, row.values) for row in read_rows(path) if isinstance(row, Row)] == [
        (1, {"a": 1}),
        (4, {"a": 2}),
        (5, {"a": 3}),
    ]
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n"x\r\ny",z\r\n\r\nu,v\r\n')
    assert [(row.line, row.values) for row in read_rows(path) if isinstance(row, Row)] == [
        (2, {"a": "x\r\ny", "b": "z"}),
        (5, {"a": "u", "b": "v"}),
    ]


def test_a_line_that_crosses_chunks_is_one_line(tmp_path: Path) -> None:
    rows = [{"text": "é" * size} for size in (1, CHUNK, 3, 2 * CHUNK, 5)]
    path = tmp_path / "rows.jsonl"
    path.write_text(as_jsonl(rows), encoding="utf-8")
    assert values(path) == rows
    path.with_suffix(".json").write_text(as_array(rows), encoding="utf-8")
    assert values(path.with_suffix(".json")) == rows


def test_archives_of_several_members_are_read_to_the_end(tmp_path: Path) -> None:
    one, two = as_jsonl([{"a": 1}]).encode(), as_jsonl([{"a": 2}]).encode()
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(one) + gzip.compress(two) + b"\0" * 512)
    assert values(path) == [{"a": 1}, {"a": 2}]
    path = tmp_path / "rows.jsonl.zst"
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    path.write_bytes(zstandard.compress(one) + skippable + zstandard.compress(two))
    assert values(path) == [{"a": 1}, {"a": 2}]


def test_content_decides_over_the_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"  # a gzip archive that lost its extension
    path.write_bytes(gzip.compress(b'[{"a": 1}]'))
    assert container(path) == Container("json", "gz")
    path = tmp_path / "rows.dat"
    path.write_bytes(b"a\tb\n1\t2\n")
    assert str(container(path)) == "tsv"
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a;b\n1;2\n")
    assert str(container(path)) == "csv with ';'"


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    (missing,) = read_rows(tmp_path / "trian.jsonl")
    assert isinstance(missing, Unreadable)
    assert "train.jsonl" in missing.fix
    (folder,) = read_rows(tmp_path)
    assert "directory" in folder.what if isinstance(folder, Problem) else False
    (odd,) = read_rows("a\0b")
    assert isinstance(odd, Unreadable)
    (device,) = read_rows("/dev/null")
    assert isinstance(device, Unreadable)


@pytest.mark.parametrize("extension", ["jsonl", "json", "csv", "jsonl.gz", "jsonl.zst", "json.zst"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, extension: str) -> None:
    row = {"text": "word " * 40, "label": "x"}
    count = 15_000  # about 3.4 MB
    if extension.startswith("jsonl"):
        raw = as_jsonl([row]).encode() * count
    elif extension.startswith("json"):
        raw = b"[" + b",".join([json.dumps(row).encode()] * count) + b"]"
    else:
        raw = b"text,label\n" + f"{row['text']},x\n".encode() * count
    if extension.endswith("gz"):
        raw = gzip.compress(raw, 1)
    elif extension.endswith("zst"):
        raw = zstandard.compress(raw)
    path = tmp_path / f"rows.{extension}"
    path.write_bytes(raw)
    del raw
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20
