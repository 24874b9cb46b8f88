"""From what a run folder holds to what is worth showing: pure functions over plain dicts."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from burnish.errors import MISSING
from burnish.records import Json

Record = Mapping[str, Any]
ALL_OTHERS = "(all others)"
NO_ANSWER = "(no valid answer)"
DIFF_WORDS = 400  # longer texts are not compared word by word: the comparison is quadratic


def pick_paired(pairs: Iterable[Record], candidate: str, baseline: str, metric: str) -> dict[str, Any] | None:
    """The paired difference of candidate minus baseline on a metric, None when it was not measured."""
    for pair in pairs:
        if (pair.get("candidate"), pair.get("baseline"), pair.get("metric")) == (candidate, baseline, metric):
            return dict(pair)
    return None


def class_counts(stats: Record) -> list[tuple[str, int]]:
    """Examples of each class, the largest class first."""
    labels = stats.get("labels")
    if not isinstance(labels, Mapping):
        return []
    return sorted(((str(name), int(number)) for name, number in labels.items()), key=lambda item: (-item[1], item[0]))


def token_histogram(stats: Record) -> list[tuple[int, int, int]]:
    """Bins (least, most, examples) of the lengths in tokens, both ends included, as data/lengths.py leaves them."""
    histogram = _tokens(stats).get("histogram")
    if not isinstance(histogram, Mapping):
        return []
    edges = [math.ceil(edge - 1e-9) for edge in histogram["edges"]]
    edges[-1] += 1  # the last bin holds its upper edge, the others do not
    bins = zip(edges, edges[1:], map(int, histogram["counts"]), strict=False)
    return [(low, high - 1, number) for low, high, number in bins if high > low]  # else no whole number lies in it


def token_facts(stats: Record) -> list[tuple[str, str]]:
    """What to know of the lengths: half, 99%, the longest, and what does not fit."""
    tokens = _tokens(stats)
    facts = [
        (name, f"{tokens[key]:,.0f} tokens")
        for name, key in (("Half are at most", "p50"), ("99% are at most", "p99"), ("The longest has", "max"))
        if key in tokens
    ]
    if tokens.get("max_length") is not None:
        cut = tokens.get("truncated") or 0
        facts.append(("Longest that is trained on", f"{tokens['max_length']:,} tokens; {cut:,} are longer"))
    if tokens.get("sample") and tokens.get("sample") != tokens.get("of"):
        facts.append(("Counted", f"a sample of {tokens['sample']:,} of {tokens.get('of', 0):,} rows"))
    return facts


def _tokens(stats: Record) -> Record:
    tokens = stats.get("tokens")
    return tokens if isinstance(tokens, Mapping) else {}


def example_input(example: Record) -> str:
    """The input of a line of test_examples.jsonl: its text, or its messages with their roles."""
    if "input" in example:
        value = example["input"]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    turns = [turn for turn in example.get("messages") or () if isinstance(turn, Mapping)]
    if len(turns) == 1:
        return str(turns[0].get("content") or "")
    return "\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in turns)


class Cell(NamedTuple):
    """Confusion of two labels: `examples` of `target` were answered `answer`, a `share` of all of `target`."""

    target: str
    answer: str
    examples: int
    share: float


class Confusion(NamedTuple):
    """matrix[i][j]: examples whose right answer is rows[i] and that were answered columns[j]."""

    rows: list[str]
    columns: list[str]
    matrix: list[list[int]]


def confusion_table(tables: Record) -> Confusion | None:
    """A system's confusion table with a column for answers that are no label; None when it has none."""
    table = tables.get("confusion")
    matrix = table.get("matrix") if isinstance(table, Mapping) else None
    if not isinstance(table, Mapping) or not matrix:
        return None
    labels = [str(label) for label in table.get("labels") or range(len(matrix))]
    counts = [[int(value) for value in row] for row in matrix]
    unparsed = table.get("unparsed") or []
    if not any(unparsed):
        return Confusion(labels, list(labels), counts)
    counts = [[*row, int(number)] for row, number in zip(counts, unparsed, strict=True)]
    return Confusion(labels, [*labels, NO_ANSWER], counts)


def confused_pairs(confusion: Confusion, limit: int = 12) -> list[Cell]:
    """The most frequent confusions, most frequent first."""
    cells = [
        Cell(target, answer, number, number / sum(row))
        for target, row in zip(confusion.rows, confusion.matrix, strict=True)
        for answer, number in zip(confusion.columns, row, strict=True)
        if target != answer and number
    ]
    return sorted(cells, key=lambda cell: (-cell.examples, -cell.share, cell.target, cell.answer))[:limit]


def confused_part(confusion: Confusion, limit: int = 12) -> Confusion:
    """The labels that take part in most confusions, in their order; answers outside them in one last column."""
    rows, columns, matrix = confusion
    wrong = [
        sum(row) - row[i] + sum(other[i] for k, other in enumerate(matrix) if k != i) for i, row in enumerate(matrix)
    ]
    chosen = sorted(sorted(range(len(rows)), key=lambda i: (-wrong[i], i))[:limit])
    kept = [*chosen, *range(len(rows), len(columns))]
    rest = [j for j in range(len(columns)) if j not in set(kept)]
    part = [[matrix[i][j] for j in kept] + [sum(matrix[i][j] for j in rest)] for i in chosen]
    return Confusion([rows[i] for i in chosen], [*(columns[j] for j in kept), ALL_OTHERS], part)


class Case(NamedTuple):
    """One sealed example with what two systems answered. rival may be empty."""

    example: Record
    candidate: Record
    rival: Record


def _right(prediction: Record, metric: str) -> float:
    value = (prediction.get("score") or {}).get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def instructive(
    examples: Mapping[str, Record],
    candidate: Mapping[str, Record],
    rival: Mapping[str, Record],
    metric: str,
    limit: int = 6,
) -> tuple[list[Case], list[Case], list[Case]]:
    """Wins, losses and failures of both: where they differ most, sure answers first, one of each target first.

    A sure mistake teaches more than an unsure one, and six mistakes on one label teach less than on six.
    """
    wins: list[tuple[float, float, Case]] = []
    losses: list[tuple[float, float, Case]] = []
    failures: list[tuple[float, float, Case]] = []
    for id_, example in examples.items():
        if id_ not in candidate:
            continue
        mine, other = candidate[id_], rival.get(id_, {})
        case = Case(example, mine, other)
        gap = _right(mine, metric) - _right(other, metric)
        if other and gap > 0:
            wins.append((gap, float(other.get("confidence") or 0), case))
        elif other and gap < 0:
            losses.append((-gap, float(mine.get("confidence") or 0), case))
        elif _right(mine, metric) < 1:
            failures.append((1 - _right(mine, metric), float(mine.get("confidence") or 0), case))
    return _varied(wins, limit), _varied(losses, limit), _varied(failures, max(1, limit // 2))


def _varied(cases: list[tuple[float, float, Case]], limit: int) -> list[Case]:
    seen: dict[str, int] = {}
    ranked: list[tuple[int, float, float, int, Case]] = []
    for gap, confidence, case in sorted(cases, key=lambda item: (-item[0], -item[1], str(item[2].example.get("id")))):
        key = json.dumps(case.example.get("target"), sort_keys=True, default=str)
        seen[key] = seen.get(key, 0) + 1
        ranked.append((seen[key], -gap, -confidence, len(ranked), case))
    return [item[-1] for item in sorted(ranked, key=lambda item: item[:4])[:limit]]


def flatten(value: Json, prefix: str = "") -> dict[str, Json]:
    """A JSON value as dotted paths to its leaves: {"a": {"b": [1]}} -> {"a.b[0]": 1}. Leaf: its own path."""
    if isinstance(value, Mapping) and value:
        parts = [flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [flatten(item, f"{prefix}[{index}]") for index, item in enumerate(value)]
    else:
        return {prefix or "answer": value}
    return {path: leaf for part in parts for path, leaf in part.items()}


class Field(NamedTuple):
    """One field of an answer beside the target's. MISSING: this side does not have it."""

    path: str
    target: Json
    candidate: Json
    rival: Json


def fields(target: Json, candidate: Json, rival: Json) -> list[Field]:
    """The answers to one example, field by field, in the target's order; fields nobody should give come last."""
    sides = [
        flatten(side) if side and isinstance(side, Mapping | list) else {} for side in (target, candidate, rival)
    ]
    paths = list(dict.fromkeys(path for side in sides for path in side))
    return [Field(path, *(side.get(path, MISSING) for side in sides)) for path in paths]


def same(left: Json, right: Json) -> bool:
    """Equal as JSON: 1 and true differ, 1 and 1.0 do not."""
    from burnish.tasks.json_text import json_equal  # brings the settings with it: too slow for `burnish --help`

    if left is MISSING or right is MISSING:
        return left is right
    return json_equal(left, right)


def word_diff(target: str, answer: str) -> list[tuple[str, str]]:
    """The answer's words as ("same" | "extra" | "missing", text); missing words are the target's."""
    wanted, given = target.split(), answer.split()
    if max(len(wanted), len(given)) > DIFF_WORDS:
        return [("same" if wanted == given else "extra", answer)]
    parts: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, wanted, given, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("same", " ".join(given[c:d])))
            continue
        if a < b:
            parts.append(("missing", " ".join(wanted[a:b])))
        if c < d:
            parts.append(("extra", " ".join(given[c:d])))
    return parts


class ConfidenceRow(NamedTuple):
    """What would be if only answers at least this confident were given without a person.

    share: of all answers; accuracy: their mean score.
    """

    least: float
    share: float
    accuracy: float


def confidence_rows(predictions: Iterable[Record], metric: str) -> list[ConfidenceRow]:
    """Coverage and quality at some thresholds; empty when the system gives no confidence."""
    scored = [
        (float(prediction["confidence"]), _right(prediction, metric))
        for prediction in predictions
        if isinstance(prediction.get("confidence"), int | float) and metric in (prediction.get("score") or {})
    ]
    if not scored:
        return []
    rows = []
    for least in (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        kept = [value for confidence, value in scored if confidence >= least]
        if kept:
            rows.append(ConfidenceRow(least, len(kept) / len(scored), sum(kept) / len(kept)))
    return rows


def reliability(predictions: Iterable[Record], metric: str, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean confidence, mean score, answers) of equal-width confidence bins that hold any answer."""
    held: dict[int, list[tuple[float, float]]] = {}
    for prediction in predictions:
        confidence = prediction.get("confidence")
        if isinstance(confidence, int | float) and metric in (prediction.get("score") or {}):
            held.setdefault(min(bins - 1, int(confidence * bins)), []).append(
                (confidence, _right(prediction, metric))
            )
    return [
        (
            sum(c for c, _ in held[index]) / len(held[index]),
            sum(v for _, v in held[index]) / len(held[index]),
            len(held[index]),
        )
        for index in sorted(held)
    ]


class Curves(NamedTuple):
    """(step, value) of what training logged."""

    train: list[tuple[float, float]]
    validation: list[tuple[float, float]]
    metric: list[tuple[float, float]]


def curves(history: Iterable[Record], metric: str) -> Curves:
    """Loss curves and the task's metric during training, from the lines of metrics.jsonl."""
    found = Curves([], [], [])
    for row in history:
        step = row.get("step")
        if not isinstance(step, int | float):
            continue
        for names, line in (
            (("loss", "train_loss"), found.train),
            (("validation_loss", "eval_loss", "val_loss"), found.validation),
            ((metric, f"validation_{metric}", "metric", "validation_metric"), found.metric),
        ):
            value = next((row[name] for name in names if isinstance(row.get(name), int | float)), None)
            if value is not None and math.isfinite(value):
                line.append((float(step), float(value)))
    return found


class ScoreTable(NamedTuple):
    """A table of figures by label or by field. rows: (name, cells); shares are already percentages."""

    name: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def score_tables(tables: Record) -> list[ScoreTable]:
    """per_class, per_field and per_tool as they stand in an evaluation: the weakest rows first.

    A table is {name: {column: number}} or a list of such rows with a `label`, `field`, `tool` or `name`.
    """
    found = []
    for key, title in (
        ("per_class", "Label"),
        ("per_field", "Field"),
        ("per_tool", "Tool"),
        ("by_length", "Length"),
    ):
        rows = _table_rows(tables.get(key))
        columns = list(dict.fromkeys(column for _, row in rows for column in row))
        order = next((column for column in ("f1", "accuracy", "exact", "exact_match") if column in columns), None)
        if order:
            rows.sort(key=lambda row: (float(row[1].get(order) or 0), row[0]))
        found.append(ScoreTable(title, columns, [(n, [_figure(row.get(c)) for c in columns]) for n, row in rows]))
    return found


def _table_rows(table: object) -> list[tuple[str, Record]]:
    if isinstance(table, Mapping):
        return [(str(name), row) for name, row in table.items() if isinstance(row, Mapping)]
    rows: list[tuple[str, Record]] = []
    for row in table if isinstance(table, list) else ():
        if isinstance(row, Mapping):
            key = next((key for key in ("label", "field", "tool", "name") if key in row), None)
            rows.append((str(row[key]) if key else "", {k: v for k, v in row.items() if k != key}))
    return rows


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f}%"
