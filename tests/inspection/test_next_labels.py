"""What to label next: the unsure rows, spread out; better than chance on real rows."""

from __future__ import annotations

import numpy as np
import procedures
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.logistic import Vectors, cross_validated
from burnish.inspection.next_labels import choose_next, spread
from burnish.models.embed import load_embedder


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_unsure_rows_come_first_and_are_spread_out():
    rng = np.random.default_rng(0)
    angles = np.concatenate([rng.uniform(0.0, 0.3, 40), rng.uniform(1.2, 1.5, 40)])
    labelled = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    labels = ["low"] * 40 + ["high"] * 40
    wide = rng.uniform(0.0, 1.5, 400)
    candidates = unit(np.stack([np.cos(wide), np.sin(wide)], axis=1))
    chosen = choose_next(labelled, labels, [str(row) for row in range(80)], candidates, 6)
    assert len({choice.row for choice in chosen}) == 6
    assert all({choice.likely, choice.second} == {"low", "high"} for choice in chosen)
    picked = wide[[choice.row for choice in chosen]]
    assert np.abs(picked - 0.75).mean() < np.abs(wide - 0.75).mean() / 1.5  # near the border between the labels
    assert np.ptp(picked) > 0.05  # and not all at one place


def test_without_labels_what_is_not_covered_is_chosen():
    rng = np.random.default_rng(0)
    labelled = unit(np.array([[1.0, 0.0]]) + 0.01 * rng.normal(size=(30, 2)))
    near = unit(np.array([[1.0, 0.0]]) + 0.01 * rng.normal(size=(60, 2)))
    far = unit(np.array([[0.0, 1.0]]) + 0.01 * rng.normal(size=(60, 2)))
    chosen = choose_next(labelled, [None] * 30, [""] * 30, np.concatenate([near, far]), 5)
    assert all(choice.row >= 60 for choice in chosen)
    assert choose_next(labelled, [None] * 30, [""] * 30, near[:0], 5) == []


@given(st.integers(1, 30), st.integers(1, 40), st.booleans())
@settings(max_examples=30)
def test_as_many_different_rows_as_there_are(count: int, rows: int, equal: bool):
    vectors = (
        np.ones((rows, 3), dtype=np.float32) if equal else unit(np.random.default_rng(rows).normal(size=(rows, 3)))
    )
    chosen = spread(vectors, np.ones(rows), min(count, rows), 0)
    assert len(chosen) == len(set(chosen)) == min(count, rows)
    assert all(0 <= row < rows for row in chosen)


def test_better_than_chance_on_real_rows():
    """100 labels added to 100: the probe gains more from the chosen rows than from five random choices on average."""
    rows = list(procedures.rows())
    vectors = load_embedder().embed([text for text, _ in rows])
    labels = np.array([label for _, label in rows])
    rng = np.random.default_rng(2)
    order = rng.permutation(5000)
    start, pool, test = order[:100], order[100:3500], order[3500:]

    def accuracy(train: np.ndarray) -> float:
        probe = cross_validated(vectors[train], labels[train].tolist(), strengths=(0.01,)).classifier
        return float(
            (np.array(probe.classes)[probe.probabilities(vectors[test]).argmax(axis=1)] == labels[test]).mean()
        )

    chosen = choose_next(vectors[start], labels[start].tolist(), start.astype(str).tolist(), vectors[pool], 100)
    ours = accuracy(np.concatenate([start, pool[[choice.row for choice in chosen]]]))
    chance = [accuracy(np.concatenate([start, rng.choice(pool, 100, replace=False)])) for _ in range(5)]
    assert ours > np.mean(chance) + 0.01
