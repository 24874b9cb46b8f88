"""Systems that train no weights, measured on any part of the split: for benchmarks, and for advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from burnish.config import LoadedTask
from burnish.evaluation.evaluate import compare, evaluate
from burnish.measure import Bench
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import Evaluation, Paired, Prediction
from burnish.runs import RunFolder

Part = Literal["validation", "test"]


class Cheap(NamedTuple):
    """evaluations, predictions: by system, in the order asked for. paired: each system minus the first one."""

    evaluations: dict[str, Evaluation]
    predictions: dict[str, list[Prediction]]
    paired: list[Paired]


def cheap_systems(
    loaded: LoadedTask,
    prepared: Prepared,
    folder: RunFolder,
    names: Sequence[str],
    progress: Progress,
    *,
    part: Part = "validation",
    rows: int | None = None,
) -> Cheap:
    """Let baselines answer the first `rows` examples of a part (None: all) and measure them as a run does.

    names: of baselines; the task file need not list them. folder: keeps what was tried on validation. What a system
    chose there (instruction, shots, passages) makes its values on validation a little too good; the sealed test is
    asked only where part says so, and whoever asks writes the look down. Raises DataError, ModelError.
    """
    examples = getattr(prepared.split, part)[:rows]
    bench = Bench(loaded, prepared, folder, progress)
    evaluations: dict[str, Evaluation] = {}
    predictions: dict[str, list[Prediction]] = {}
    for name in names:
        progress.stage("baseline", f"{name} on {len(examples)} examples of {part}")
        answers = bench.predict(name, examples)
        evaluations[name], predictions[name] = evaluate(
            name, prepared.task, examples, answers, split=part, seed=loaded.config.seed
        )
    paired = [
        compare(
            prepared.task,
            examples,
            predictions[name],
            predictions[names[0]],
            candidate=name,
            baseline=names[0],
            seed=loaded.config.seed,
        )
        for name in names[1:]
    ]
    return Cheap(evaluations, predictions, paired)
