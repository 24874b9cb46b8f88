"""Cleaned copies: what was found is gone, everything else is the same bytes, the file itself is untouched."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.data.check import check_files
from burnish.data.cleaning.clean import clean_files, copy_of, make_plan, read_actions
from burnish.data.cleaning.log import ChangeLog, Entry
from burnish.data.cleaning.rewrite import rewrite
from burnish.data.read import Row, read_rows
from burnish.errors import ConfigError, DataError
from burnish.records import Finding, Json, Kind, Source

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
ROWS = st.lists(st.fixed_dictionaries({"text": TEXT, "label": TEXT}), min_size=1, max_size=7)

RANDOM = random.Random(1)
DIRTY: list[dict[str, Json]] = [
    {
        "text": " ".join(RANDOM.choices(["parcel", "late", "where", "lost", "my", "the", "day", "is", "it"], k=9)),
        "label": "ab"[i % 2],
    }
    for i in range(30)
]
DIRTY += [
    {"text": "mail anna@firm.com, or call +44 20 7946 0958", "label": "a"},
    {"text": "cafÃ© crÃ¨me &amp; cake", "label": "b"},
    dict(DIRTY[3]),
    {"text": "key AKIAIOSFODNN7EXAMPLE is mine", "label": "a"},
]


def as_jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_json(rows: list[Any]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n").encode()


def as_printed(rows: list[Any]) -> bytes:
    return json.dumps(rows, indent=2).encode()


def as_objects(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row, indent=1).encode() for row in rows)


def as_csv(rows: list[Any]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(["text", "label"])
    writer.writerows([row["text"], row["label"]] for row in rows)
    return sink.getvalue().encode()


def as_parquet(rows: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


WRITERS = {".jsonl": as_jsonl, ".json": as_json, ".csv": as_csv, ".parquet": as_parquet}


def values(path: Path) -> list[dict[str, Json]]:
    return [item.values for item in read_rows(path) if isinstance(item, Row)]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("extension", list(WRITERS))
def test_a_cleaned_copy_is_clean(tmp_path: Path, extension: str, packing: str) -> None:
    raw = WRITERS[extension](DIRTY)
    packed = {"": raw, ".gz": gzip.compress(raw), ".zst": zstandard.compress(raw)}[packing]
    path = tmp_path / f"rows{extension}{packing}"
    path.write_bytes(packed)
    before = check_files(path, kind="classification").report
    dirty = {"personal_data", "secret", "encoding_damage", "html", "exact_duplicate"}
    assert dirty <= {item.kind for item in before.findings}
    [cleaned] = clean_files(before.findings, read_actions("all"))
    assert path.read_bytes() == packed
    assert cleaned.changes == {"redact": 2, "repair": 1, "drop": 1}
    copy = Path(cleaned.written)
    assert copy.name == f"rows.clean{extension}{packing}"
    after = check_files(copy, kind="classification").report
    assert not dirty & {item.kind for item in after.findings}
    wanted = [row for at, row in enumerate(DIRTY) if at != 32]
    got = values(copy)
    assert got[:30] == wanted[:30]
    assert [row["text"] for row in got[30:]] == [
        "mail [EMAIL], or call [PHONE]",
        "café crème & cake",
        "key [SECRET] is mine",
    ]
    log = [json.loads(line) for line in Path(cleaned.log).read_text(encoding="utf-8").splitlines()]
    assert log.pop()["copy"] == str(copy)
    assert [(entry["kind"], entry["action"]) for entry in log] == [
        ("personal_data", "redact"),
        ("encoding_damage", "repair"),
        ("html", "repair"),
        ("exact_duplicate", "drop"),
        ("secret", "redact"),
    ]
    assert "anna" not in Path(cleaned.log).read_text(encoding="utf-8")
    assert all(entry["before_sha256"] is None for entry in log if entry["action"] == "redact")


@pytest.mark.parametrize("write", [as_jsonl, as_json, as_printed, as_objects, as_csv])
@given(rows=ROWS, drop=st.sets(st.integers(0, 6)), change=st.sets(st.integers(0, 6)))
@example(rows=[{"text": "\x1f\x7f", "label": ""}, {"text": "\x1f", "label": ""}], drop=set(), change={0, 1})
@settings(max_examples=40, deadline=None)
def test_other_rows_keep_their_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    write: Any,
    rows: list[dict[str, Json]],
    drop: set[int],
    change: set[int],
) -> None:
    """The copy is what the writer makes of the rows that are wanted: nothing else has changed."""
    folder = tmp_path_factory.mktemp("cut")
    path = folder / ("rows.csv" if write is as_csv else "rows.json" if write is not as_jsonl else "rows.jsonl")
    path.write_bytes(write(rows))
    read = [item for item in read_rows(path) if isinstance(item, Row)]
    if [item.values for item in read] != rows:  # a table has no row for two empty cells on a line of their own
        return
    place = {at: item.line for at, item in enumerate(read)}
    drops, changes = ({place[at] for at in chosen if at in place} for chosen in (drop, change))
    sink = io.BytesIO()
    made = list(
        rewrite(path, sink, drop=drops, change=changes - drops, changed=lambda line, row: row | {"label": "new"})
    )
    wanted = [
        row | ({"label": "new"} if place[at] in changes else {})
        for at, row in enumerate(rows)
        if place[at] not in drops
    ]
    assert {item.line for item in made if item.after is None} == drops
    if wanted and write is not as_objects:
        assert sink.getvalue() == write(wanted)
    if wanted:
        copy = folder / f"copy{path.suffix}"
        copy.write_bytes(sink.getvalue())
        assert values(copy) == wanted
        entries = tuple(
            Entry(item.line, item.copy_line, item.shift, "k", "drop" if item.after is None else "repair", "", "")
            for item in made
        )
        log = ChangeLog(copy, "f", "f", "", "", entries)
        kept = [item.line for item in read if item.line not in drops]
        lines = [item.line for item in read_rows(copy) if isinstance(item, Row)]
        assert [log.back(line)[0] for line in lines] == kept
        assert [log.forth(line)[0] for line in kept] == lines
        assert {line for line in place.values() if log.forth(line)[0] is None} == drops


def test_an_odd_file_is_left_as_it_is(tmp_path: Path) -> None:
    """Mark, spaces, escapes, no line break at the end: all as before but for the one row."""
    lines = [
        b'\xef\xbb\xbf{"text" :"a\\u00e9",  "label":"x"}',
        b"",
        b'{"label": "y", "text": "mail a@b.com"}',
        b"{broken",
    ]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\r\n".join(lines))
    finding = Finding("personal_data", "warning", 1, "m", "a", (Source(str(path), 3),))
    [cleaned] = clean_files([finding], ["redact"])
    lines[2] = b'{"label": "y", "text": "mail [EMAIL]"}'
    assert Path(cleaned.written).read_bytes() == b"\r\n".join(lines)


def test_bytes_that_are_no_text_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(DIRTY[:30]) + b'{"text": "caf\xe9", "label": "a"}\n{"text": "q", "label": null}\n')
    report = check_files(path, kind="classification").report
    [cleaned] = clean_files(report.findings, ["drop"])
    assert Path(cleaned.written).read_bytes() == as_jsonl(DIRTY[:30])


ASKED = {"role": "user", "content": " where is it? "}
CALL = {"type": "function", "function": {"name": "find", "arguments": ' {"city": "Rome ", "by": ["a", " b"]}'}}
TOOL = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("kind", "odd", "mended"),
    [
        ("generation", {"prompt": " q ", "completion": "It is here.\n"}, {"completion": "It is here."}),
        (
            "generation",
            {"messages": [ASKED, {"role": "assistant", "content": "Here. "}]},
            {"messages": [ASKED, {"role": "assistant", "content": "Here."}]},
        ),
        (
            "generation",
            {"conversations": [{"from": "human", "value": "q "}, {"from": "gpt", "value": " Here."}]},
            {"conversations": [{"from": "human", "value": "q "}, {"from": "gpt", "value": "Here."}]},
        ),
        (
            "extraction",
            {"text": " Rome ", "target": {"city": "Rome ", "by": ["a", "b "], "to": {"city": "Oslo"}}, "note": "n "},
            {"target": {"city": "Rome", "by": ["a", "b"], "to": {"city": "Oslo"}}},
        ),
        (
            "extraction",
            {"text": "Rome ", "target": ' {"city":"Rome ","by":["a"],"to":{"city":" Oslo"}}'},
            {"target": ' {"city":"Rome","by":["a"],"to":{"city":"Oslo"}}'},
        ),
        (
            "tool_calling",
            {"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}], "tools": [TOOL]},
            {
                "messages": [
                    ASKED,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {
                                "type": "function",
                                "function": {"name": "find", "arguments": ' {"city": "Rome", "by": ["a", "b"]}'},
                            }
                        ],
                    },
                ]
            },
        ),
    ],
    ids=["completion", "messages", "sharegpt", "object", "object in text", "calls"],
)
def test_space_is_taken_from_the_answers_fields_alone(
    tmp_path: Path, kind: Kind, odd: dict[str, Json], mended: dict[str, Json]
) -> None:
    """One row with space at the ends of the answer and of the input, among many without in the answer."""

    def tidy(value: Json) -> Json:
        if isinstance(value, str):
            return json.dumps(tidy(json.loads(value))) if value.strip().startswith("{") else value.strip()
        if isinstance(value, list):
            return [tidy(item) for item in value]
        return {key: tidy(item) for key, item in value.items()} if isinstance(value, dict) else value

    rows = [*([tidy(odd)] * 40), odd]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(rows))
    checked = check_files(path, kind=kind)
    found = [one for one in checked.report.findings if one.kind == "inconsistent_format"]
    assert {row.line for one in found for row in one.rows} == {41}
    [cleaned] = clean_files(found, ["repair"], answers={file.file: file.answer for file in checked.files})
    assert Path(cleaned.written).read_bytes() == as_jsonl([*rows[:40], odd | mended])


def test_other_styles_and_notes_take_no_space_away(tmp_path: Path) -> None:
    rows = [{"text": f"bill {i} ", "target": {"day": "2024-03-31"}} for i in range(40)]
    rows += [{"text": " bill ", "target": {"day": "31/03/2024", "of": " me "}}]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(rows))
    checked = check_files(path, kind="extraction")
    assert "inconsistent_format" in {one.kind for one in checked.report.findings}
    assert clean_files(checked.report.findings, ["repair"], answers={str(path): "target"}) == []


def test_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(DIRTY))
    report = check_files(path, kind="classification").report
    clean_files(report.findings, ["drop"])
    with pytest.raises(ConfigError, match="would replace"):
        clean_files(report.findings, ["drop"])
    assert clean_files(report.findings, ["drop"], tmp_path / "out")[0].written == str(
        tmp_path / "out" / "rows.clean.jsonl"
    )
    assert copy_of(Path("a/b.jsonl.gz"), None) == Path("a/b.clean.jsonl.gz")
    assert copy_of(Path("rows"), None) == Path("rows.clean")


def test_rows_on_one_line_cannot_be_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(DIRTY))
    report = check_files(path, kind="classification").report
    with pytest.raises(DataError, match="on one line"):
        clean_files(report.findings, ["drop"])
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]


def test_the_log_names_the_row_that_a_copy_repeats(tmp_path: Path) -> None:
    """Also where that one repeats another: the one named is kept."""
    near = "the parcel that was sent to my house on the hill last week by your shop has not been seen by anyone here"
    first = [{"text": f"{near}", "label": "a"}, *DIRTY[:20]]
    second = [*DIRTY[20:30], {"text": f"{near}!", "label": "a"}, {"text": f"{near}!", "label": "a"}, DIRTY[4]]
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path, rows in zip(paths, (first, second), strict=True):
        path.write_bytes(as_jsonl(rows))
    report = check_files(paths, kind="classification").report
    [cleaned] = clean_files(report.findings, ["drop"])
    entries = [json.loads(line) for line in Path(cleaned.log).read_text(encoding="utf-8").splitlines()][:-1]
    assert [(entry["kind"], entry["line"], entry["repeats"]) for entry in entries] == [
        ("near_duplicate", 11, f"{paths[0]}:1"),
        ("exact_duplicate", 12, f"{paths[0]}:1"),
        ("exact_duplicate", 13, f"{paths[0]}:6"),
    ]
    dirty = Finding("html", "warning", 1, "m", "a", (Source(str(paths[0]), 2),))
    [cleaned] = clean_files([dirty], ["repair"])
    assert "repeats" not in Path(cleaned.log).read_text(encoding="utf-8")


def test_plans() -> None:
    at = (Source("f", 1), Source("f", 2))
    findings = [
        Finding("exact_duplicate", "warning", 1, "m", "a", at[:1]),
        Finding("personal_data", "warning", 2, "m", "a", at),
        Finding("html", "info", 2, "m", "a", at),
        Finding("conflicting_answers", "warning", 2, "m", "a", at),
    ]
    assert make_plan(findings, ["drop", "redact", "repair"]) == {
        "f": {1: {"exact_duplicate": "drop"}, 2: {"personal_data": "redact"}}
    }
    assert make_plan(findings, ["repair"]) == {}
    assert read_actions("redact, drop") == ("redact", "drop")
    with pytest.raises(ConfigError, match="no such action"):
        read_actions("mend")
