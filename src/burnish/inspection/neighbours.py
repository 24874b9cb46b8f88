"""How near rows are to one another, by the cosine of their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from burnish.data.logistic import Vectors

_BLOCK = 1024  # rows compared with all at once: 20 MB a block for 5,000 rows


def nearest_similarity(queries: Vectors, base: Vectors, k: int = 1, *, same: bool = False) -> NDArray[np.float32]:
    """Mean cosine between each query and the k nearest rows of `base`: [queries].

    Vectors have length 1. same: the queries are the rows of `base`, and a row is no neighbour of its own.
    """
    found = np.empty(len(queries), dtype=np.float32)
    k = min(k, len(base) - same)
    if k < 1:
        return np.zeros(len(queries), dtype=np.float32)
    for start in range(0, len(queries), _BLOCK):
        similarity = queries[start : start + _BLOCK] @ base.T
        if same:
            rows = np.arange(len(similarity))
            similarity[rows, rows + start] = -np.inf
        found[start : start + _BLOCK] = np.partition(similarity, -k, axis=1)[:, -k:].mean(axis=1)
    return found


def far_limit(similarity: NDArray[np.float32]) -> float:
    """Below it a similarity is an outlier: a quartile and a half's range under the lower quartile (Tukey 1977)."""
    low, high = np.quantile(similarity, (0.25, 0.75))
    return float(low - 1.5 * (high - low))
