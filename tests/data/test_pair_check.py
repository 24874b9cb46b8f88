"""What is found about preference rows: each finding with a slow and obvious count beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from burnish.data.check import check_examples
from burnish.data.fingerprint import example_id
from burnish.records import DataReport, Example, Finding, Message, Source


def pair(chosen: str, rejected: str, prompt: str = "q", line: int = 1) -> Example:
    return row({"chosen": chosen, "rejected": rejected}, prompt, line)


def row(target: Any, prompt: str = "q", line: int = 1) -> Example:
    messages = (Message("user", prompt),)
    return Example(example_id(messages, target), messages, target, Source("rows.jsonl", line))


def check(rows: Sequence[Example]) -> DataReport:
    return check_examples(rows, kind="preference")


def found(report: DataReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def balanced(count: int = 120) -> list[Example]:
    """Nothing to complain about: as many longer as shorter chosen answers."""
    answers = ("yes indeed", "no")
    return [pair(answers[i % 2], answers[1 - i % 2], f"{i * 7919} apples or pears", i + 1) for i in range(count)]


def test_good_pairs_have_no_finding() -> None:
    report = check(balanced())
    assert report.findings == ()
    assert report.stats["pairs"] == {"pairs": 120, "chosen_longer": 60, "chosen_shorter": 60, "same_length": 0}


def test_several_pairs_of_one_prompt_are_no_conflict() -> None:
    rows = [*balanced(), pair("a", "b", "same"), pair("a", "c", "same"), pair("b", "c", "same")]
    assert check(rows).findings == ()


def test_equal_pairs() -> None:
    [finding] = found(check([*balanced(), pair("same", "same", "x", 400)]), "equal_pair")
    assert (finding.severity, finding.count, finding.rows) == ("warning", 1, (Source("rows.jsonl", 400),))
    assert "1 row has" in finding.message


def test_contradictory_pairs() -> None:
    rows = [*balanced(), pair("a", "b", "x", 500), pair("b", "a", "x", 501), pair("a", "b", "y", 502)]
    [finding] = found(check(rows), "contradictory_pair")
    assert (finding.severity, finding.count) == ("warning", 2)
    assert [place.line for place in finding.rows] == [500, 501]
    assert not found(check([*balanced(), pair("a", "a", "x"), pair("a", "a", "x")]), "contradictory_pair")


def test_one_answer_judged_both_ways() -> None:
    rows = [row({"completion": f"answer {i}", "desirable": i % 2 == 0}, f"q {i}", i) for i in range(120)]
    report = check(rows)
    assert report.stats["unpaired"] == {"rows": 120, "desirable": 60}
    assert report.stats["labels"] == {"desirable": 60, "undesirable": 60}
    assert report.findings == ()
    [finding] = found(
        check([*rows, row({"completion": "answer 4", "desirable": False}, "q 4")]), "contradictory_pair"
    )
    assert finding.count == 2
    only = check([row({"completion": f"answer {i}", "desirable": True}, f"q {i}", i) for i in range(120)])
    assert found(only, "class_imbalance")[0].severity == "error"


def test_empty_answers() -> None:
    report = check([*balanced(), pair("", "b", "x", 300), pair("b", " ", "y", 301), pair("c", "", "z", 302)])
    assert [(finding.severity, finding.count) for finding in found(report, "empty_field")] == [
        ("warning", 1),
        ("info", 2),
    ]


@pytest.mark.parametrize(
    ("longer", "shorter", "same", "biased"),
    [
        (60, 60, 0, False),
        (90, 30, 0, True),
        (30, 90, 0, True),
        (7, 3, 100, False),
        (70, 50, 0, False),
        (0, 0, 120, False),
    ],
)
def test_length_bias_takes_both_a_large_share_and_a_test(longer: int, shorter: int, same: int, biased: bool) -> None:
    texts = [("long one", "no")] * longer + [("no", "long one")] * shorter + [("ab", "cd")] * same
    rows = [pair(chosen, rejected, f"q {i}", i) for i, (chosen, rejected) in enumerate(texts)]
    findings = found(check(rows), "length_bias")
    assert bool(findings) == biased
    if biased:
        most = max(longer, shorter)
        assert findings[0].count == most
        assert f"{most / (longer + shorter):.1%}" in findings[0].message
        assert ("the longer one" if longer > shorter else "the shorter one") in findings[0].message
        assert binomtest(most, longer + shorter).pvalue < 0.001


WORDS = st.sampled_from(["", "a", "b", "aa", "ab"])


@given(st.lists(st.tuples(st.sampled_from("xyz"), WORDS, WORDS), max_size=30))
@settings(deadline=None)
def test_counts_are_those_of_the_slow_way(drawn: list[tuple[str, str, str]]) -> None:
    report = check([pair(chosen, rejected, prompt, i + 1) for i, (prompt, chosen, rejected) in enumerate(drawn)])
    equal = sum(chosen == rejected for _, chosen, rejected in drawn)
    assert sum(finding.count for finding in found(report, "equal_pair")) == equal
    seen = Counter(drawn)
    against = sum(c != r and (p, r, c) in seen for p, c, r in drawn)
    assert sum(finding.count for finding in found(report, "contradictory_pair")) == against
    if drawn:
        assert report.stats["pairs"]["chosen_longer"] == sum(len(c) > len(r) for _, c, r in drawn)


def test_a_file_is_checked_as_its_rows_are(tmp_path: Path) -> None:
    from burnish.data.check import check_files

    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "q", "chosen": "a", "rejected": "a"}\n' * 2)
    checked = check_files(file, kind="preference")
    assert {finding.kind for finding in checked.report.findings} == {"too_few", "exact_duplicate", "equal_pair"}
