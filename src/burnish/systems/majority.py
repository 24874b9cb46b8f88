"""The baseline that learns nothing about the input: always the most frequent answer of the training part."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from burnish.errors import DataError
from burnish.progress import Progress
from burnish.records import Example, Json, Prediction
from burnish.tasks.base import Task


class Majority:
    """Answers every example with one target: for extraction from flat objects the most frequent value of each field
    (when the schema accepts them together), otherwise the most frequent target as a whole.

    Ties go to the target whose JSON has the smallest hash, so the order of the rows does not matter. Confidence is
    the share of the training part with exactly this target.
    """

    name = "majority"

    def __init__(self, task: Task, train: Sequence[Example]) -> None:
        """DataError: no training examples."""
        if not train:
            raise DataError("the majority baseline needs training examples", fix="give the train part some rows")
        self._task = task
        whole = _most_frequent([example.target for example in train])
        self.target = whole
        if task.kind == "extraction" and all(_is_flat(example.target) for example in train):
            fields = _by_field([example.target for example in train])
            if self._accepted(fields, train[0]):
                self.target = fields
        key = _key(self.target)
        self.share = sum(_key(example.target) == key for example in train) / len(train)

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """The same answer for all, written as the task writes answers."""
        began = time.perf_counter()
        answers = []
        for example in examples:
            text = self._task.answer(replace(example, target=self.target)).content
            answers.append((example.id, text, self._task.parse(text, example)))
        seconds = (time.perf_counter() - began) / max(1, len(examples))
        progress.advance(f"{self.name} answers", len(examples), len(examples))
        return [Prediction(name, text, parsed, self.share, 0, 0, seconds) for name, text, parsed in answers]

    def _accepted(self, target: Json, example: Example) -> bool:
        answer = self._task.answer(replace(example, target=target)).content
        return self._task.parse(answer, example).error is None


def _key(value: Json) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _most_frequent(values: Sequence[Json]) -> Json:
    by_key = {_key(value): value for value in values}
    counts = Counter(_key(value) for value in values)
    return by_key[min(counts, key=lambda key: (-counts[key], _digest(key)))]


def _digest(key: Hashable) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()


def _is_flat(target: Json) -> bool:
    return isinstance(target, Mapping) and not any(isinstance(value, Mapping | list) for value in target.values())


_ABSENT: Json = {"absent": []}  # no value of a flat object


def _by_field(targets: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    """The most frequent value of every field; a field that most targets lack is left out."""
    names = dict.fromkeys(name for target in targets for name in target)
    chosen = {name: _most_frequent([target.get(name, _ABSENT) for target in targets]) for name in names}
    return {name: value for name, value in chosen.items() if value != _ABSENT}
