"""Logistic regression on vectors: its strength chosen, and its probabilities calibrated, on rows held out in turn."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.errors import DataError

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Integers = NDArray[np.intp]

# scikit-learn's C for vectors with unit variance, weakest model first
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FOLDS = 5
_STEPS = 300
# Products (rows × dimension × classes) below which one thread is faster than several that wait for each other.
_SMALL = 1e9
_COLDEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """classes: in the order of the columns. weights: [classes, dimension]; bias: [classes]; temperature: divides the
    logits (Guo et al. 2017, equation 9); strength: C, the inverse weight of the L2 penalty."""

    classes: tuple[str, ...]
    weights: Floats
    bias: Floats
    temperature: float
    strength: float

    def logits(self, vectors: Vectors) -> Floats:
        """[rows, classes], before the temperature."""
        found: Floats = vectors.astype(np.float64) @ self.weights.T + self.bias
        return found

    def probabilities(self, vectors: Vectors) -> Floats:
        """Calibrated, [rows, classes]."""
        return softmax(self.logits(vectors) / self.temperature)


class CrossValidated(NamedTuple):
    """A classifier of all rows, and what classifiers that had not seen a row said about it.

    out_of_fold: calibrated probabilities, [rows, classes]; a class that the other folds lack has 0.
    answered: rows whose class the other folds know, the share that accuracy is over. accuracy: of out_of_fold.
    tried: strength to log loss out of fold, in nats, calibrated.
    """

    classifier: LinearClassifier
    out_of_fold: Floats
    answered: int
    accuracy: float
    tried: dict[float, float]


def cross_validated(
    vectors: Vectors,
    labels: Sequence[str],
    *,
    units: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = FOLDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> CrossValidated:
    """Fit multinomial logistic regression; choose its strength by the log loss on held-out folds.

    vectors: [rows, dimension], scaled to unit variance here. units: rows of one unit (a group, copies of an input)
    are never in different folds; None: each row is one. weights: of the rows' losses. strengths: tried from the
    first on until the loss grows. Folds depend on the units' names, not on the order of the rows.
    The temperature minimises the log loss of the logits out of fold.
    DataError: fewer than two classes, or two units.
    """
    classes, index = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    if len(classes) < 2:
        fix = "give rows with at least two labels"
        raise DataError("a classifier needs rows of at least two labels", got=classes.tolist(), fix=fix)
    mean, scale = _scaling(vectors)
    scaled = ((vectors - mean) / scale).astype(np.float32)
    row_weights = np.ones(len(index)) if weights is None else np.asarray(weights, dtype=np.float64)
    fold = fold_of(range(len(index)) if units is None else units, labels, folds)
    if len(set(fold.tolist())) < 2:
        raise DataError("a classifier needs at least two different rows", got=len(index), fix="give more rows")
    parts = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in sorted(set(fold.tolist()))]
    best: tuple[float, float, float, Floats] | None = None
    tried: dict[float, float] = {}
    fits = [_fitter() for _ in parts]
    for number, strength in enumerate(strengths):
        logits = np.full((len(index), len(classes)), -np.inf)
        for fit, (seen, held) in zip(fits, parts, strict=True):
            logits[held] = _logits(
                fit, strength, scaled[seen], index[seen], row_weights[seen], scaled[held], len(classes)
            )
        temperature, loss = temperature_of(logits, index, row_weights)
        tried[strength] = loss
        if on_progress is not None:
            on_progress(number + 1, len(strengths) + 1)
        if best is not None and loss >= best[0]:
            break
        best = (loss, strength, temperature, logits)
    assert best is not None, "there is a strength to try"
    _, strength, temperature, logits = best
    coefficients, bias = _fit(_fitter(), strength, scaled, index, row_weights, len(classes))
    if on_progress is not None:
        on_progress(len(strengths) + 1, len(strengths) + 1)
    unscaled = coefficients / scale
    classifier = LinearClassifier(
        tuple(classes.tolist()), unscaled, bias - unscaled @ mean, temperature, float(strength)
    )
    known = np.isfinite(logits[np.arange(len(index)), index])
    right = (logits.argmax(axis=1) == index)[known]
    accuracy = float(right.mean()) if known.any() else 0.0
    return CrossValidated(classifier, softmax(logits / temperature), int(known.sum()), accuracy, tried)


def fold_of(units: Sequence[Hashable] | range, labels: Sequence[str], folds: int) -> Integers:
    """The fold of each row: units dealt out label by label, so that each fold has its share of every label."""
    label_of: dict[Hashable, str] = {}
    for unit, label in zip(units, labels, strict=True):
        label_of[unit] = min(label, label_of.get(unit, label))
    by_label: defaultdict[str, list[Hashable]] = defaultdict(list)
    for unit, label in label_of.items():
        by_label[label].append(unit)
    dealt: dict[Hashable, int] = {}
    for label in sorted(by_label):
        for unit in sorted(by_label[label], key=_digest):
            dealt[unit] = len(dealt) % folds
    return np.array([dealt[unit] for unit in units], dtype=np.intp)


def temperature_of(logits: Floats, index: Integers, weights: Floats) -> tuple[float, float]:
    """The temperature with the least log loss, and that loss in nats a row (Guo et al. 2017, section 4.2).

    Rows whose own class has a logit of minus infinity tell nothing and are left out.
    """
    from scipy.optimize import minimize_scalar

    known = np.isfinite(logits[np.arange(len(index)), index]) & (weights > 0)
    if not known.any():
        return 1.0, np.inf
    rows, right, share = logits[known], index[known], weights[known] / weights[known].sum()
    places = np.arange(len(right))

    def loss(log_temperature: float) -> float:
        scaled = rows / np.exp(log_temperature)
        top = scaled.max(axis=1)
        normaliser = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(share @ (normaliser - scaled[places, right]))

    found: Any = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def softmax(logits: Floats) -> Floats:
    """Rows of probabilities; a logit of minus infinity gives 0."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: Floats = exponents / exponents.sum(axis=1, keepdims=True)
    return made


def _scaling(vectors: Vectors) -> tuple[Floats, Floats]:
    mean = vectors.mean(axis=0, dtype=np.float64)
    scale = vectors.std(axis=0, dtype=np.float64)
    return mean, np.where(scale > 1e-6 * scale.max(), scale, 1.0)  # units that are always off stay as they are


def _fitter() -> Any:
    """Goes on from its own last weights: the next strength is near."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=_STEPS, warm_start=True)


def _fit(
    fitter: Any, strength: float, vectors: Vectors, index: Integers, weights: Floats, classes: int
) -> tuple[Floats, Floats]:
    """Weights [classes, dimension] and bias [classes]; a class without rows has a bias of minus infinity."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    coefficients, bias = np.zeros((classes, vectors.shape[1])), np.full(classes, -np.inf)
    present = np.unique(index)
    if len(present) == 1:
        bias[present] = 0.0
        return coefficients, bias
    with warnings.catch_warnings(), _threads(vectors.size * classes):
        # A fit cut off early is one more regularised than asked for: what counts is its loss out of fold.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # labels with few rows each
        fitter.set_params(C=strength).fit(vectors, index, sample_weight=weights)
    if len(present) == 2:  # one row of weights stands for the second class against the first
        coefficients[present[1]] = fitter.coef_[0]
        bias[present] = (0.0, fitter.intercept_[0])
    else:
        coefficients[present] = fitter.coef_
        bias[present] = fitter.intercept_
    return coefficients, bias


def _threads(products: float) -> AbstractContextManager[Any]:
    """Within, NumPy's and SciPy's products take one thread where they are small: each step of a fit is a few of them,
    and other work on the machine makes two threads wait for one another ten times as long as they compute."""
    return _controller().limit(limits=1) if products < _SMALL else nullcontext()


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _logits(
    fitter: Any, strength: float, seen: Vectors, index: Integers, weights: Floats, held: Vectors, classes: int
) -> Floats:
    coefficients, bias = _fit(fitter, strength, seen, index, weights, classes)
    found: Floats = held.astype(np.float64) @ coefficients.T + bias
    return found


def _digest(unit: Hashable) -> bytes:
    return hashlib.sha256(str(unit).encode("utf-8", "surrogatepass")).digest()
