"""Measure a system's answers, and compare two systems on the same examples.

Rows of one group, and copies of one row, stand or fall together, so they are one unit of every interval and test here
(Miller 2024, "Adding error bars to evals"): with groups an interval is wider than the number of rows suggests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from burnish.errors import ConfigError, DataError, RunError
from burnish.evaluation import statistics
from burnish.evaluation.retrieval import retrieval_tables
from burnish.records import Evaluation, Example, Interval, Paired, Prediction
from burnish.tasks.base import Floats, Metric, Task


def evaluate(
    system: str,
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    split: str,
    seed: int,
    level: float = 0.95,
) -> tuple[Evaluation, list[Prediction]]:
    """Score every prediction with every metric of the task; return the measures and the scored predictions.

    Nothing is left out: an answer that could not be read (`parsed.error`) counts as the metric counts a wrong one.
    Intervals are Wilson's for rates and the bootstrap's otherwise (see statistics.py).

    RunError: the predictions are not those of the examples, in order. DataError: no examples.
    ConfigError: a metric failed, or its counts or values break the contract of `Metric`.
    """
    _check_match(system, examples, predictions)
    units = _units(examples)
    metrics: dict[str, Interval] = {}
    scores: list[dict[str, float]] = [{} for _ in examples]
    for metric in task.metrics:
        counts = _counts(metric, examples, predictions)
        for score, value in zip(scores, _each(metric, counts, examples), strict=True):
            score[metric.name] = float(value)
        metrics[metric.name] = _interval(metric, counts, units, seed, level)
    scored = [replace(p, score=score) for p, score in zip(predictions, scores, strict=True)]
    evaluation = Evaluation(
        system=system,
        split=split,
        examples=len(examples),
        metrics=metrics,
        seconds_per_example=float(np.mean([p.seconds for p in predictions])),
        prompt_tokens=float(np.mean([p.prompt_tokens for p in predictions])),
        completion_tokens=float(np.mean([p.completion_tokens for p in predictions])),
        cost_per_example=_mean_cost(predictions),
        tables=task.tables(examples, [p.parsed for p in predictions])
        | retrieval_tables(examples, scored, task.metrics[0].name, units, level),
    )
    return evaluation, scored


def _mean_cost(predictions: Sequence[Prediction]) -> float | None:
    costs = [prediction.cost for prediction in predictions if prediction.cost is not None]
    return float(np.mean(costs)) if len(costs) == len(predictions) else None


def compare(
    task: Task,
    examples: Sequence[Example],
    candidate_predictions: Sequence[Prediction],
    baseline_predictions: Sequence[Prediction],
    *,
    candidate: str,
    baseline: str,
    seed: int,
    level: float = 0.95,
    metric: Metric | None = None,
    resamples: int = statistics.RESAMPLES,
) -> Paired:
    """The candidate's advantage over the baseline, example by example. metric: default the task's primary one.

    McNemar's exact test for rates of independent examples, a permutation test otherwise (also when examples come in
    groups: whole groups are swapped). level: of the interval; a later look at the test asks for more (looks.py).
    Errors as for `evaluate`.
    """
    _check_match(candidate, examples, candidate_predictions)
    _check_match(baseline, examples, baseline_predictions)
    metric, units = metric or task.metrics[0], _units(examples)
    ours = _counts(metric, examples, candidate_predictions)
    theirs = _counts(metric, examples, baseline_predictions)
    try:
        interval = statistics.paired_bootstrap(
            ours, theirs, metric.value, seed=seed, level=level, units=units, rate=metric.rate, resamples=resamples
        )
        gaps = _each(metric, ours, examples) - _each(metric, theirs, examples)
        wins, losses = int((gaps > 1e-12).sum()), int((gaps < -1e-12).sum())
        if metric.rate and units is None:
            test, p_value = "mcnemar", statistics.mcnemar_exact(wins, losses)
        else:
            test = "permutation"
            p_value = statistics.permutation(
                ours, theirs, metric.value, seed=seed, units=units, permutations=resamples
            )
    except ValueError as error:
        raise _broken(metric, str(error)) from error
    return Paired(
        candidate=candidate,
        baseline=baseline,
        metric=metric.name,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        test=test,
        wins=wins,
        losses=losses,
        level=level,
    )


def primary_value(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> float:
    """The primary metric alone, without interval or tables: quick enough for every validation. Errors as above."""
    _check_match("validation", examples, predictions)
    return value_of(task.metrics[0], examples, predictions)


def value_of(metric: Metric, examples: Sequence[Example], predictions: Sequence[Prediction]) -> float:
    """A metric of predictions that are those of the examples, in order. ConfigError when the metric fails."""
    return float(metric.value(_counts(metric, examples, predictions).sum(axis=0)))


def comparisons(
    task: Task,
    examples: Sequence[Example],
    predictions: Mapping[str, Sequence[Prediction]],
    *,
    candidate: str,
    seed: int,
    level: float = 0.95,
) -> list[Paired]:
    """`compare` the candidate with every other system of `predictions` (system name -> its predictions)."""
    if candidate not in predictions:
        raise RunError(
            "the candidate has no predictions",
            got=candidate,
            fix=f"predict with it first; there are predictions of: {', '.join(predictions) or 'no system'}",
        )
    return [
        compare(
            task,
            examples,
            predictions[candidate],
            others,
            candidate=candidate,
            baseline=name,
            seed=seed,
            level=level,
        )
        for name, others in predictions.items()
        if name != candidate
    ]


def _check_match(system: str, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    if not examples:
        raise DataError("there are no examples to evaluate on", fix="give the split at least one example")
    if len(examples) != len(predictions):
        raise RunError(
            f"system {system} answered {len(predictions)} of {len(examples)} examples",
            fix="predict on exactly the examples that are evaluated; a failed request is a wrong answer, not a gap",
        )
    for place, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        if example.id != prediction.example_id:
            raise RunError(
                f"prediction {place + 1} of system {system} is not of example {example.id}",
                got=prediction.example_id,
                where=f"{example.source.file}:{example.source.line}",
                fix="keep the predictions in the examples' order, or predict again: the data may have changed",
            )


def _units(examples: Sequence[Example]) -> NDArray[np.intp] | None:
    """Unit of every example: its group, else its id (which copies share). None when all are independent."""
    ids = statistics.unit_ids(
        [("id", example.id) if example.group is None else ("group", example.group) for example in examples]
    )
    return None if int(ids.max()) + 1 == len(ids) else ids


def _counts(metric: Metric, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Floats:
    """(N, K) counts of the predictions, checked against the contract of `Metric`."""
    rows: list[Floats] = []
    for example, prediction in zip(examples, predictions, strict=True):
        try:
            row = np.asarray(metric.counts(example, prediction.parsed), dtype=np.float64)
        except Exception as error:  # a user's own metric may raise anything
            if isinstance(error, ConfigError):
                raise
            raise _broken(metric, f"counts() raised {type(error).__name__}: {error}", example) from error
        if row.ndim != 1 or not row.size or (rows and row.shape != rows[0].shape) or not np.isfinite(row).all():
            raise _broken(metric, f"counts() must give a vector of finite numbers of one length, got {row}", example)
        if metric.rate and (row.shape != (2,) or row[0] not in (0.0, 1.0) or row[1] != 1.0):
            raise _broken(metric, f"counts() of a rate must be [0 or 1, 1], got {row}", example)
        rows.append(row)
    return np.stack(rows)


def _each(metric: Metric, counts: Floats, examples: Sequence[Example]) -> Floats:
    """(N,) value of each example on its own, in [0, 1]."""
    values = np.asarray(metric.value(counts), dtype=np.float64)
    if values.shape != (len(counts),):
        raise _broken(metric, f"value() must map sums (…, K) to (…), got {values.shape} for {counts.shape}")
    for example, value in zip(examples, values, strict=True):
        if not -1e-9 <= value <= 1 + 1e-9:  # also true of NaN
            raise _broken(metric, f"values must lie in [0, 1], got {value}", example)
    return np.clip(values, 0.0, 1.0)


def _interval(metric: Metric, counts: Floats, units: NDArray[np.intp] | None, seed: int, level: float) -> Interval:
    if metric.rate:
        return statistics.rate(counts[:, 0], level, units)
    try:
        return statistics.bootstrap(counts, metric.value, seed=seed, level=level, units=units)
    except ValueError as error:
        raise _broken(metric, str(error)) from error


def _broken(metric: Metric, what: str, example: Example | None = None) -> ConfigError:
    return ConfigError(
        f"metric {metric.name} cannot be used: {what}",
        where=None if example is None else f"{example.source.file}:{example.source.line}",
        fix="a metric must give a number for every example, also when parsed.value is None (a wrong answer)",
    )
