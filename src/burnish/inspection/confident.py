"""Which labels are likely wrong: confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]

_TINY = 1e-12
LEAST_ODDS = 10.0  # where few labels are wrong
LEAST_DOUBT = 1.5  # whatever the noise
SLACK = 1.25  # the estimate of how many are wrong is itself uncertain


class Suspects(NamedTuple):
    """rows: the suspect ones, the most suspect first; better: the class each of them likely has; odds: how many times
    as likely the better class is; expected: how many of all labels are wrong by the confident joint, which counts
    errors of the model, too; noise: the share of all labels that is wrong at least (`least_noise`).
    """

    rows: Indices
    better: Indices
    odds: Numbers
    expected: float
    noise: float


def suspects(probabilities: Numbers, labels: Indices) -> Suspects:
    """The rows that are most against their label, few more than the confident joint says are wrong.

    probabilities: [rows, classes], of each row by a model that did not see it; labels: [rows], as given.
    A suspect row's most likely class is at least LEAST_ODDS times as likely as its label. Where many labels are
    wrong, probabilities learned from them reach no such odds (0.6 against 0.08 with 40% of six classes), and need
    not: with a share e of wrong labels the odds that a label is right were (1 - e) / e before the row was looked at,
    and a row whose odds against its label are higher is more likely wrong than right. Rows are ranked by this ratio.
    How many are wrong is the part of the calibrated joint off its diagonal (equation 3 of the paper), taken over all
    classes at once ("prune by noise rate" takes it class by class, which needs more wrong labels than a good data set
    has).
    """
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    likely = probabilities.argmax(axis=1)
    odds = probabilities[rows, likely] / np.maximum(given, _TINY)
    noise = least_noise(probabilities, labels)
    against = np.flatnonzero(odds >= min(LEAST_ODDS, max((1 - noise) / max(noise, _TINY), LEAST_DOUBT)))
    shares = calibrated_joint(confident_joint(probabilities, labels), labels)
    expected = float(len(labels) * (shares.sum() - np.trace(shares)))
    ranked = against[np.argsort(-odds[against], kind="stable")][: math.ceil(SLACK * expected)]
    return Suspects(ranked, likely[ranked], odds[ranked], expected, noise)


def least_noise(probabilities: Numbers, labels: Indices) -> float:
    """The share of wrong labels as the surest rows tell it, set low.

    Arguments: as for `suspects`. The surer the model is of a row, the likelier a disagreement is the label's fault.
    Its own errors fall from the surest third of the rows to the surest tenth; wrong labels do not. So the share of
    disagreements in the tenth is taken, less one and a half times what that lies below the third's, less a standard
    error: errors of a weak model must not pass for wrong labels. Wrong labels that stand where the model is unsure
    are not seen.
    """
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    against = (probabilities.argmax(axis=1) != labels)[surest]
    tenth, third = against[: max(1, len(labels) // 10)], against[: max(1, len(labels) // 3)]
    share = float(tenth.mean())
    falling = max(0.0, float(third.mean()) - share)
    return max(0.0, share - 1.5 * falling - math.sqrt(share * (1 - share) / len(tenth)))


def confident_joint(probabilities: Numbers, labels: Indices) -> NDArray[np.int64]:
    """Counts of [given label, class counted for] (equation 1 of the paper).

    A row counts for the class whose probability reaches the mean probability of that class among the rows labelled
    so (equation 2); for the most likely one where several do, for none where none does.
    """
    classes = probabilities.shape[1]
    given = probabilities[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=given, minlength=classes)
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    reached = np.where(probabilities >= thresholds - _TINY, probabilities, -1.0)
    sure = reached.max(axis=1) >= 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[sure], reached.argmax(axis=1)[sure]), 1)
    return joint


def calibrated_joint(joint: NDArray[np.int64], labels: Indices) -> Numbers:
    """Shares of [given label, true label]: they sum to 1, and each given label has its own share (equation 3)."""
    sizes = np.bincount(labels, minlength=len(joint)).astype(np.float64)
    filled = joint + np.diag((joint.sum(axis=1) == 0).astype(np.int64))  # a label no row is sure of keeps its rows
    shares = filled / filled.sum(axis=1, keepdims=True) * sizes[:, None]
    joined: Numbers = shares / shares.sum()
    return joined
