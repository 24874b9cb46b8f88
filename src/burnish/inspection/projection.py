"""Vectors on a plane, near ones near: t-SNE (van der Maaten and Hinton 2008), for a map of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from burnish.data.logistic import Vectors

MOST = 1500  # rows: a few seconds, and more dots would lie on one another
DIMENSIONS = 50  # of the principal components that are laid out
PERPLEXITY = 30.0


def project(vectors: Vectors, *, most: int = MOST, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """At most `most` of the rows, in their order, and their places: [rows] and [rows, 2]. Needs at least five rows.

    Distances between far groups mean nothing; who is whose neighbour does.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:most])
    some = vectors[rows]
    parts = min(DIMENSIONS, *some.shape)
    reduced = PCA(parts, random_state=seed).fit_transform(some) if parts > 2 else some
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 4)
    if np.allclose(reduced, reduced[0]):  # one text many times: nothing to lay out
        return rows, np.zeros((len(rows), 2), dtype=np.float32)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return rows, places.astype(np.float32)
