"""What the rows are about: clusters of their vectors, named by their words; and rows unlike all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.data.logistic import Vectors
from burnish.inspection.neighbours import far_limit, nearest_similarity
from burnish.inspection.words import distinctive

COUNTS = (3, 5, 8, 12, 18, 26)  # clusters that are tried
AS_GOOD = 0.02  # silhouettes this near to the best are as good: then more clusters say more
TRIED_ON = 1500  # rows on which the number of clusters is chosen
THIN = 0.02  # of the rows: below that a subject is hardly covered
NAMED_BY = 3  # words
NEIGHBOURS = 5

Indices = NDArray[np.intp]


class Cluster(NamedTuple):
    """name: distinctive words; typical: the row nearest to the centre; thin: with fewer rows than THIN of all."""

    name: str
    rows: int
    share: float
    typical: int
    thin: bool


class Clusters(NamedTuple):
    """clusters: the largest first; of: the cluster of each row; silhouette: from -1 to 1, how well they part
    (Rousseeuw 1987); edge_cases: rows unlike all others, the loneliest first; likeness: [rows], the cosine of each
    row and the row nearest to it."""

    clusters: tuple[Cluster, ...]
    of: Indices
    silhouette: float
    edge_cases: Indices
    likeness: NDArray[np.float32]


def find_clusters(vectors: Vectors, texts: Sequence[str], *, seed: int = 0) -> Clusters:
    """K-means on vectors of length 1, [rows, dimension]; of several numbers of clusters the largest whose
    silhouette is within AS_GOOD of the best. Needs at least 20 rows."""
    count, silhouette = _choose_count(vectors, seed)
    model = _kmeans(count, seed).fit(vectors)
    sizes = np.bincount(model.labels_, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    of = np.argsort(order)[model.labels_]
    distances = ((vectors - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    found = [_cluster(place, of, distances, texts) for place in range(count) if sizes[order[place]]]
    likeness = nearest_similarity(vectors, vectors, same=True)
    return Clusters(tuple(found), of, silhouette, edge_cases(vectors), likeness)


def edge_cases(vectors: Vectors) -> Indices:
    """Rows that are far from even their five nearest, the loneliest first."""
    similarity = nearest_similarity(vectors, vectors, NEIGHBOURS, same=True)
    lonely = np.flatnonzero(similarity < far_limit(similarity))
    return lonely[np.argsort(similarity[lonely], kind="stable")]


def _cluster(place: int, of: Indices, distances: NDArray[np.float32], texts: Sequence[str]) -> Cluster:
    rows = np.flatnonzero(of == place)
    inside = (of == place).tolist()
    own = [text for text, is_in in zip(texts, inside, strict=True) if is_in]
    others = [text for text, is_in in zip(texts, inside, strict=True) if not is_in]
    words = distinctive(own, others, NAMED_BY)
    typical = int(rows[distances[rows].argmin()])
    share = len(rows) / len(texts)
    return Cluster(", ".join(words) or f"cluster {place + 1}", len(rows), share, typical, share < THIN)


def _choose_count(vectors: Vectors, seed: int) -> tuple[int, float]:
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(vectors))[:TRIED_ON]
    some = vectors[np.sort(rows)]
    tried: list[tuple[float, int]] = []
    most = min(len(some) // 5, len(np.unique(some, axis=0)) - 1)
    for count in COUNTS:
        if count > most:
            break
        labels = _kmeans(count, seed).fit_predict(some)
        if 1 < len(set(labels.tolist())) < len(some):
            tried.append((float(silhouette_score(some, labels)), count))
    best = max(tried, default=(0.0, 1))[0]
    silhouette, count = max(
        ((s, c) for s, c in tried if s >= best - AS_GOOD), key=lambda one: one[1], default=(0.0, 1)
    )
    return count, silhouette


def _kmeans(count: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=2, random_state=seed)
