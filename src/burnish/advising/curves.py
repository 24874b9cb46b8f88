"""Learning curves: a system trained on a few rows, on twice as many, and so on, measured on the held-out examples."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from burnish.advice.learning_curve import FARTHEST, Reach
from burnish.advice.result import Curve, CurvePoint, fitted
from burnish.advising.held_out import nested
from burnish.config import LoadedTask, TaskConfig, TrainingConfig
from burnish.evaluation.evaluate import primary_value
from burnish.measure import Bench
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import Example, Prediction
from burnish.runs import RunFolder, append_jsonl, from_json, read_jsonl, to_json, write_predictions

SMALLEST = 50  # rows of the first training
SIZES_NEEDED = 3  # for a curve
LEAST_STEPS = 60  # optimizer steps of a small training: fewer say more of the steps than of the rows
MOST_EPOCHS = 10.0
VALIDATION = 100  # examples whose loss chooses the checkpoint
PROBE_SEEDS = 3
POINTS = "curve.jsonl"


def sizes(rows: int, most: int) -> tuple[int, ...]:
    """SMALLEST, and doublings of it, up to `most` and to the rows there are; all of them as the last one if they are
    no more than `most`. Fewer than three where there are too few rows."""
    top = min(rows, most)
    found = []
    size = SMALLEST
    while size < top:
        found.append(size)
        size *= 2
    if top >= SMALLEST and (not found or top >= 1.25 * found[-1]):
        found.append(top)
    return tuple(found)


def small_training(training: TrainingConfig, rows: int) -> TrainingConfig:
    """The task's own settings for a training on few rows: more epochs where its own would take too few steps, the
    loss chooses, no early end."""
    steps_an_epoch = max(1.0, rows / training.batch_size)
    epochs = max(training.num_epochs, min(MOST_EPOCHS, LEAST_STEPS / steps_an_epoch))
    return training.model_copy(
        update={
            "num_epochs": epochs,
            "eval_examples": 0,
            "select_by": "loss",
            "evals_per_epoch": 3 / epochs,
            "early_stopping_patience": None,
            "checkpoint_steps": 10_000,
            "keep_checkpoints": 1,
        }
    )


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


def probe_points(prepared: Prepared, points: Points, progress: Progress, make: Callable[[Prepared], Any]) -> None:
    """The embedding probe on growing parts of the rows, PROBE_SEEDS draws of each. make: a probe of such a part."""
    train, examples = prepared.split.train, prepared.split.test
    for rows in sizes(len(train), len(train)):
        for seed in range(PROBE_SEEDS if rows < len(train) else 1):

            def measure(rows: int = rows, seed: int = seed) -> CurvePoint:
                part = nested(prepared, rows, seed)
                began = time.perf_counter()
                system = make(part)
                seconds = time.perf_counter() - began
                predictions = system.predict(examples, progress)
                return _point("embedding_probe", rows, seed, prepared, examples, predictions, seconds)

            points.take("embedding_probe", rows, seed, measure)


def tuned_points(
    loaded: LoadedTask,
    prepared: Prepared,
    folder: Path,
    points: Points,
    progress: Progress,
    *,
    most: int,
    seconds: float,
) -> str | None:
    """Small trainings of the model itself, one a size, as long as the next one is likely to end within `seconds`.

    The first three sizes are trained whatever they take. Returns why it stopped before `most` rows, None if it did
    not. Raises TrainingError and Interrupted as training does.
    """
    began = time.perf_counter()
    wanted = sizes(len(prepared.split.train), most)
    for number, rows in enumerate(wanted):
        spent = time.perf_counter() - began
        if number >= SIZES_NEEDED and spent + _likely(points.of("tuned"), rows, loaded.config) > seconds:
            return f"a training on {rows:,} rows would take longer than the {seconds / 60:g} minutes allowed"
        points.take("tuned", rows, 0, lambda rows=rows: _train(loaded, prepared, folder, rows, progress))  # type: ignore[misc]
    return None


def _likely(known: Sequence[CurvePoint], rows: int, config: TaskConfig) -> float:
    """Seconds of the next training, by the rows that the last one saw; and as long again for its answers as then."""
    last = known[-1]
    seen = last.rows * small_training(config.training, last.rows).num_epochs
    return float(last.seconds) * rows * small_training(config.training, rows).num_epochs / max(seen, 1.0)


def _train(loaded: LoadedTask, prepared: Prepared, folder: Path, rows: int, progress: Progress) -> CurvePoint:
    """One small training and its answers, which are kept; its checkpoints are not."""
    progress.stage("curve", f"training on {rows:,} rows")
    part = nested(prepared, rows, 0)
    part = part._replace(split=replace(part.split, validation=part.split.validation[:VALIDATION]))
    place = folder / "trainings" / f"{rows:06d}"
    place.mkdir(parents=True, exist_ok=True)
    bench = Bench(loaded, part, RunFolder(folder), progress)
    began = time.perf_counter()
    bench.fit(small_training(loaded.config.training, rows), place)
    seconds = time.perf_counter() - began
    predictions = bench.predict_fitted(prepared.split.test)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)
    write_predictions(folder / "predictions" / f"{name_of(rows)}.jsonl", predictions)
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
    examples: int,
    target: float | None,
    minutes_per_row: float,
    wage: float | None,
) -> Curve | None:
    """The fitted curve of a system; None with fewer than three sizes. rows: all that there are to train on."""
    measured = {one.rows for one in points}
    if len(measured) < SIZES_NEEDED:
        return None
    curve = fitted(points, examples)
    largest = max(measured)
    at = min(rows, int(FARTHEST * largest))
    found = curve.forecast(at)
    reach: Reach | None = None
    if target is not None:
        reach = curve.reach(target, have=rows, minutes_per_row=minutes_per_row, wage=wage)
    return Curve(
        system,
        tuple(points),
        rows,
        at,
        found.value,
        found.low,
        found.high,
        largest >= rows,
        curve.misfit,
        reach,
    )


def later(curve: Curve, examples: int) -> tuple[int, float, float, float]:
    """Rows, median and interval of the metric as far out as the curve may be asked."""
    rows = int(FARTHEST * max(one.rows for one in curve.points))
    found = fitted(curve.points, examples).forecast(rows)
    return rows, found.value, found.low, found.high
