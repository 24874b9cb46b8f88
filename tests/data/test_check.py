"""Findings against a plain count of the same thing, and their places."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.check import check_examples, check_files
from burnish.data.duplicates import conflicting, later_copies, members, repeated, shared
from burnish.data.fingerprint import example_id
from burnish.data.lengths import SAMPLE
from burnish.data.reasons import WHY, told
from burnish.data.split import split_given
from burnish.errors import DataError
from burnish.records import DataReport, Example, Finding, Json, Kind, Message, Source

VALUES = st.lists(st.integers(0, 12), max_size=40).map(lambda values: np.array(values, dtype=np.uint64))


def make(text: str, target: Json = "a", line: int = 1, file: str = "f") -> Example:
    messages = (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source(file, line))


def finding(report: DataReport, kind: str) -> Finding | None:
    found = [item for item in report.findings if item.kind == kind]
    return found[0] if found else None


def kinds(report: DataReport) -> set[str]:
    return {item.kind for item in report.findings}


@given(hashes=VALUES, other=VALUES)
def test_duplicates_against_counting(hashes: np.ndarray, other: np.ndarray) -> None:
    counts = Counter(hashes.tolist())
    assert repeated(hashes).tolist() == sorted(value for value, count in counts.items() if count > 1)
    seen: dict[int, int] = {}
    later = []
    for row, value in enumerate(hashes.tolist()):
        if value in seen:
            later.append((row, seen[value]))
        seen.setdefault(value, row)
    rows, firsts = later_copies(hashes)
    assert list(zip(rows.tolist(), firsts.tolist(), strict=True)) == later
    assert shared(hashes, other).tolist() == [r for r, v in enumerate(hashes.tolist()) if v in set(other.tolist())]
    assert members(hashes, np.unique(hashes)).tolist() == list(range(len(hashes)))


@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=40))
def test_conflicts_against_counting(pairs: list[tuple[int, int]]) -> None:
    inputs = np.array([asked for asked, _ in pairs], dtype=np.uint64)
    contents = np.array([10 * asked + answer for asked, answer in pairs], dtype=np.uint64)
    answers: defaultdict[int, set[int]] = defaultdict(set)
    for asked, answer in pairs:
        answers[asked].add(answer)
    wanted = {asked for asked, given_ in answers.items() if len(given_) > 1}
    rows, count = conflicting(inputs, contents)
    assert count == len(wanted)
    assert rows.tolist() == [row for row, (asked, _) in enumerate(pairs) if asked in wanted]


@given(rows=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc")), max_size=60))
@settings(max_examples=100, deadline=None)
def test_report_against_counting(rows: list[tuple[int, str]]) -> None:
    examples = [make(f"t{text}", label, line) for line, (text, label) in enumerate(rows, 1)]
    report = check_examples(iter(examples), kind="classification")
    assert report.rows == len(rows)
    copies = len(rows) - len(set(rows))
    duplicate = finding(report, "exact_duplicate")
    assert (duplicate.count if duplicate else 0) == copies
    if duplicate:
        first = next(line for line, row in enumerate(rows, 1) if row in rows[: line - 1])
        assert duplicate.rows[0] == Source("f", first)
    labels = Counter(label for _, label in rows)
    assert report.stats.get("labels", {}) == dict(labels)
    small = finding(report, "too_few")
    assert small is not None
    assert small.severity == ("error" if len(rows) < 10 else "warning")
    single = [item for item in report.findings if item.kind == "class_imbalance" and item.severity == "error"]
    assert bool(single) == (len(labels) == 1)
    json.dumps(report.stats)


def test_a_clean_set_has_no_findings() -> None:
    report = check_examples([make(f"t{i}", "ab"[i % 2], i) for i in range(100)], kind="classification")
    assert report.findings == ()


def test_classes() -> None:
    rows = [make(f"a{i}", "a", i) for i in range(200)] + [make(f"b{i}", "b", i) for i in range(200, 204)]
    report = check_examples(rows, kind="classification")
    imbalance, rare = finding(report, "class_imbalance"), finding(report, "rare_class")
    assert imbalance is not None
    assert "50 times" in imbalance.message
    assert rare is not None
    assert rare.rows == tuple(Source("f", line) for line in range(200, 204))
    grouped = check_examples(rows, kind="generation", stratum=lambda row: "one")
    assert finding(grouped, "class_imbalance") is not None
    assert check_examples(rows, kind="generation").findings == ()


def test_empty_fields() -> None:
    rows = [make(f"t{i}", {"x": "1"}, i) for i in range(100)]
    rows += [make(" \n", {"x": "1"}, 100), make("u", {"x": "", "y": None}, 101)]
    found = [item for item in check_examples(rows, kind="extraction").findings if item.kind == "empty_field"]
    assert [(item.severity, item.count, item.rows) for item in found] == [
        ("warning", 1, (Source("f", 100),)),
        ("info", 1, (Source("f", 101),)),
    ]


def test_leaks_between_given_parts() -> None:
    train = [make(f"t{i}", "ab"[i % 2], i, "train") for i in range(100)]
    test = [make("t5", "a", 1, "test"), make("u", "c", 2, "test"), make("v", "a", 3, "test")]
    validation = [make("v", "b", 1, "val")]
    split = split_given(train, validation, test)
    report = check_examples([*train, *validation, *test], kind="classification", split=split)
    leaks = [item for item in report.findings if item.kind == "split_leak"]
    assert [(leak.severity, leak.rows) for leak in leaks] == [
        ("error", (Source("test", 1),)),
        ("error", (Source("test", 3),)),
    ]
    unseen = [item for item in report.findings if item.kind == "rare_class" and "never" in item.message]
    assert unseen[0].rows == (Source("test", 2),)
    assert report.stats["parts"] == {"train": 100, "validation": 1, "test": 3}
    assert "conflicting_answers" in kinds(report)
    clean = check_examples(train, kind="classification", split=split_given(train, [], [make("w", "a")]))
    assert "split_leak" not in kinds(clean)


def test_groups_on_both_sides() -> None:
    def grouped(text: str, group: str, line: int, file: str) -> Example:
        return replace(make(text, "ab"[line % 2], line, file), group=group)

    train = [grouped(f"{i * 7919} of train", f"g{i % 20}", i, "train") for i in range(1, 101)]
    test = [grouped(f"{i * 104729} of test", f"g{i + 18}", i, "test") for i in range(1, 41)]
    report = check_examples([*train, *test], kind="classification", split=split_given(train, [], test))
    [leak] = [item for item in report.findings if item.kind == "split_leak"]
    assert (leak.severity, leak.rows) == ("warning", (Source("test", 1),))
    assert "1 group has rows in train and in test" in leak.message
    apart = split_given(train, [], test[1:])
    assert "split_leak" not in kinds(check_examples(train, kind="classification", split=apart))


def test_token_lengths() -> None:
    def count(examples: Sequence[Example]) -> list[int]:
        assert len(examples) <= 64
        return [int(row.messages[0].content) for row in examples]

    rows = [make(str(i), line=i) for i in range(1, 201)]
    report = check_examples(rows, kind="generation", count_tokens=count, max_length=190)
    tokens = report.stats["tokens"]
    assert (tokens["sample"], tokens["of"], tokens["truncated"]) == (200, 200, 10)
    assert tokens["p50"] == np.percentile(np.arange(1, 201), 50)
    assert sum(tokens["histogram"]["counts"]) == 200
    cut = finding(report, "truncated")
    assert cut is not None
    assert (cut.count, cut.rows[0]) == (10, Source("f", 191))
    assert "200" in cut.advice


@pytest.mark.parametrize("copies", [False, True])
def test_token_lengths_are_sampled(copies: bool) -> None:
    total, counted = 3 * SAMPLE, 0

    def count(examples: Sequence[Example]) -> list[int]:
        nonlocal counted
        counted += len(examples)
        return [row.source.line for row in examples]

    rows = (make("same" if copies else f"t{i}", line=i) for i in range(total))
    report = check_examples(rows, kind="generation", count_tokens=count, max_length=total // 2)
    tokens = report.stats["tokens"]
    assert SAMPLE / 2.5 < tokens["sample"] <= SAMPLE
    assert counted < total
    assert abs(tokens["p50"] / total - 0.5) < 0.03
    cut = finding(report, "truncated")
    assert cut is not None
    assert "a sample of" in cut.message


def test_files_and_examples_are_checked_alike(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    rows = [{"text": f"t{i % 90}", "label": "ab"[i % 2]} for i in range(120)]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test.write_text('{"text": "t3", "label": "b"}\noops\n{"text": "new", "label": "a"}\n')
    with pytest.raises(DataError) as caught:
        check_files(train, test=[test], kind="classification")
    assert f"{test}:2" in str(caught.value)
    checked = check_files(train, test=[test], kind="classification", allow_bad_rows=1)
    assert (checked.bad, checked.problems[0].line, checked.report.rows) == (1, 2, 122)
    assert [file.shape for file in checked.files] == ["columns text → label"] * 2
    leak = finding(checked.report, "split_leak")
    assert leak is not None
    assert leak.rows == (Source(str(test), 1),)
    copies = finding(checked.report, "exact_duplicate")
    assert copies is not None
    assert copies.count == 31
    assert copies.rows[0] == Source(str(train), 91)


def test_findings_say_why_they_matter() -> None:
    rows = [make("t", "ab"[i % 2], i) for i in range(20)]
    for item in check_examples(rows, kind="classification").findings:
        assert item.why == WHY[item.kind]
    own = Finding("too_few", "info", 1, "m", "a", why="because")
    assert [item.why for item in told([own, Finding("secret", "error", 1, "m", "a")])] == [WHY["secret"], "because"]


@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_no_rows_is_a_finding(kind: Kind) -> None:
    report = check_examples([], kind=kind)
    assert [(item.kind, item.severity) for item in report.findings] == [("too_few", "error")]
