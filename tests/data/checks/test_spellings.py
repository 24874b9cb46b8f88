"""Spellings of labels: what is one label, which spelling is the usual one, and what `--fix repair` does."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from burnish.cli import app
from burnish.data.check import check_files
from burnish.data.checks.spellings import Spelled, folded, spellings
from burnish.data.cleaning.clean import clean_files


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Card lost", "card_lost"),
        ("card-lost.", "CARD LOST"),
        ('"refund"', "Refund"),
        ("top 10", "top_10"),
        ("a - b", "a/b"),
    ],
)
def test_one_label(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "A+"), ("A", "A-"), ("C", "C++"), ("C#", "C++"), ("1.5", "15"), ("1.5", "1-5"), ("-1", "1"), ("5%", "5")],
)
def test_two_labels(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_the_usual_spelling_is_the_clear_majority() -> None:
    rows = {"Refund": 6, "refund": 3, "REFUND": 2, "card": 4, "Card": 4, "other": 9, "?": 1, "!": 1}
    assert list(spellings(rows)) == [
        Spelled("Refund", ("refund", "REFUND"), True),
        Spelled("Card", ("card",), False),
    ]


ROWS = [
    *((f"where is the money of order {number}", "Refund") for number in range(130)),
    *((f"give back what {number} cost me, it broke", "refund") for number in range(70)),
    *((f"my card was gone on day {number}", ("Lost Card", "lost_card")[number % 2]) for number in range(20)),
    ("refund", "refund"),
]


def test_labels_are_repaired_to_the_usual_spelling(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *ROWS])
    done = CliRunner().invoke(
        app, ["check", str(path), "--kind", "classification", "--no-embeddings", "--fix", "repair"]
    )
    assert done.exit_code == 0, done.output
    with (tmp_path / "rows.clean.csv").open(encoding="utf-8", newline="") as file:
        _, *got = map(tuple, csv.reader(file))
    usual = [(text, "Refund" if label == "refund" and text != "refund" else label) for text, label in ROWS]
    assert got == usual  # neither where both spellings are as frequent, nor where the text is the label
    log = [json.loads(line) for line in (tmp_path / "rows.clean.csv.changes.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["kind"]) for entry in log[:-1]] == [
        (line, "label_spelling") for line in range(132, 202)
    ]
    assert (log[0]["before"][-6:], log[0]["after"][-6:]) == ("refund", "Refund")


def test_labels_that_the_task_lists_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    listed = check_files(path, kind="classification", labels={label for _, label in ROWS}).report
    assert [item.count for item in listed.findings if item.kind == "label_spelling"] == [81]
    assert clean_files(listed.findings, ["repair"]) == []
