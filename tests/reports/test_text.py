"""Numbers for people, and foreign text made safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.reports import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0 s"),
        (0.0000138, "< 1 ms"),
        (0.0421, "42 ms"),
        (0.99949, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (75, "1 min 15 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert text.seconds(value) == shown


def test_shares_points_and_p_values() -> None:
    assert text.percent(0.8512) == "85.1%"
    assert text.percent(float("nan")) == "–"
    assert text.points(-0.05) == "−5.0"
    assert text.points(0.41) == "+41.0"
    assert text.p_value(0.00001) == "<\u00a00.001"
    assert text.p_value(0.0421) == "0.042"
    assert text.plural(1, "row") == "1 row"
    assert text.plural(2000, "row") == "2,000 rows"
    assert text.megabytes(3420) == "3.3 GB"


def test_metric_names_in_sentences() -> None:
    assert [text.metric_phrase(name) for name in ("exact_match", "rouge_l", "macro_f1", "chrf", "mine:my_own")] == [
        "exact match",
        "ROUGE-L",
        "macro-F1",
        "chrF",
        "my own",
    ]


def test_moments() -> None:
    assert text.moment("2026-11-22T18:30:05+00:00") == "2026-11-22 18:30 UTC"
    assert text.moment("yesterday") == "yesterday"
    assert text.moment(None) == ""


@given(raw=st.text())
def test_clean_text_can_be_encoded_and_steers_nothing(raw: str) -> None:
    made = text.clean(raw)
    made.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\t\n" for c in made)
    assert text.clean(made) == made
    assert "\n" not in text.one_line(raw)
    assert len(text.cut(made, 10)) <= 10


@given(raw=st.text(st.characters(codec="utf-8", exclude_categories=["C"])))
def test_clean_leaves_ordinary_text_alone(raw: str) -> None:
    expected = raw.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    assert text.clean(raw) == expected
