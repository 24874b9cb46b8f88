"""Extraction: the answer is a JSON object that a schema accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from burnish.records import Constraint, Example, Json, JsonSchema, Kind, Message, Parsed
from burnish.tasks.base import Metric
from burnish.tasks.json_text import (
    Leaf,
    compact,
    in_schema_order,
    json_equal,
    leaves,
    path_name,
    read_json,
    validator,
)
from burnish.tasks.metrics import f1_metric, precision_recall_f1, rate_metric, share_metric
from burnish.tasks.prompts import conversation


@dataclass(frozen=True)
class Extraction:
    """See tasks/base.py:Task."""

    name: str
    instruction: str
    schema: Mapping[str, Json]
    metrics: tuple[Metric, ...]
    kind: Kind = field(default="extraction", init=False)

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        system = self.instruction.strip()
        if full:
            shown = {key: value for key, value in self.schema.items() if key not in ("$schema", "$id", "$comment")}
            system += (
                "\n\nAnswer with one JSON object and nothing else. "
                f"It must be valid under this JSON Schema:\n{compact(shown)}"
            )
        return conversation(system, example, shots, self.answer)

    def answer(self, example: Example) -> Message:
        return Message("assistant", compact(in_schema_order(example.target, self.schema)))

    def constraint(self, example: Example) -> Constraint | None:
        return JsonSchema(self.schema)

    def parse(self, text: str, example: Example) -> Parsed:
        value, error = read_json(text, (dict,))
        if error is None:
            error = validator(self.schema)(value)
        return Parsed(value) if error is None else Parsed(None, error)

    def stratum(self, example: Example) -> str | None:
        return None

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        return {"per_field": _per_field(examples, parsed)}


def _both(example: Example, parsed: Parsed) -> tuple[Counter[Leaf], Counter[Leaf]]:
    truth = Counter(leaves(example.target))
    return truth, Counter(leaves(parsed.value)) if parsed.value is not None else Counter()


def _leaf_counts(example: Example, parsed: Parsed) -> tuple[int, int, int]:
    truth, found = _both(example, parsed)
    tp = (truth & found).total()
    return tp, found.total() - tp, truth.total() - tp


def _fields(leaf_counts: Counter[Leaf]) -> dict[tuple[str, ...], Counter[Leaf]]:
    fields: dict[tuple[str, ...], Counter[Leaf]] = {}
    for leaf, count in leaf_counts.items():
        fields.setdefault(leaf[0], Counter())[leaf] = count
    return fields


def _field_share(example: Example, parsed: Parsed) -> tuple[int, int]:
    truth, found = (_fields(leaf_counts) for leaf_counts in _both(example, parsed))
    every = truth.keys() | found.keys()
    return sum(truth.get(path) == found.get(path) for path in every), len(every)


def _per_field(examples: Sequence[Example], parsed: Sequence[Parsed]) -> list[Json]:
    """One row a field path, most frequent first.

    examples: those whose target has the field; accuracy: all its values right, among those where target or
    answer has it; precision, recall and f1 over its single values.
    """
    totals: dict[tuple[str, ...], Counter[str]] = {}
    for example, answer in zip(examples, parsed, strict=True):
        truth, found = (_fields(leaf_counts) for leaf_counts in _both(example, answer))
        for path in truth.keys() | found.keys():
            row = totals.setdefault(path, Counter())
            here, there = truth.get(path, Counter()), found.get(path, Counter())
            tp = (here & there).total()
            row.update(tp=tp, fp=there.total() - tp, fn=here.total() - tp)
            row.update(n=path in truth, seen=1, right=here == there)
    ordered = sorted(totals.items(), key=lambda item: (-item[1]["n"], item[0]))
    return [
        {
            "field": path_name(path),
            "examples": row["n"],
            "accuracy": row["right"] / row["seen"],
            **precision_recall_f1(row["tp"], row["fp"], row["fn"]),
        }
        for path, row in ordered
    ]


def extraction_metrics() -> tuple[Metric, ...]:
    """exact_match: the same JSON value. field_f1: micro F1 over leaf values. field_accuracy: share of the field
    paths of target or answer whose values are all right. valid: JSON that the schema accepts.

    The items of a list are compared in order by exact_match and without order by the field metrics.
    """

    def exact(example: Example, parsed: Parsed) -> bool:
        return parsed.value is not None and json_equal(parsed.value, example.target)

    return (
        rate_metric("exact_match", exact),
        f1_metric("field_f1", _leaf_counts),
        share_metric("field_accuracy", _field_share),
        rate_metric("valid", lambda example, parsed: parsed.value is not None),
    )
