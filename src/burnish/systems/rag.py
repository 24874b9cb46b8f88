"""Systems that answer with passages of documents in front of the input, and say which."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from burnish.progress import Progress
from burnish.records import Example, Passage, Prediction
from burnish.systems.base import System
from burnish.systems.retrieval import Retriever
from burnish.tasks.prompts import input_text, with_passages

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

    def __init__(self, retriever: Retriever, k: int, fits: Callable[[Example], bool] | None = None) -> None:
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
            shown = tuple(passages[: self._k])
            while shown and self._fits is not None and not self._fits(with_passages(example, shown)):
                shown = shown[:-1]
            ranking = tuple(passage.document for passage in passages[:RANKED])
            found.append(Found(with_passages(example, shown), shown, ranking, seconds))
        return found


class WithContext:
    """A system that is shown passages with every example: the base model (`rag`) as well as a tuned one.

    Its predictions keep the passages as sources, and their seconds count the search.
    """

    def __init__(self, name: str, system: System, context: Context) -> None:
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
