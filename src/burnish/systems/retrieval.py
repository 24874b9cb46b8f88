"""Passages found for a text: by words and by meaning, the two rankings fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from burnish.errors import DataError
from burnish.progress import Progress, Silent, teller
from burnish.records import Passage
from burnish.systems.base import Embeds
from burnish.systems.bm25 import WordIndex

FUSION = 60  # Cormack et al. 2009: how little the first few places differ
DEPTH = 100  # places of each ranking that count

Floats = NDArray[np.float64]


class Searches(Protocol):
    """Finds passages."""

    def search(self, texts: Sequence[str], count: int) -> list[list[Passage]]:
        """The best passages for each text, best first: `count`, or all where there are fewer."""
        ...


class Retriever:
    """Searches passages by BM25 over their words and by the cosine of their vectors.

    The rankings are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009): a passage's score is the sum of
    1 / (60 + place). Equal scores go to the passage that stands first. Titles are searched with the text.
    """

    def __init__(self, passages: Sequence[Passage], embed: Embeds, progress: Progress | None = None) -> None:
        """DataError: no passages."""
        if not passages:
            raise DataError("there are no passages to search in", fix="give retrieval.documents some text")
        self.passages = tuple(passages)
        self._embed = embed
        texts = _texts(passages)
        self._words = WordIndex(texts)
        self._vectors = embed(texts, teller(progress or Silent(), "passages read"))

    def search(self, texts: Sequence[str], count: int) -> list[list[Passage]]:
        """The best passages for each text, best first: `count`, or all where there are fewer."""
        if not texts:
            return []
        similar = self._embed(texts, keep=False) @ self._vectors.T
        found = []
        for text, cosines in zip(texts, similar, strict=True):
            fused = _reciprocal(self._words.scores(text), least=0.0)
            fused += _reciprocal(cosines.astype(np.float64).round(5), least=-np.inf)
            best = np.argsort(-fused, kind="stable")[:count]
            found.append([self.passages[place] for place in best])
        return found


class WordSearch:
    """Searches passages by BM25 alone: for what needs passages of the right length, and no embedding model."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = tuple(passages)
        self._words = WordIndex(_texts(passages))

    def search(self, texts: Sequence[str], count: int) -> list[list[Passage]]:
        """As `Retriever.search`; equal scores go to the passage that stands first."""
        ranked = [np.argsort(-self._words.scores(text), kind="stable")[:count] for text in texts]
        return [[self._passages[place] for place in best] for best in ranked]


class Remembered:
    """Searches once for a text: for rows that are counted first and trained on later.

    Not for answers: their seconds count the search.
    """

    def __init__(self, search: Searches) -> None:
        self._search = search
        self._known: dict[str, tuple[int, list[Passage]]] = {}

    def search(self, texts: Sequence[str], count: int) -> list[list[Passage]]:
        """As `Retriever.search`; anew for what was not asked yet, or for fewer passages."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known or self._known[text][0] < count]
        found = self._search.search(unknown, count)
        self._known.update({text: (count, passages) for text, passages in zip(unknown, found, strict=True)})
        return [self._known[text][1][:count] for text in texts]


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [f"{passage.title}\n{passage.text}" for passage in passages]


def _reciprocal(scores: Floats, *, least: float) -> Floats:
    """1 / (60 + place) of the best scores, 0 for the others and for scores that are not above `least`."""
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    made = np.zeros(len(scores))
    made[best] = 1.0 / (FUSION + np.arange(1, len(best) + 1))
    made[scores <= least] = 0.0
    return made
