"""Likely wrong labels: the maths by hand and against cleanlab, and planted flips in real rows."""

from __future__ import annotations

import random

import numpy as np
import procedures
import pytest
from cleanlab import count

from burnish.inspection.confident import calibrated_joint, confident_joint, suspects
from burnish.inspection.inspect import inspect
from burnish.inspection.labels import check_labels
from burnish.inspection.sample import Item, Sampler
from burnish.models.embed import load_embedder
from burnish.records import Source

FLIPS = 20


def test_the_joint_by_hand():
    # Thresholds: a mean of 0.617 of class 0 among the rows labelled 0, of 0.65 of class 1 among those labelled 1.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.05, 0.95], [0.05, 0.95], [0.05, 0.95], [0.95, 0.05]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert confident_joint(probabilities, labels).tolist() == [[2, 1], [1, 2]]
    shares = calibrated_joint(confident_joint(probabilities, labels), labels)
    np.testing.assert_allclose(shares, [[2 / 6, 1 / 6], [1 / 6, 2 / 6]])
    found = suspects(probabilities, labels)
    assert found.expected == pytest.approx(2)
    assert found.rows.tolist() == [2, 5]  # both 19 to 1 against their label: the earlier one first
    assert found.better.tolist() == [1, 0]
    np.testing.assert_allclose(found.odds, 19)
    mild = np.where(probabilities == 0.05, 0.1, np.where(probabilities == 0.95, 0.9, probabilities))
    assert suspects(mild, labels).rows.tolist() == []  # 9 to 1 is not enough


def test_the_joint_is_that_of_cleanlab():
    rng = np.random.default_rng(3)
    for classes in (2, 3, 7):
        truth = rng.integers(classes, size=400)
        logits = rng.normal(size=(400, classes)) + 3.0 * np.eye(classes)[truth]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = np.where(rng.random(400) < 0.15, rng.integers(classes, size=400), truth)
        theirs = count.compute_confident_joint(labels, probabilities, calibrate=False)
        np.testing.assert_array_equal(confident_joint(probabilities, labels), theirs)
        ours = calibrated_joint(confident_joint(probabilities, labels), labels)
        rounded = count.estimate_joint(labels, probabilities, confident_joint=theirs)  # to whole rows
        np.testing.assert_allclose(ours, rounded, atol=1 / 400)


def test_a_class_without_sure_rows_is_not_called_wrong():
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
    labels = np.array([1, 1, 0])
    assert confident_joint(probabilities, labels).sum() >= 2
    assert np.isfinite(calibrated_joint(np.zeros((2, 2), dtype=np.int64), labels)).all()


def test_planted_flips_in_real_rows_are_found():
    """20 of 5,000 labels flipped: at least 16 found, and at least half of what is reported is planted."""
    rows, draw = list(procedures.rows()), random.Random(11)
    names = sorted({label for _, label in rows})
    flipped = set(draw.sample(range(len(rows)), FLIPS))
    sampler = Sampler(5000, "classification")
    for number, (text, label) in enumerate(rows):
        given = draw.choice([name for name in names if name != label]) if number in flipped else label
        sampler.add(procedures.example(text, given, number + 1))
    found = inspect(sampler.sample(), load_embedder().embed)
    assert found is not None
    assert found.labels is not None
    reported = [suspect.item.source.line - 1 for suspect in found.labels.suspects]
    hits = len(flipped.intersection(reported))
    assert hits >= 0.8 * FLIPS
    assert hits >= 0.5 * len(reported)
    right = [suspect.better == rows[suspect.item.source.line - 1][1] for suspect in found.labels.suspects[:10]]
    assert sum(right) >= 9  # the label it takes to be right is the one before the flip
    (finding,) = [finding for finding in found.findings if finding.kind == "suspect_label"]
    assert finding.count == len(reported)
    assert [place.line - 1 for place in finding.rows] == reported[: len(finding.rows)]


def items(labels: list[str]) -> list[Item]:
    return [
        Item(f"{number:016x}", "", label, str(number), Source("rows.jsonl", number + 1), "train")
        for number, label in enumerate(labels)
    ]


def test_nothing_is_doubted_where_the_probe_knows_nothing():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    found = check_labels(items([f"label {number % 3}" for number in range(300)]), vectors)
    assert found is not None
    assert not found.judged
    assert found.suspects == ()


def test_labels_with_few_rows_are_left_out():
    rng = np.random.default_rng(5)
    labels = ["left", "right"] * 60 + ["rare"] * 4
    vectors = rng.normal(size=(124, 8)).astype(np.float32)
    vectors[:, 0] = [{"left": -9, "right": 9, "rare": 0}[label] for label in labels]
    found = check_labels(items(labels), vectors)
    assert found is not None
    assert (found.rows, found.judged, found.suspects) == (120, True, ())
    assert check_labels(items(["left"] * 100), vectors[:100]) is None
    assert check_labels(items(["left", "right"] * 20), vectors[:40]) is None
