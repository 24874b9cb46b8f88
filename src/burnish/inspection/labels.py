"""The finding suspect_label: rows whose label an embedding probe, fitted on the other rows, takes to be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from burnish.data.logistic import FOLDS, Vectors, cross_validated
from burnish.data.places import SHOWN
from burnish.inspection.confident import suspects
from burnish.inspection.sample import Item
from burnish.records import Finding, Json

LEAST_ROWS = 50
STRENGTHS = (0.01, 0.1, 1.0)
NOISY = 0.1  # share of wrong labels from which on the list is called a part of them
LEAST_SKILL = 0.3  # of the way from guessing the largest class to being always right


class Suspect(NamedTuple):
    """A label that is likely wrong. odds: how many times as likely as the label `better` is."""

    item: Item
    better: str
    odds: float


class LabelCheck(NamedTuple):
    """What was looked at. accuracy: of the probe on rows it was not fitted on; largest: share of the largest class;
    noise: share of all labels that is wrong at least.

    judged: False when the probe knows too little of the labels for its doubts to mean something.
    """

    rows: int
    accuracy: float
    largest: float
    judged: bool
    expected: float
    noise: float
    suspects: tuple[Suspect, ...]

    def stats(self) -> dict[str, Json]:
        """For data_report.json and --json."""
        return {
            "rows": self.rows,
            "probe_accuracy": self.accuracy,
            "largest_class": self.largest,
            "judged": self.judged,
            "expected": self.expected,
            "wrong_at_least": self.noise,
            "rows_suspected": [
                {
                    "file": found.item.source.file,
                    "line": found.item.source.line,
                    "id": found.item.id,
                    "label": found.item.label,
                    "likely": found.better,
                    "odds": found.odds,
                }
                for found in self.suspects
            ],
        }


def check_labels(items: Sequence[Item], vectors: Vectors) -> LabelCheck | None:
    """Cross-validated probabilities of an embedding probe, and confident learning on them.

    items: labelled rows, with their vectors [rows, dimension]. Labels with fewer rows than there are folds are left
    out: nothing can be said of them. None when fewer than LEAST_ROWS rows or two labels are left.
    """
    sizes = Counter(item.label for item in items if item.label is not None)
    rows = [row for row, item in enumerate(items) if item.label is not None and sizes[item.label] >= FOLDS]
    kept = [items[row] for row in rows]
    labels = [str(item.label) for item in kept]
    if len(kept) < LEAST_ROWS or len(set(labels)) < 2 or len({item.unit for item in kept}) < 2 * FOLDS:
        return None
    found = cross_validated(vectors[rows], labels, units=[item.unit for item in kept], strengths=STRENGTHS)
    largest = max(Counter(labels).values()) / len(labels)
    judged = found.accuracy - largest >= LEAST_SKILL * (1 - largest)
    if not judged:
        return LabelCheck(len(kept), found.accuracy, largest, False, 0.0, 0.0, ())
    classes = found.classifier.classes
    column = {name: place for place, name in enumerate(classes)}
    wrong = suspects(found.out_of_fold, np.array([column[label] for label in labels]))
    listed = tuple(
        Suspect(kept[row], classes[better], float(odds))
        for row, better, odds in zip(wrong.rows, wrong.better, wrong.odds, strict=True)
    )
    return LabelCheck(len(kept), found.accuracy, largest, True, wrong.expected, wrong.noise, listed)


def suspect_findings(check: LabelCheck) -> list[Finding]:
    """One finding with the most suspect rows first, or none."""
    if not check.suspects:
        return []
    first, number = check.suspects[0], len(check.suspects)
    labels = "1 label is" if number == 1 else f"{number:,} labels are"
    many = (
        f"; at least {check.noise:.0%} of all labels are wrong by the rows that the probe is surest of: expect more "
        "than these"
        if check.noise >= NOISY
        else ""
    )
    return [
        Finding(
            "suspect_label",
            "warning",
            number,
            f"{labels} likely wrong, of {check.rows:,} looked at; the most suspect says {first.item.label!r} where "
            f"{first.better!r} is likelier{many}",
            "Look at these rows, the first ones first, and correct the labels that are wrong; --html shows them all.",
            tuple(found.item.source for found in check.suspects[:SHOWN]),
        )
    ]
