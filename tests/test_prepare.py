"""What the check is told of a task, and what it then finds in the task's rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from burnish.config import task_from
from burnish.prepare import Checked, prepare_checked
from tiny import save_tiny


def write(path: Path, labels: Sequence[str]) -> str:
    rows = [
        {"text": f"the word {number} of {label} in {path.stem}", "label": label}
        for label in labels
        for number in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def checked(folder: Path, **settings: object) -> Checked:
    save_tiny(folder / "model")
    task = {"name": "t", "kind": "classification", "instruction": "Which?", "model": "model"}
    return prepare_checked(task_from(task | settings, base_dir=folder))


def test_labels_that_no_row_has_are_told(tmp_path: Path) -> None:
    data = {
        part: write(tmp_path / f"{part}.jsonl", labels) for part, labels in (("train", "ab"), ("validation", "abc"))
    }
    data["test"] = write(tmp_path / "test.jsonl", "abd")
    _, report = checked(tmp_path, data=data, labels=["a", "b", "c", "d", "e", "f"])
    told = [one.message for one in report.findings if one.kind == "rare_class"]
    assert told == [
        "2 of 6 labels have fewer than 10 rows: 'e' (0), 'f' (0)",
        "the test has labels that never occur in train (1): 'd'",
        "the task has labels that never occur in train (1): 'c'",
    ]
    _, unlisted = checked(tmp_path, data=data)
    assert [one.message for one in unlisted.findings if one.kind == "rare_class"] == told[1:2]


def test_spellings_that_the_task_lists_are_not_to_be_replaced(tmp_path: Path) -> None:
    labels = ["Refund", "Refund ", "refund", "lost"]
    data = write(tmp_path / "rows.jsonl", labels)
    for listed, instead in ((None, {"refund": "Refund"}), (["Refund", "refund", "lost"], {})):
        _, report = checked(tmp_path, data=data, labels=listed)
        [found] = [one for one in report.findings if one.kind == "label_spelling"]
        assert found.instead == instead
