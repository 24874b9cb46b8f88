"""Do two sets of rows differ? A classifier two-sample test on embeddings (Lopez-Paz and Oquab 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from burnish.data.logistic import Vectors, cross_validated
from burnish.data.places import SHOWN
from burnish.inspection.neighbours import nearest_similarity
from burnish.inspection.sample import Item
from burnish.inspection.words import distinctive
from burnish.records import Finding, Json

LEAST = 40  # rows of each set
MOST = 2500
STRENGTHS = (0.001, 0.01, 0.1)
SURE = 0.01  # p-value
MARKED = 0.6  # accuracy of the classifier from which a difference is more than a curiosity
COVERED = 0.95  # of the training rows have a neighbour within the distance that counts as covered
MUCH_UNCOVERED = 0.15
WORDS = 8


class Shift(NamedTuple):
    """Rows of `part` against the training rows.

    accuracy: of a classifier that tells them apart, on `rows` held-out rows, half of each; 0.5 is chance.
    p_value: that equal sets give this accuracy or more. telling: indices of the rows that it is surest of.
    words: what these use more than the training rows. uncovered: share of rows farther from every training row than
    95% of the training rows are from one another; lonely: indices of these, the farthest first.
    """

    part: str
    rows: int
    accuracy: float
    p_value: float
    telling: tuple[int, ...]
    words: tuple[str, ...]
    uncovered: float
    lonely: tuple[int, ...]

    def stats(self) -> dict[str, Json]:
        """For data_report.json and --json."""
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "p_value": self.p_value,
            "words": list(self.words),
            "uncovered": self.uncovered,
        }


def compare(part: str, train: Sequence[int], others: Sequence[int], items: Sequence[Item], vectors: Vectors) -> Shift:
    """Test whether the rows `others` are like the rows `train`; both are indices into items and vectors."""
    rng = np.random.default_rng(0)
    size = min(len(train), len(others), MOST)
    first = rng.permutation(np.asarray(train))[:size]
    second = rng.permutation(np.asarray(others))[:size]
    half = size // 2
    fitted, held = np.concatenate([first[:half], second[:half]]), np.concatenate([first[half:], second[half:]])
    sides = ["train"] * half + ["other"] * half
    units = [items[row].unit for row in fitted]
    classifier = cross_validated(vectors[fitted], sides, units=units, strengths=STRENGTHS).classifier
    column = classifier.classes.index("other")
    truth = np.repeat([False, True], [size - half, size - half])
    right = int(((classifier.probabilities(vectors[held])[:, column] > 0.5) == truth).sum())
    unseen = np.setdiff1d(np.asarray(others), fitted)
    chances = classifier.probabilities(vectors[unseen])[:, column]
    telling = unseen[np.argsort(-chances, kind="stable")]
    surest = telling[: max(SHOWN, len(telling) // 4)]
    words = distinctive([items[row].text for row in surest], [items[row].text for row in train], WORDS)
    uncovered, lonely = _uncovered(vectors, np.asarray(train), np.asarray(others))
    return Shift(
        part,
        len(held),
        right / len(held),
        binomial_tail(right, len(held)),
        tuple(map(int, telling[:SHOWN])),
        tuple(words),
        uncovered,
        lonely,
    )


def binomial_tail(right: int, total: int) -> float:
    """Probability of `right` or more of `total` by guessing between two (exact; the paper's normal limit)."""
    from scipy.stats import binom

    return float(binom.sf(right - 1, total, 0.5))


def _uncovered(vectors: Vectors, train: np.ndarray, others: np.ndarray) -> tuple[float, tuple[int, ...]]:
    own = nearest_similarity(vectors[train], vectors[train], same=True)
    limit = np.quantile(own, 1 - COVERED)
    similarity = nearest_similarity(vectors[others], vectors[train])
    far = np.flatnonzero(similarity < limit)
    return len(far) / len(others), tuple(map(int, others[far[np.argsort(similarity[far], kind="stable")]]))


def shift_findings(shift: Shift, items: Sequence[Item], size: int) -> list[Finding]:
    """What is worth telling. size: how many rows of the part were looked at."""
    found: list[Finding] = []
    named = f"{shift.part} rows" if shift.part != "requests" else "the requests"
    words = f"; telling words: {', '.join(shift.words)}" if shift.words else ""
    if shift.p_value < SURE:
        chance = "p < 0.001" if shift.p_value < 0.001 else f"p = {shift.p_value:.3f}"
        found.append(
            Finding(
                "distribution_shift",
                "warning" if shift.accuracy >= MARKED else "info",
                round((2 * shift.accuracy - 1) * size),  # at least that many would have to be others
                f"{named} can be told from the training rows: {shift.accuracy:.0%} right on {shift.rows:,} held-out "
                f"rows, where 50% is chance ({chance}){words}",
                "Label rows like these for training and test, or choose the parts from one source.",
                tuple(items[row].source for row in shift.telling),
            )
        )
    if shift.uncovered >= MUCH_UNCOVERED:
        found.append(
            Finding(
                "coverage_gap",
                "warning",
                len(shift.lonely),
                f"{shift.uncovered:.0%} of {named} are farther from every training row than {COVERED:.0%} of the "
                f"training rows are from one another",
                "Label rows like these; `burnish data next` chooses which.",
                tuple(items[row].source for row in shift.lonely[:SHOWN]),
            )
        )
    return found
