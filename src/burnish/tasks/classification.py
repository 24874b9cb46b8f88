"""Classification: the answer is one label of a fixed list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.errors import DataError
from burnish.records import Constraint, Example, Json, Kind, Labels, Message, Parsed
from burnish.tasks.base import Floats, Metric
from burnish.tasks.metrics import CountMetric, divide, precision_recall_f1, rate_metric
from burnish.tasks.prompts import conversation


@dataclass(frozen=True)
class Classification:
    """See tasks/base.py:Task."""

    name: str
    instruction: str
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    kind: Kind = field(default="classification", init=False)

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        system = self.instruction.strip()
        if full:
            listed = "\n".join(f"- {label}" for label in self.labels)
            system += f"\n\nAnswer with exactly one of these labels, as written here, and nothing else:\n{listed}"
        return conversation(system, example, shots, self.answer)

    def answer(self, example: Example) -> Message:
        return Message("assistant", _target(example, self.labels))

    def constraint(self, example: Example) -> Constraint | None:
        return Labels(self.labels)

    def parse(self, text: str, example: Example) -> Parsed:
        stripped = text.strip()
        if stripped in self.labels:
            return Parsed(stripped)
        plain = _plain(stripped)
        near = [label for label in self.labels if _plain(label) == plain]
        if len(near) == 1:
            return Parsed(near[0])
        if not stripped:
            return Parsed(None, "empty answer")
        shown = stripped if len(stripped) <= 60 else stripped[:59] + "…"
        return Parsed(None, f"not one of the {len(self.labels)} labels: {shown!r}")

    def stratum(self, example: Example) -> str | None:
        return str(example.target)

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        pairs = Counter((str(e.target), p.value) for e, p in zip(examples, parsed, strict=True))
        return {"per_class": _per_class(self.labels, pairs), "confusion": _confusion(self.labels, pairs)}


def _plain(text: str) -> str:
    """Without case, quotes and a full stop around: what a model adds when nothing holds it to the list."""
    return text.strip(" \t\r\n\"'`*.").casefold()


def _target(example: Example, labels: Sequence[str]) -> str:
    if example.target not in labels:
        raise DataError(
            "the label is not one of the task's labels",
            got=example.target,
            where=f"{example.source.file}:{example.source.line}",
            fix=f"correct it, or add it to labels: ({', '.join(labels[:8])}{', …' if len(labels) > 8 else ''})",
        )
    return str(example.target)


def _per_class(labels: Sequence[str], pairs: Counter[tuple[str, Json]]) -> list[Json]:
    rows: list[Json] = []
    for label in labels:
        tp = pairs[label, label]
        support = sum(count for (target, _), count in pairs.items() if target == label)
        predicted = sum(count for (_, value), count in pairs.items() if value == label)
        scores = precision_recall_f1(tp, predicted - tp, support - tp)
        rows.append({"label": label, "support": support, "predicted": predicted, **scores})
    return rows


def _confusion(labels: Sequence[str], pairs: Counter[tuple[str, Json]]) -> Json:
    """matrix[i][j]: examples of labels[i] answered labels[j]; unparsed[i]: answered with no label.

    mistakes: the most frequent wrong pairs, which is what can be read when there are many labels.
    """
    wrong = [(target, value, count) for (target, value), count in pairs.items() if target != value]
    wrong.sort(key=lambda row: (-row[2], row[0], str(row[1])))
    return {
        "labels": list(labels),
        "matrix": [[pairs[target, value] for value in labels] for target in labels],
        "unparsed": [pairs[target, None] for target in labels],
        "mistakes": [{"target": target, "predicted": value, "count": count} for target, value, count in wrong[:50]],
    }


def macro_f1(labels: tuple[str, ...]) -> CountMetric:
    """F1 averaged over the labels that occur in truth or prediction.

    Counts: [tp, fp, fn] of every label, 3K numbers. Equals scikit-learn's f1_score(average="macro") with
    `labels` set to those that occur; an answer that is no label costs its true label a false negative.
    """
    position = {label: index for index, label in enumerate(labels)}

    def counts(example: Example, parsed: Parsed) -> Floats:
        found = np.zeros(3 * len(labels))
        truth = position[_target(example, labels)]
        if parsed.value == example.target:
            found[3 * truth] = 1
        else:
            found[3 * truth + 2] = 1
            if parsed.value is not None:
                found[3 * position[parsed.value] + 1] = 1
        return found

    def value(sums: Floats) -> Floats:
        by_class = np.asarray(sums).reshape(*np.shape(sums)[:-1], len(labels), 3)
        tp, all_ = by_class[..., 0], by_class.sum(axis=-1)
        f1 = divide(2 * tp, tp + all_)
        occurring = (all_ > 0).sum(axis=-1)
        return divide(f1.sum(axis=-1), occurring)

    return CountMetric("macro_f1", False, counts, value)


def classification_metrics(labels: tuple[str, ...]) -> tuple[Metric, ...]:
    """accuracy and macro_f1."""
    return (rate_metric("accuracy", lambda example, parsed: bool(parsed.value == example.target)), macro_f1(labels))
