"""Systems that answer with passages of documents in front of the input, and say which."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from burnish.progress import Progress
from burnish.records import Example, Passage, Prediction
from burnish.systems.base import System
from burnish.systems.retrieval import Searches
from burnish.tasks.prompts import input_text, with_passages

Fits = Callable[[Example], bool]
RANKED = 10  # places of the ranking that are kept, for recall at 10


class Found(NamedTuple):
    """example: with the passages in front of its input. sources: these passages; ranking: documents of the first
    passages found, best first. seconds: of the search."""

    example: Example
    sources: tuple[Passage, ...]
    ranking: tuple[str, ...]
    seconds: float


class Context:
    """Gives examples the k best passages for their input.

    fits: whether an example's prompt has room; where it has none, the last passages are left out until it has.
    """

    def __init__(self, retriever: Searches, k: int, fits: Fits | None = None) -> None:
        self._retriever = retriever
        self._k = k
        self._fits = fits

    def of(self, examples: Sequence[Example]) -> list[Found]:
        """The examples with their passages, in order."""
        began = time.perf_counter()
        texts = [input_text(example) for example in examples]
        searched = self._retriever.search(texts, max(self._k, RANKED))
        seconds = (time.perf_counter() - began) / max(1, len(examples))
        found = []
        for example, passages in zip(examples, searched, strict=True):
            shown = _fitting(example, tuple(passages[: self._k]), self._fits)
            ranking = tuple(passage.document for passage in passages[:RANKED])
            found.append(Found(with_passages(example, shown), shown, ranking, seconds))
        return found


class RightDocument:
    """Gives examples the passages of the document that they name: what a perfect search would find.

    Errors that this repairs come from missing knowledge, the others from the model's behaviour.
    """

    def __init__(self, passages: Sequence[Passage], fits: Fits | None = None) -> None:
        self._by_document: dict[str, tuple[Passage, ...]] = {}
        for passage in passages:
            self._by_document[passage.document] = (*self._by_document.get(passage.document, ()), passage)
        self._fits = fits

    def of(self, examples: Sequence[Example]) -> list[Found]:
        """The examples with their document's passages, in order; as they are where they name none."""
        found = []
        for example in examples:
            passages = () if example.document is None else self._by_document.get(example.document, ())
            shown = _fitting(example, passages, self._fits)
            ranking = tuple(passage.document for passage in passages[:1])
            found.append(Found(with_passages(example, shown), shown, ranking, 0.0))
        return found


def _fitting(example: Example, passages: tuple[Passage, ...], fits: Fits | None) -> tuple[Passage, ...]:
    """The first passages that leave room for an answer."""
    while passages and fits is not None and not fits(with_passages(example, passages)):
        passages = passages[:-1]
    return passages


class WithContext:
    """A system that is shown passages with every example: the base model (`rag`) as well as a tuned one.

    Its predictions keep the passages as sources, and their seconds count the search.
    """

    def __init__(self, name: str, system: System, context: Context | RightDocument) -> None:
        self.name = name
        self._system = system
        self._context = context

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Search, then answer, in order."""
        found = self._context.of(examples)
        answers = self._system.predict([one.example for one in found], progress)
        return [
            replace(answer, sources=one.sources, ranking=one.ranking, seconds=answer.seconds + one.seconds)
            for answer, one in zip(answers, found, strict=True)
        ]
