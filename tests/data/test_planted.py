"""Twenty defects of each kind among 5,000 real rows: how many are found, and how many sound rows are accused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import planted
import pytest

from burnish.data.check import Checked, check_files
from burnish.data.checks.minhash import normalised, similarity
from burnish.records import DataReport, Json, Kind

RECALL, RECALL_NEAR = 0.95, 0.8
FALSE_ALARMS = 0.01  # of the rows
SOUND = ("too_few", "class_imbalance", "rare_class")  # about the set, not about rows


def check(path: Path, rows: Iterable[Json], kind: Kind, **options: Any) -> Checked:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return check_files(path, kind=kind, **options)


def lines(report: DataReport, kind: str) -> set[int]:
    return {place.line for item in report.findings if item.kind == kind for place in item.rows}


def recall(report: DataReport, kind: str, wanted: set[int]) -> float:
    return len(lines(report, kind) & wanted) / len(wanted)


def places(seed: str) -> list[int]:
    """Twenty rows, as indices."""
    return random.Random(seed).sample(range(planted.ROWS), planted.PLANTED)


@pytest.mark.parametrize(
    ("rows", "kind", "options"),
    [
        (planted.extraction_rows, "extraction", {"schema": planted.SCHEMA}),
        (planted.generation_rows, "generation", {}),
        (planted.call_rows, "tool_calling", {}),
    ],
)
def test_sound_rows_are_left_alone(
    tmp_path: Path, rows: Callable[[], list[Json]], kind: Kind, options: dict[str, Any]
) -> None:
    report = check(tmp_path / "rows.jsonl", rows(), kind, **options).report
    accused = {item.kind: item.count / planted.ROWS for item in report.findings if item.kind not in SOUND}
    assert {name: share for name, share in accused.items() if share >= FALSE_ALARMS} == {}


@pytest.mark.parametrize(
    ("rows", "kind", "defects", "options"),
    [
        (planted.extraction_rows, "extraction", planted.EXTRACTION, {"schema": planted.SCHEMA}),
        (planted.generation_rows, "generation", planted.GENERATION, {}),
    ],
)
def test_planted_defects_are_found(
    tmp_path: Path,
    rows: Callable[[], list[Json]],
    kind: Kind,
    defects: dict[str, Callable[[Json, int], Json]],
    options: dict[str, Any],
) -> None:
    """All kinds in one file, each in rows of its own."""
    made = rows()
    free = random.Random(4).sample(range(planted.ROWS), planted.PLANTED * len(defects))
    wanted: dict[str, set[int]] = {}
    for at, (name, defect) in enumerate(defects.items()):
        chosen = free[at * planted.PLANTED : (at + 1) * planted.PLANTED]
        for number, index in enumerate(chosen):
            made[index] = defect(made[index], number)
        wanted[name] = {index + 1 for index in chosen}
    report = check(tmp_path / "rows.jsonl", made, kind, **options).report
    found = {name: recall(report, name, rows) for name, rows in wanted.items()}
    assert {name: share for name, share in found.items() if share < RECALL} == {}
    for name, rows_ in wanted.items():
        assert len(lines(report, name) - rows_) < FALSE_ALARMS * planted.ROWS, name


def test_planted_copies_and_conflicts_are_found(tmp_path: Path) -> None:
    made = planted.extraction_rows()
    rng = random.Random(6)
    copies, near, conflicts = (
        [made[index] for index in places(name)] for name in ("copies", "near duplicates", "conflicts")
    )
    made += copies
    made += [row | {"text": planted.slightly_changed(row["text"], rng)} for row in near]
    made += [row | {"target": row["target"] | {"approach": "Somehow"}} for row in conflicts]
    report = check(tmp_path / "rows.jsonl", made, "extraction").report
    start = planted.ROWS + 1
    assert recall(report, "exact_duplicate", set(range(start, start + 20))) >= RECALL
    assert recall(report, "near_duplicate", set(range(start + 20, start + 40))) >= RECALL_NEAR
    assert recall(report, "conflicting_answers", set(range(start + 40, start + 60))) >= RECALL
    assert len(lines(report, "near_duplicate")) < 20 + FALSE_ALARMS * planted.ROWS


def test_planted_near_duplicates_of_free_text_are_found(tmp_path: Path) -> None:
    """Among rows of which a quarter have a neighbour that differs by the side or the approach alone."""
    made = planted.generation_rows()
    rng = random.Random(8)
    changes: list[Callable[[str], str]] = [lambda text: planted.slightly_changed(text, rng), lambda text: text]
    for change in changes:  # of the answer
        made += [
            {"prompt": planted.slightly_changed(row["prompt"], rng), "completion": change(row["completion"])}
            for row in (made[index] for index in places("near free text"))
        ]
    found = check(tmp_path / "rows.jsonl", made, "generation").report
    assert recall(found, "near_duplicate", set(range(planted.ROWS + 1, planted.ROWS + 41))) >= RECALL_NEAR
    assert len(lines(found, "near_duplicate")) < 40 + FALSE_ALARMS * planted.ROWS


def test_planted_near_duplicates_are_near() -> None:
    rng = random.Random(6)
    for row in planted.extraction_rows()[:50]:
        changed = planted.slightly_changed(row["text"], rng)
        assert changed != row["text"]
        assert similarity(normalised(row["text"]), normalised(changed)) >= 0.8


def test_planted_leaks_and_contamination_are_found(tmp_path: Path) -> None:
    made = [row | {"completion": row["completion"].split(": ")[1]} for row in planted.generation_rows()]
    train, test = made[:4000], made[4000:]
    rng = random.Random(7)
    leaked = [made[index] for index in places("leaks") if index < 4000]
    nearly = [
        row | {"prompt": planted.slightly_changed(row["prompt"], rng), "completion": row["completion"]}
        for row in (made[index] for index in places("near leaks"))
        if row in train
    ]
    exam = tmp_path / "exam.txt"
    exam_texts = [row["completion"] for row in test if len(row["completion"].split()) > 8][:20]
    exam.write_text("\n".join(exam_texts), encoding="utf-8")
    train = [
        *train,
        *({"prompt": f"q{at}", "completion": f"So: {text}"} for at, text in enumerate(exam_texts)),
    ]
    held = tmp_path / "test.jsonl"
    held.write_text("".join(json.dumps(row) + "\n" for row in [*test, *leaked, *nearly]), encoding="utf-8")
    report = check(tmp_path / "rows.jsonl", train, "generation", test=[held], against=[exam]).report
    leaks = lines(report, "split_leak")
    assert {1001 + at for at in range(len(leaked))} <= leaks
    near = {1001 + len(leaked) + at for at in range(len(nearly))}
    assert len(near & leaks) >= RECALL_NEAR * len(near)
    assert recall(report, "contamination", set(range(4001, 4021))) >= RECALL
    assert len(lines(report, "contamination")) < 20 + FALSE_ALARMS * 4000


def test_planted_invalid_calls_are_found(tmp_path: Path) -> None:
    made = planted.call_rows()
    chosen = places("calls")
    for number, index in enumerate(chosen):
        call = made[index]["messages"][-1]["tool_calls"][0]["function"]
        call["arguments"] = [{"operation": 5}, {}, "{", call["arguments"]][number % 4]
        call["name"] = "erase" if number % 4 == 3 else call["name"]
    report = check(tmp_path / "rows.jsonl", made, "tool_calling").report
    assert recall(report, "invalid_tool_call", {index + 1 for index in chosen}) >= RECALL
    assert len(lines(report, "invalid_tool_call")) == planted.PLANTED


def test_planted_labels_and_pairs_are_found(tmp_path: Path) -> None:
    labelled = [{"text": name, "label": operation} for name, operation, _, _ in planted.procedures()]
    few = places("labels")
    for index in few:
        labelled[index]["label"] = f"Rare {index % 4}"
    report = check(tmp_path / "labels.jsonl", labelled, "classification").report
    assert recall(report, "rare_class", {index + 1 for index in few}) >= RECALL
    assert lines(report, "class_imbalance")
    pairs = [
        {"prompt": f"Say it: {part}", "chosen": f"{name} it is.", "rejected": f"{operation} of something else."}
        for name, operation, part, _ in planted.procedures()
    ]
    equal = places("equal")
    for index in equal:
        pairs[index]["rejected"] = pairs[index]["chosen"]
    turned = [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]}
        for row in (pairs[index] for index in places("turned") if index not in equal)
    ]
    report = check(tmp_path / "pairs.jsonl", [*pairs, *turned], "preference").report
    assert recall(report, "equal_pair", {index + 1 for index in equal}) >= RECALL
    assert recall(report, "contradictory_pair", set(range(5001, 5001 + len(turned)))) >= RECALL
    assert "length_bias" in {item.kind for item in report.findings}
