"""Shifts between sets of rows: real questions of other subjects, and the test's size under no shift."""

from __future__ import annotations

import numpy as np
import procedures
import pytest
from scipy.stats import binomtest

from burnish.inspection.inspect import Inspection, inspect
from burnish.inspection.neighbours import far_limit, nearest_similarity
from burnish.inspection.sample import REQUESTS, Item, Sampler
from burnish.inspection.shift import binomial_tail, compare, shift_findings
from burnish.inspection.words import distinctive
from burnish.models.embed import load_embedder
from burnish.records import Example, Finding, Message, Source


def looked_at(parts: dict[str, list[tuple[str, str]]]) -> Inspection:
    sampler = Sampler(5000, "classification")
    for part, rows in parts.items():
        for line, (text, label) in enumerate(rows, 1):
            if part == REQUESTS:
                place = Source(f"{part}.txt", line)
                sampler.add(Example(f"{line:016x}", (Message("user", text),), None, place), part)
            else:
                sampler.add(procedures.example(text, label, line, f"{part}.jsonl"), part)
    found = inspect(sampler.sample(), load_embedder().embed)
    assert found is not None
    return found


def of_kind(found: Inspection, kind: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    return list(procedures.rows(900))


def test_parts_drawn_alike_are_not_told_apart(rows: list[tuple[str, str]]):
    found = looked_at({"train": rows[:600], "test": rows[600:]})
    (shift,) = found.shifts
    assert (shift.part, shift.rows) == ("test", 300)
    assert shift.p_value > 0.01
    assert not of_kind(found, "distribution_shift")
    assert not of_kind(found, "coverage_gap")


def test_another_subject_in_the_requests_is_found_and_named(rows: list[tuple[str, str]]):
    """A quarter of the requests are about something else; they are what gives the shift away."""
    strange = [
        (f"Please {verb} my {thing} {when}, thank you", "")
        for verb in ("cancel", "change", "confirm")
        for thing in ("flight", "hotel", "table for two", "train ticket", "rental car")
        for when in ("tomorrow", "on Friday", "next week", "today", "for Monday")
    ]
    found = looked_at({"train": rows[:600], REQUESTS: [*rows[600:825], *strange]})
    (shift,) = of_kind(found, "distribution_shift")
    assert shift.severity == "warning"
    assert all(place.file == "requests.txt" and place.line > 225 for place in shift.rows)
    assert "please" in shift.message
    assert 40 <= shift.count <= 150
    (gap,) = of_kind(found, "coverage_gap")
    assert gap.count == pytest.approx(75, abs=25)
    assert all(place.line > 225 for place in gap.rows)
    assert len(found.clusters.of) == 600  # the requests are no part of the clusters
    assert set(found.stats()["shift"]) == {REQUESTS}


def test_the_p_value_is_exact():
    for right, total in ((150, 300), (180, 300), (12, 40)):
        expected = binomtest(right, total, 0.5, alternative="greater").pvalue
        assert binomial_tail(right, total) == pytest.approx(expected)


def test_equal_sets_seldom_give_a_small_p_value():
    """50 pairs of sets from one distribution: 5% lie below 0.05; ten or more would have a chance of one in 10,000."""
    rng = np.random.default_rng(4)
    below = 0
    for _ in range(50):
        vectors = rng.normal(size=(120, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        items = [Item(str(row), "text", None, str(row), Source("f", row), "train") for row in range(120)]
        below += compare("test", range(60), range(60, 120), items, vectors).p_value < 0.05
    assert below < 10


def test_a_small_shift_is_a_note():
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(4000, 8)).astype(np.float32)
    vectors[2000:, 0] += 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [Item(str(row), "text", None, str(row), Source("f", row), "train") for row in range(4000)]
    shift = compare("test", range(2000), range(2000, 4000), items, vectors)
    assert 0.52 < shift.accuracy < 0.6
    assert [finding.severity for finding in shift_findings(shift, items, 2000)] == ["info"]


def test_neighbours_by_hand():
    base = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    np.testing.assert_allclose(nearest_similarity(base, base, same=True), [0.8, 0.8, 0.6], atol=1e-6)
    np.testing.assert_allclose(nearest_similarity(base[:1], base, 2), [0.9], atol=1e-6)
    assert far_limit(np.array([0.1, 0.9, 0.9, 0.9, 0.9], dtype=np.float32)) == pytest.approx(0.9)


def test_words_that_tell_texts_apart():
    texts = ["the card is lost", "my card was stolen", "a card is gone"]
    others = ["the rate is wrong", "my rate was odd", "a rate is high", "the fee is high"]
    assert distinctive(texts, others, 3) == ["card"]
    assert distinctive([], others, 3) == []
