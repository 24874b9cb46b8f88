"""Which unlabelled rows to label next: where the probe is unsure, spread over what there is (Zhdanov 2019)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.data.logistic import FOLDS, Vectors, cross_validated

Indices = NDArray[np.intp]
Numbers = NDArray[np.float64]

STRENGTHS = (0.001, 0.01, 0.1)
CANDIDATES = 10  # times as many rows as are wanted are looked at, the least sure ones
LEAST_LABELLED = 20  # rows; below that only the spread counts
ITERATIONS = 30


class Choice(NamedTuple):
    """A row to label. row: its index; likely, second: the two labels the probe finds likeliest; margin: the
    difference of their probabilities. likely and second are "" where there is no probe."""

    row: int
    likely: str
    second: str
    margin: float


def choose_next(
    labelled: Vectors,
    labels: Sequence[str | None],
    units: Sequence[str],
    candidates: Vectors,
    count: int,
    *,
    seed: int = 0,
) -> list[Choice]:
    """`count` of the candidates, those that stand for the most unsure rows first.

    labelled: [rows, dimension] with their labels and units; candidates: [rows, dimension]; all of length 1.
    Of the 10·count candidates with the smallest margin of an embedding probe, weighted by 1 - margin, k-means makes
    `count` clusters; the row nearest to each centre is chosen. Without enough labels all candidates weigh the same,
    less what the labelled rows cover already.
    """
    if not len(candidates):
        return []
    count = min(count, len(candidates))
    known = [row for row, label in enumerate(labels) if label is not None]
    named = [str(labels[row]) for row in known]
    if len(named) >= LEAST_LABELLED and len(set(named)) > 1 and len({units[row] for row in known}) > FOLDS:
        probe = cross_validated(
            labelled[known], named, units=[units[row] for row in known], strengths=STRENGTHS
        ).classifier
        chances = probe.probabilities(candidates)
        order = np.argsort(-chances, axis=1, kind="stable")[:, :2]
        rows = np.arange(len(candidates))
        margins = chances[rows, order[:, 0]] - chances[rows, order[:, 1]]
        chosen = spread(candidates, 1.0 - margins, count, seed)
        return [
            Choice(row, probe.classes[order[row, 0]], probe.classes[order[row, 1]], float(margins[row]))
            for row in chosen
        ]
    distance = np.ones(len(candidates)) if not len(labelled) else 1.0 - (candidates @ labelled.T).max(axis=1)
    return [Choice(row, "", "", 0.0) for row in spread(candidates, np.maximum(distance, 0.0), count, seed)]


def spread(vectors: Vectors, weights: Numbers, count: int, seed: int) -> list[int]:
    """`count` different rows: medoids of weighted k-means over the heaviest rows, those of heavy clusters first."""
    heavy = np.argsort(-weights, kind="stable")[: CANDIDATES * count]
    if count >= len(heavy):
        return [int(row) for row in heavy]
    of, centres = _clusters(vectors[heavy], np.maximum(weights[heavy], 1e-6), count, seed)
    distance = ((vectors[heavy] - centres[of]) ** 2).sum(axis=1)
    weight: defaultdict[int, float] = defaultdict(float)
    medoid: dict[int, int] = {}
    for place in np.argsort(distance, kind="stable").tolist():
        cluster = int(of[place])
        weight[cluster] += float(weights[heavy[place]])
        medoid.setdefault(cluster, int(heavy[place]))
    chosen = [medoid[cluster] for cluster in sorted(weight, key=lambda cluster: -weight[cluster])]
    taken = set(chosen)
    left = [row for row in heavy.tolist() if row not in taken]  # empty clusters leave places
    return [*chosen, *left][:count]


def _clusters(vectors: Vectors, weights: Numbers, count: int, seed: int) -> tuple[Indices, Vectors]:
    """The cluster of each row, and the centres."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: see `left` above
        model = KMeans(count, n_init=1, max_iter=ITERATIONS, random_state=seed).fit(vectors, sample_weight=weights)
    return model.labels_, model.cluster_centers_
