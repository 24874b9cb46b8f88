"""What kind of task a file is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.config.samples import SAMPLES
from burnish.data.guess import guess_kind
from burnish.records import KINDS, Kind

SENTENCES = [f"answer number {i} is not like the others" for i in range(30)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_of_init(tmp_path: Path, kind: Kind):
    assert guess_kind(write(tmp_path / "rows.jsonl", SAMPLES[kind]().rows)) == kind


def turns(answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"text": "x", "answer": answer} for answer in SENTENCES], "generation"),
        ([{"text": "x", "answer": "yes" if i % 2 else "no"} for i in range(30)], "classification"),
        ([{"text": "x", "label": answer} for answer in SENTENCES], "classification"),  # the column says so
        ([{"text": "x", "output": '{"a": 1}'} for _ in range(30)], "extraction"),
        ([{"text": "x", "target": [{"name": "f", "arguments": {}}]} for _ in range(30)], "tool_calling"),
        ([turns(answer) for answer in SENTENCES], "generation"),
        ([turns("ab"[i % 2]) for i in range(30)], "classification"),
        ([turns('{"a": 1}') for _ in range(30)], "extraction"),
        ([{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": s}]} for s in SENTENCES],
         "generation"),
        ([{"text": "unlabelled"}], "generation"),
    ],
)  # fmt: skip
def test_kinds(tmp_path: Path, rows: list[Any], kind: Kind):
    assert guess_kind(write(tmp_path / "rows.jsonl", rows)) == kind


def test_a_named_column_decides(tmp_path: Path):
    rows = [{"text": "x", "label": "a", "target": {"a": 1}} for _ in range(20)]
    file = write(tmp_path / "rows.jsonl", rows)
    assert guess_kind(file) == "classification"
    assert guess_kind(file, "target") == "extraction"


def test_bad_rows_and_missing_files_do_not_stop_it(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{broken\n{"text": "x", "label": "a"}\n[1]\n', encoding="utf-8")
    assert guess_kind(file) == "classification"
    assert guess_kind(tmp_path / "none.csv") == "generation"
