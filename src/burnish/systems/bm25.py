"""Search by words: BM25 over texts of any script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.data.words import words


class WordIndex:
    """BM25 scores (bm25s, Lucene's form) of texts for a query."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        self._index = _index([words(text) for text in texts])

    def scores(self, query: str) -> NDArray[np.float64]:
        """[texts], 0 where no word is shared. Equal texts have equal scores."""
        wanted = words(query)
        if self._index is None or not wanted:
            return np.zeros(self._size)
        # float64: bm25s sums in float32, where the order of equal documents could depend on rounding
        return np.asarray(self._index.get_scores(wanted), dtype=np.float64).round(5)


def _index(documents: list[list[str]]) -> Any:
    """A BM25 index; None when no document has a word."""
    if not any(documents):
        return None
    import bm25s

    index = bm25s.BM25()
    index.index(documents, show_progress=False)
    return index
