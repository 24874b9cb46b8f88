"""Which training examples go into a prompt as shots. All choices are deterministic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from burnish.data.fingerprint import content_digest, input_key
from burnish.errors import DataError
from burnish.records import Example
from burnish.systems.bm25 import WordIndex
from burnish.tasks.prompts import input_text


class Shots(Protocol):
    """Chooses shots for examples; never the example itself, nor another row with the same input."""

    def select(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Shots of each example, in the order in which they stand in the prompt."""
        ...


class Fixed:
    """The same k shots for all, spread over the strata: k labels if there are that many, else all labels in turn.

    Where the task has no strata, spread over the groups. A shot that is a copy of the example to answer is replaced
    by the next in line, so the prompt's prefix is shared by (nearly) all requests.
    """

    def __init__(self, train: Sequence[Example], k: int, seed: int, stratum: Callable[[Example], str | None]) -> None:
        """DataError: no training examples, or k below 1."""
        _check(train, k)
        self._k = k
        self._line = _spread(_distinct_inputs(train), seed, stratum)

    def select(self, examples: Sequence[Example]) -> list[list[Example]]:
        # One more than k is enough: inputs in the line are distinct, so at most one is the example's own.
        line = [(_input_key(example), example) for example in self._line[: self._k + 1]]
        chosen = []
        for example in examples:
            own = _input_key(example)
            chosen.append([shot for key, shot in line if key != own][: self._k])
        return chosen


class Nearest:
    """For each example the k most similar by BM25 over the input's words, the most similar last (next to the input).

    Equal scores go to the row with the smallest hash of its content. Copies of an input are one shot, not several.
    """

    def __init__(self, train: Sequence[Example], k: int) -> None:
        """DataError: no training examples, or k below 1."""
        self._line = _Line(train, k)
        self._index = WordIndex([input_text(example) for example in self._line.rows])

    def select(self, examples: Sequence[Example]) -> list[list[Example]]:
        return [self._line.best(example, self._index.scores(input_text(example))) for example in examples]


class NearestByMeaning:
    """For each example the k whose inputs' vectors have the highest cosine with its own, the most similar last.

    embed: texts to vectors of length 1, [texts, dimension] (`models.embed.Embedder.embed`). Ties and copies are as in
    `Nearest`.
    """

    def __init__(self, train: Sequence[Example], k: int, embed: Callable[[Sequence[str]], Any]) -> None:
        """DataError: no training examples, or k below 1."""
        self._line = _Line(train, k)
        self._embed = embed
        self._vectors = np.asarray(embed([input_text(example) for example in self._line.rows]), dtype=np.float64)

    def select(self, examples: Sequence[Example]) -> list[list[Example]]:
        if not examples:
            return []
        queries = np.asarray(self._embed([input_text(example) for example in examples]), dtype=np.float64)
        return [
            self._line.best(example, (self._vectors @ query).round(5))
            for example, query in zip(examples, queries, strict=True)
        ]


class _Line:
    """Training rows to choose the k best of: of each input one, in the order of their hashes."""

    def __init__(self, train: Sequence[Example], k: int) -> None:
        _check(train, k)
        self._k = k
        # In the order of the hashes, so that a stable sort by score breaks ties by them.
        self.rows = sorted(_distinct_inputs(train), key=_digest)
        self._places = {_input_key(example): place for place, example in enumerate(self.rows)}

    def best(self, example: Example, scores: Any) -> list[Example]:
        """The rows with the k highest scores, the highest last; never the example's own input. scores: changed."""
        own = self._places.get(_input_key(example))
        if own is not None:
            scores[own] = -np.inf
        wanted = min(self._k, len(scores) - (own is not None))
        if wanted == 0:
            return []
        # Everything at least as good as the k-th, then a stable sort of these few.
        least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        near = np.flatnonzero(scores >= least)
        best = near[np.argsort(-scores[near], kind="stable")][:wanted]
        return [self.rows[place] for place in best[::-1]]


def _check(train: Sequence[Example], k: int) -> None:
    if not train:
        raise DataError("shots need training examples", fix="give the train part some rows")
    if k < 1:
        raise DataError("the number of shots must be at least 1", got=k, fix="set few_shot.k to 1 or more")


def _input_key(example: Example) -> str:
    """Equal for rows that ask the same thing, whatever their case and spaces."""
    plain = [replace(message, content=" ".join(message.content.casefold().split())) for message in example.messages]
    return input_key(replace(example, messages=tuple(plain)))


def _digest(example: Example) -> bytes:
    return content_digest(example.messages, example.target, example.tools)


def _distinct_inputs(train: Sequence[Example]) -> list[Example]:
    """One row of each input: the most frequent target's, of those the one with the smallest hash."""
    by_input: dict[str, list[Example]] = {}
    for example in train:
        by_input.setdefault(_input_key(example), []).append(example)
    chosen = []
    for rows in by_input.values():
        digests = [_digest(row) for row in rows]
        place = min(range(len(rows)), key=lambda at: (-digests.count(digests[at]), digests[at]))
        chosen.append(rows[place])
    return chosen


def _spread(train: Sequence[Example], seed: int, stratum: Callable[[Example], str | None]) -> list[Example]:
    """All rows, taken in turn from the strata, in an order of strata and rows that only seed and content decide."""

    def order(text: bytes) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + text).digest()

    bins: dict[str, list[Example]] = {}
    for example in train:
        name = stratum(example)
        bins.setdefault(name if name is not None else example.group or "", []).append(example)
    for rows in bins.values():
        rows.sort(key=lambda example: order(_digest(example)))
    queue = [bins[name] for name in sorted(bins, key=lambda name: order(name.encode("utf-8", "surrogatepass")))]
    longest = max(map(len, queue))
    return [rows[turn] for turn in range(longest) for rows in queue if turn < len(rows)]
