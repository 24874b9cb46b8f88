"""Systems that train no weights, measured on examples: for advice and for benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from burnish.evaluation.evaluate import compare, evaluate
from burnish.measure import Bench
from burnish.progress import Progress
from burnish.records import Evaluation, Example, Paired, Prediction
from burnish.runs import read_predictions, write_predictions
from burnish.tasks import Task


class Measured(NamedTuple):
    """By system, in the order asked for. seconds: it took here, none where its answers were there already."""

    evaluations: dict[str, Evaluation]
    predictions: dict[str, list[Prediction]]
    seconds: dict[str, float]


def measured(
    bench: Bench,
    task: Task,
    examples: Sequence[Example],
    names: Sequence[str],
    progress: Progress,
    *,
    split: str,
    seed: int,
    folder: Path | None = None,
) -> Measured:
    """Let baselines answer the examples and measure them as a run does.

    names: of baselines; the task file need not list them. split: what the examples are called. folder: keeps the
    answers, which are not asked for again. What a system chose on validation (instruction, shots, passages) makes its
    values there a little too good; who asks the sealed test writes the look down. Raises DataError, ModelError.
    """
    found = Measured({}, {}, {})
    for name in names:
        began = time.perf_counter()
        path = None if folder is None else folder / f"{name.replace(':', '_')}.jsonl"
        if path is not None and path.exists():
            answers = read_predictions(path)
        else:
            progress.stage("system", f"{name} on {len(examples)} examples")
            answers = bench.predict(name, examples)
            if path is not None:
                write_predictions(path, answers)
        found.evaluations[name], found.predictions[name] = evaluate(
            name, task, examples, answers, split=split, seed=seed
        )
        found.seconds[name] = time.perf_counter() - began
    return found


def compared(
    task: Task, examples: Sequence[Example], found: Measured, pairs: Iterable[tuple[str, str]], *, seed: int
) -> list[Paired]:
    """The advantage of each pair's first system over its second, example by example."""
    answers = found.predictions
    return [
        compare(task, examples, answers[one], answers[other], candidate=one, baseline=other, seed=seed)
        for one, other in pairs
    ]
