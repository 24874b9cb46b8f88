"""The baseline that changes no weights: logistic regression on frozen vectors of the inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from burnish.data.fingerprint import input_key
from burnish.data.logistic import cross_validated
from burnish.errors import DataError
from burnish.progress import Progress, teller
from burnish.records import Example, Json, Prediction
from burnish.systems.base import Embeds
from burnish.tasks.base import Task
from burnish.tasks.prompts import input_text


class EmbeddingProbe:
    """Answers with the most probable label; confidence is its calibrated probability.

    The strength of the regression is chosen, and its temperature fitted, on training rows held out in turn: rows of
    one group and copies of an input together. about: what was chosen, JSON-able.
    """

    name = "embedding_probe"

    def __init__(self, task: Task, train: Sequence[Example], embed: Embeds, progress: Progress) -> None:
        """DataError: the kind has no labels, or the training part fewer than two."""
        if task.kind != "classification":
            fix = "delete it from baselines"
            raise DataError("the embedding probe answers with labels", got=task.kind, where="baselines", fix=fix)
        self._task = task
        self._embed = embed
        vectors = embed([input_text(row) for row in train], teller(progress, f"{self.name} reads"))
        found = cross_validated(
            vectors,
            [str(row.target) for row in train],
            units=[input_key(row) if row.group is None else row.group for row in train],
            weights=[row.weight for row in train],
            on_progress=teller(progress, f"{self.name} fits"),
        )
        self._classifier = found.classifier
        self.about: dict[str, Json] = {
            "rows": len(train),
            "dimension": int(vectors.shape[1]),
            "strength": found.classifier.strength,
            "temperature": found.classifier.temperature,
            "held_out_accuracy": found.accuracy,
            "held_out_loss": {f"{strength:g}": loss for strength, loss in found.tried.items()},
        }

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Label the examples, in order. Their vectors are computed anew: the seconds are those of new inputs."""
        if not examples:
            return []
        began = time.perf_counter()
        texts = [input_text(example) for example in examples]
        probabilities = self._classifier.probabilities(
            self._embed(texts, teller(progress, f"{self.name} answers"), keep=False)
        )
        best = probabilities.argmax(axis=1)
        seconds = (time.perf_counter() - began) / len(examples)
        predictions = []
        for example, place, row in zip(examples, best, probabilities, strict=True):
            label = self._classifier.classes[place]
            parsed = self._task.parse(label, example)
            predictions.append(Prediction(example.id, label, parsed, float(row[place]), 0, 0, seconds))
        return predictions
