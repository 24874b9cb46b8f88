"""Likely wrong labels: the maths by hand and against cleanlab, and planted flips in real rows."""

from __future__ import annotations

import random

import numpy as np
import procedures
import pytest
from cleanlab import count

from burnish.inspection.confident import calibrated_joint, confident_joint, suspects
from burnish.inspection.inspect import inspect
from burnish.inspection.labels import check_labels, suspect_findings
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


def noisy(
    rate: float, sharpness: float, rows: int = 4000, classes: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a calibrated model says that learned from labels of which a share is flipped, [rows, classes]; the labels
    as given, and whether each was flipped. sharpness: of what it knows of the true classes."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(rows, classes)) * sharpness
    clean = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(classes, p=row) for row in clean])
    flipped = rng.random(rows) < rate
    labels = np.where(flipped, (truth + rng.integers(1, classes, size=rows)) % classes, truth)
    other = rate / (classes - 1)
    return clean * (1 - rate - other) + other, labels, flipped


@pytest.mark.parametrize(("rate", "recall", "precision"), [(0.2, 0.6, 0.8), (0.4, 0.7, 0.8)])
def test_where_many_labels_are_wrong_most_are_named(rate: float, recall: float, precision: float):
    probabilities, labels, flipped = noisy(rate, 6.0)
    found = suspects(probabilities, labels)
    assert rate / 2 <= found.noise <= rate
    hits = flipped[found.rows].sum()
    assert hits >= recall * flipped.sum()
    assert hits >= precision * len(found.rows)


@pytest.mark.parametrize("sharpness", [1.5, 3.0, 6.0])
def test_errors_of_a_model_do_not_pass_for_wrong_labels(sharpness: float):
    probabilities, labels, _ = noisy(0.0, sharpness)
    found = suspects(probabilities, labels)
    assert (probabilities.argmax(axis=1) != labels).mean() > 0.05
    assert found.noise < 0.03
    assert (found.odds >= 10).all()


def test_the_finding_says_that_more_are_wrong_than_it_names():
    rng = np.random.default_rng(5)
    truth = rng.integers(3, size=900)
    vectors = (rng.normal(size=(900, 8)) + 6.0 * np.eye(8)[truth]).astype(np.float32)
    for rate, told in ((0.3, True), (0.02, False)):
        flipped = rng.random(900) < rate
        given = np.where(flipped, (truth + 1) % 3, truth)
        found = check_labels(items([f"label {number}" for number in given]), vectors)
        assert found is not None
        [finding] = suspect_findings(found)
        assert ("expect more than these" in finding.message) == told
        assert found.stats()["wrong_at_least"] == found.noise <= rate + 0.02
