"""Logistic regression against scikit-learn's own, its folds, and its temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from burnish.data import logistic
from burnish.data.logistic import cross_validated, fold_of, softmax, temperature_of
from burnish.errors import DataError


def blobs(classes: int, rows: int, dimension: int = 6, spread: float = 1.0, seed: int = 0):
    """Vectors around one centre a class, and their labels."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dimension))
    index = np.arange(rows) % classes
    vectors = centres[index] + spread * random.normal(size=(rows, dimension))
    return vectors.astype(np.float32), [f"class {number}" for number in index]


@pytest.mark.parametrize("classes", [2, 5])
def test_the_classifier_is_scikit_learns_on_scaled_vectors(classes):
    vectors, labels = blobs(classes, 200)
    vectors[:, 2] = 3.0  # a unit that is always the same
    weights = np.linspace(0.5, 2, 200)
    found = cross_validated(vectors, labels, weights=weights, strengths=[0.1])
    scaler = StandardScaler().fit(vectors)
    plain = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(vectors), labels, sample_weight=weights)
    expected = plain.predict_proba(scaler.transform(vectors))
    np.testing.assert_allclose(softmax(found.classifier.logits(vectors)), expected, atol=2e-3)
    assert found.classifier.classes == tuple(plain.classes_)


def test_a_strength_is_chosen_and_held_out_rows_are_not_seen():
    vectors, labels = blobs(4, 240, spread=1.5)
    noise = np.random.default_rng(1).permutation(labels).tolist()
    found = cross_validated(vectors, labels)
    assert found.tried[found.classifier.strength] == min(found.tried.values())
    assert found.out_of_fold.shape == (240, 4)
    np.testing.assert_allclose(found.out_of_fold.sum(axis=1), 1)
    assert found.accuracy > 0.6
    wide = np.random.default_rng(2).normal(size=(240, 300)).astype(np.float32)
    guessed = cross_validated(wide, noise, strengths=[1.0])
    assert guessed.accuracy < 0.4  # more units than rows: seen rows would be answered without a mistake
    assert (guessed.classifier.probabilities(wide).argmax(axis=1) == np.unique(noise, return_inverse=True)[1]).all()


def test_copies_of_a_row_are_held_out_together():
    random = np.random.default_rng(3)
    once = random.normal(size=(60, 200)).astype(np.float32)
    labels = random.permutation([f"{number % 3}" for number in range(60)]).tolist()
    twice, both = np.concatenate([once, once]), labels + labels
    apart = cross_validated(twice, both, strengths=[1.0], units=[*range(60), *range(60)])
    mixed = cross_validated(twice, both, strengths=[1.0])
    assert apart.accuracy < 0.6 < mixed.accuracy


def test_small_fits_take_one_thread_and_large_ones_what_there_is(monkeypatch):
    used = set()
    real = LogisticRegression.fit

    def watched(self, *given, **more):
        used.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return real(self, *given, **more)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    vectors, labels = blobs(3, 60)
    with threadpool_limits(2, user_api="blas"):
        cross_validated(vectors, labels, strengths=(1.0,))
        assert used == {1}
        used.clear()
        monkeypatch.setattr(logistic, "_SMALL", 0)
        cross_validated(vectors, labels, strengths=(1.0,))
        assert used == {2}


def test_labels_may_have_hardly_two_rows_each():
    """scikit-learn takes them for numbers to regress on, and would warn."""
    vectors, labels = blobs(30, 50)
    assert len(cross_validated(vectors, labels).classifier.classes) == 30


def test_a_class_of_one_row_is_answered_by_the_whole_classifier_alone():
    vectors, labels = blobs(3, 60, spread=0.3)
    labels[0] = "alone"
    found = cross_validated(vectors, labels)
    assert found.answered == 59
    column = found.classifier.classes.index("alone")
    assert found.out_of_fold[0, column] == 0
    assert np.isfinite(found.classifier.probabilities(vectors)).all()


@pytest.mark.parametrize("labels", [["a"] * 10, []])
def test_one_label_is_refused(labels):
    with pytest.raises(DataError, match="at least two labels"):
        cross_validated(np.ones((len(labels), 3), dtype=np.float32), labels)


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), min_size=1, max_size=60),
    folds=st.integers(2, 5),
    seed=st.integers(0, 100),
)
def test_folds_keep_units_whole_and_do_not_depend_on_order(rows, folds, seed):
    units, labels = [unit for unit, _ in rows], [label for _, label in rows]
    dealt = fold_of(units, labels, folds)
    by_unit = {unit: {fold for other, fold in zip(units, dealt, strict=True) if other == unit} for unit in units}
    assert all(len(found) == 1 for found in by_unit.values())
    assert len(set(dealt.tolist())) == min(folds, len(set(units)))
    order = np.random.default_rng(seed).permutation(len(rows))
    again = fold_of([units[place] for place in order], [labels[place] for place in order], folds)
    assert again.tolist() == dealt[order].tolist()


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_that_the_answers_were_drawn_with(truth):
    random = np.random.default_rng(4)
    logits = random.normal(scale=3, size=(20_000, 5))
    drawn = np.array([random.choice(5, p=row) for row in scipy_softmax(logits / truth, axis=1)])
    weights = np.ones(len(drawn))
    temperature, loss = temperature_of(logits, drawn, weights)
    assert temperature == pytest.approx(truth, rel=0.05)
    places = np.arange(len(drawn))
    assert loss == pytest.approx(-log_softmax(logits / temperature, axis=1)[places, drawn].mean())
    for other in (temperature * 0.9, temperature * 1.1):
        assert -log_softmax(logits / other, axis=1)[places, drawn].mean() > loss
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits, axis=1))
