"""Learning curves: a system trained on a few rows, on twice as many, and so on, measured on the held-out examples."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from burnish.advice.learning_curve import Reach
from burnish.advice.result import Curve, CurvePoint, fitted
from burnish.advising.held_out import nested
from burnish.config import TrainingConfig
from burnish.evaluation.evaluate import primary_value
from burnish.measure import Bench
from burnish.prepare import Prepared
from burnish.progress import Progress, Silent
from burnish.records import Example, Prediction
from burnish.runs import append_jsonl, from_json, predictions_path, read_jsonl, to_json, write_predictions
from burnish.systems.base import Embeds

SMALLEST = 50  # rows of the first training
SIZES_NEEDED = 3  # for a curve
LEAST_STEPS = 30  # optimizer steps of a small training, where the task's own takes as many
MOST_EPOCHS = 10.0
VALIDATION = 100  # examples whose loss chooses the checkpoint
PROBE_SEEDS = 3
MANY = 1000  # rows from which the probe is fitted once, and sizes lie further apart
POINTS = "curve.jsonl"


def sizes(rows: int, most: int | None = None, factor: int = 2) -> tuple[int, ...]:
    """SMALLEST and on by `factor`, ending at `most` rows or at all that there are. Fewer than three for few rows."""
    top = rows if most is None else min(rows, most)
    found, size = [], SMALLEST
    while 1.25 * size <= top:
        found.append(size)
        size *= factor
    return (*found, top) if top >= SMALLEST else ()


def small_training(training: TrainingConfig, rows: int, whole: int) -> TrainingConfig:
    """The task's own settings for a training on `rows` of the `whole` rows: the loss chooses, no early end.

    Steps grow with the square root of the rows, so that they, too, end at those of the task's own training, where
    `rows` are all that it sees; what the curve tells of so many rows is then that training. The task's epochs alone
    would leave few rows untrained, as many steps for all would cost as much as the real one each time.
    """
    epochs = _epochs(training, rows, whole)
    return training.model_copy(
        update={
            "num_epochs": epochs,
            "max_steps": None,
            "eval_examples": 0,
            "select_by": "loss",
            "evals_per_epoch": 3 / epochs,
            "early_stopping_patience": None,
            "checkpoint_steps": 10_000,
            "keep_checkpoints": 1,
        }
    )


def rows_seen(training: TrainingConfig, rows: int, whole: int) -> float:
    """Rows that such a training computes, each as often as it is seen."""
    return rows * _epochs(training, rows, whole)


def rows_reached(training: TrainingConfig, whole: int) -> int:
    """How many of the `whole` rows the task's own training sees at all: with less than an epoch not every one."""
    return max(1, min(whole, round(_own_steps(training, whole) * training.batch_size)))


def _own_steps(training: TrainingConfig, whole: int) -> float:
    steps = training.num_epochs * whole / training.batch_size
    return steps if training.max_steps is None else min(steps, training.max_steps)


def _epochs(training: TrainingConfig, rows: int, whole: int) -> float:
    steps = _own_steps(training, whole)
    own = steps * training.batch_size / whole
    share = min(1.0, rows / rows_reached(training, whole))
    wanted = max(min(LEAST_STEPS, steps), steps * math.sqrt(share))
    return min(max(own, wanted * training.batch_size / rows), max(own, MOST_EPOCHS))


class Points:
    """Measured points of all curves, in a file that a later sitting goes on with."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / POINTS
        lines = read_jsonl(self._path) if self._path.exists() else []
        self._known = [from_json(CurvePoint, line, str(self._path)) for line in lines]

    def of(self, system: str) -> list[CurvePoint]:
        """A system's points, by rows and seed."""
        return sorted((one for one in self._known if one.system == system), key=lambda one: (one.rows, one.seed))

    def take(self, system: str, rows: int, seed: int, measure: Callable[[], CurvePoint]) -> CurvePoint:
        """The point, measured unless it is known."""
        for one in self._known:
            if (one.system, one.rows, one.seed) == (system, rows, seed):
                return one
        point = measure()
        self._known.append(point)
        append_jsonl(self._path, [to_json(point)])
        return point


def probe_points(
    prepared: Prepared,
    points: Points,
    progress: Progress,
    embed: Embeds,
    known: tuple[Sequence[Prediction], float] | None,
) -> None:
    """The embedding probe on growing parts of the rows, PROBE_SEEDS draws of each small one.

    known: answers of the probe that all rows were given to, and the seconds that it took.
    """
    from burnish.systems.embedding_probe import EmbeddingProbe

    train, examples = prepared.split.train, prepared.split.test
    wanted = sizes(len(train), factor=2 if len(train) < MANY else 4)
    every = [(rows, seed) for rows in wanted for seed in range(PROBE_SEEDS if rows < min(MANY, len(train)) else 1)]

    def fit(rows: int, seed: int) -> CurvePoint:
        if known is not None and rows == len(train):
            return _point("embedding_probe", rows, seed, prepared, examples, *known)
        began = time.perf_counter()
        probe = EmbeddingProbe(prepared.task, nested(prepared, rows, seed).split.train, embed, Silent())
        seconds = time.perf_counter() - began
        predictions = probe.predict(examples, Silent())
        return _point("embedding_probe", rows, seed, prepared, examples, predictions, seconds)

    for number, (rows, seed) in enumerate(every):
        points.take("embedding_probe", rows, seed, partial(fit, rows, seed))
        progress.advance("probes", number + 1, len(every))


def tuned_points(
    bench: Bench,
    prepared: Prepared,
    folder: Path,
    points: Points,
    progress: Progress,
    *,
    most: int | None,
    seconds: float,
) -> str | None:
    """Small trainings of the model itself, one a size, as far as they are likely to end within `seconds`.

    The smallest size tells how long trainings take; then come the largest one that there is time for and the two
    before it, since the curve is asked about more rows than any of them. Three sizes are trained whatever they take.
    Returns why it stopped before `most` rows, None if it did not. Raises TrainingError and Interrupted as training
    does.
    """
    whole, examples = len(prepared.split.train), len(prepared.split.test)
    every = sizes(rows_reached(bench.settings, whole), most)
    while True:
        known = points.of("tuned")
        spent = sum(one.seconds + one.seconds_per_example * examples for one in known)  # in earlier sittings, too
        cost = partial(_likely, known, prepared=prepared, training=bench.settings)
        rows = next_size(every, [one.rows for one in known], cost, seconds - spent)
        if rows is None:
            break
        points.take("tuned", rows, 0, partial(_train, bench, prepared, folder, rows, progress))
    if known[-1].rows == every[-1]:
        return None
    larger = next(size for size in every if size > known[-1].rows)
    return f"no training on {larger:,} rows: all would take longer than the {seconds / 60:g} minutes allowed"


def next_size(every: Sequence[int], known: Sequence[int], cost: Callable[[int], float], left: float) -> int | None:
    """Which of the sizes to train on next, None for no more. known: trained already, ascending; cost: seconds of one;
    left: seconds."""
    if not known:
        return every[0]
    for last in reversed(range(len(every))):
        wanted = [size for size in every[max(0, last + 1 - SIZES_NEEDED) : last + 1] if size > known[-1]]
        if wanted and sum(map(cost, wanted)) <= left:
            return wanted[0]
    return None if len(known) >= SIZES_NEEDED else next((size for size in every if size not in known), None)


def _likely(known: Sequence[CurvePoint], rows: int, *, prepared: Prepared, training: TrainingConfig) -> float:
    """Seconds of a training, by the rows that the last one saw, and of its answers."""
    last, whole = known[-1], len(prepared.split.train)
    share = rows_seen(training, rows, whole) / rows_seen(training, last.rows, whole)
    return float(last.seconds) * share + last.seconds_per_example * len(prepared.split.test)


def _train(bench: Bench, prepared: Prepared, folder: Path, rows: int, progress: Progress) -> CurvePoint:
    """One small training and its answers, which are kept; its checkpoints are not."""
    progress.stage("curve", f"training on {rows:,} rows")
    part = nested(prepared, rows, 0)
    part = part._replace(split=replace(part.split, validation=part.split.validation[:VALIDATION]))
    place = folder / "trainings" / f"{rows:06d}"
    place.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    bench.fit(small_training(bench.settings, rows, len(prepared.split.train)), place, rows=part)
    seconds = time.perf_counter() - began
    predictions = bench.predict_fitted(prepared.split.test)
    bench.release()
    shutil.rmtree(place / "checkpoints", ignore_errors=True)
    write_predictions(predictions_path(folder, name_of(rows)), predictions)
    return _point("tuned", rows, 0, prepared, prepared.split.test, predictions, seconds)


def name_of(rows: int) -> str:
    """Name of the system trained on so many rows."""
    return f"tuned_on_{rows}"


def _point(
    system: str,
    rows: int,
    seed: int,
    prepared: Prepared,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seconds: float,
) -> CurvePoint:
    return CurvePoint(
        system,
        rows,
        seed,
        primary_value(prepared.task, examples, predictions),
        seconds,
        float(np.mean([one.seconds for one in predictions])),
        float(np.mean([one.prompt_tokens for one in predictions])),
        float(np.mean([one.completion_tokens for one in predictions])),
    )


def curve_of(
    system: str,
    points: Sequence[CurvePoint],
    *,
    rows: int,
    reached: int,
    examples: int,
    target: float | None,
    minutes_per_row: float,
    wage: float | None,
) -> Curve | None:
    """The fitted curve of a system; None with fewer than three sizes. rows: all that there are to train on; reached:
    that a training of the system sees."""
    measured = {one.rows for one in points}
    if len(measured) < SIZES_NEEDED:
        return None
    curve = fitted(points, examples)
    largest = max(measured)
    found = curve.forecast(reached)
    reach: Reach | None = None
    if target is not None:
        reach = curve.reach(target, have=rows, minutes_per_row=minutes_per_row, wage=wage)
    return Curve(
        system,
        tuple(points),
        rows,
        reached,
        found.value,
        found.low,
        found.high,
        largest >= reached,
        curve.misfit,
        reach,
    )


def later(curve: Curve, examples: int) -> tuple[int, float, float, float]:
    """Rows, median and interval of the metric at the curve's horizon."""
    known = fitted(curve.points, examples)
    found = known.forecast(known.horizon(curve.rows))
    return found.rows, found.value, found.low, found.high
