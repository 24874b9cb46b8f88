"""What a search found: the trials, the best one, and what may be believed of its gain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.records import Json
from burnish.reports.tuning import value_words, words
from burnish.tuning_records import Trial, Tuning


def best_of(records: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest value, the earliest of equals: a tie leaves the task file as it is."""
    done = [record for record in records if record.state == "done" and record.value is not None]
    return max(done, key=lambda record: (record.value or 0.0, -record.number), default=None)


def best_words(result: Tuning) -> str:
    """The best so far in one line."""
    best = next((trial for trial in result.trials if trial.number == result.best), None)
    if best is None:
        return "no trial has finished yet"
    return f"best so far: trial {best.number}, {value_words(best)} ({words(best.settings)})"


def summarise(
    records: Sequence[Trial],
    *,
    name: str,
    folder: Path,
    by: str,
    metric: str,
    examples: int,
    search: Mapping[str, Json],
    importance: Mapping[str, float],
) -> Tuning:
    """by: "metric" or "loss"; metric: the metric's name; examples: that the value was measured on."""
    best, first = best_of(records), next((one for one in records if one.number == 0 and one.state == "done"), None)
    gain = error = None
    if best is not None and first is not None:
        gain = _advantage(best, first, by)
        if by == "metric":
            # Of two means on the same examples, whose covariance is hardly ever negative.
            error = math.sqrt(_variance(best.metric, examples) + _variance(first.metric, examples))
    return Tuning(
        name=name,
        path=str(folder),
        metric=metric if by == "metric" else "validation_loss",
        examples=examples,
        trials=tuple(records),
        best=None if best is None else best.number,
        gain=gain,
        standard_error=error,
        search=search,
        importance=importance,
        remarks=tuple(_remarks(records, best, gain, error, examples, search)),
    )


def _advantage(best: Trial, first: Trial, by: str) -> float:
    if by == "metric":
        return (best.metric or 0.0) - (first.metric or 0.0)
    return (first.loss or 0.0) - (best.loss or 0.0)


def _variance(mean: float | None, examples: int) -> float:
    """Of the mean of scores in [0, 1], at most: p (1 - p) / n, exact for rates (Bhatia and Davis 2000)."""
    return 0.0 if mean is None else mean * (1 - mean) / max(1, examples)


def _remarks(
    records: Sequence[Trial],
    best: Trial | None,
    gain: float | None,
    error: float | None,
    examples: int,
    search: Mapping[str, Json],
) -> Iterator[str]:
    ended = [record for record in records if record.state != "running"]
    if best is None:
        return
    if best.number == 0:
        yield f"None of {len(ended) - 1} other trials was better than the task file's own settings: keep them."
    elif gain is None:
        yield "The task file's own settings failed, so there is no gain to tell."
    elif error is not None and gain < 2 * error:
        yield (
            f"The gain is less than two standard errors ({100 * error:.1f} points each on {examples} examples): "
            "it may be chance. More validation examples (training.eval_examples, split.validation) tell more."
        )
    yield (
        f"The best of {len(ended)} trials on {examples} validation examples looks better than it is: it was chosen "
        "for these examples. What it is worth, only the sealed test says: `burnish run` with these settings."
    )
    failed = sum(record.state == "failed" for record in ended)
    if failed:
        yield f"{failed} of {len(ended)} trials failed; their reasons stand in the table."
    for name, found in search.items():
        edge = _at_edge(best.settings.get(name), found)
        if edge and best.number != 0:
            yield f"The best {name} is at the {edge} of what was searched: a wider search may find better."


def _at_edge(value: Json, found: Any) -> str | None:
    numbers = [found["low"], found["high"]] if isinstance(found, dict) else found
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (*numbers, value)):
        return None
    return {min(numbers): "low end", max(numbers): "high end"}.get(value)
