"""What a run tells beyond its metrics: whether confidence can be believed, and what became of slices of the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from burnish.evaluation.confidence import calibration_of, fit
from burnish.evaluation.measures import Calibration, Slices, Temperature
from burnish.evaluation.power import outlook
from burnish.evaluation.slices import compare_slices, slice_names
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import Prediction
from burnish.runs import RunFolder, from_json, next_look, read_json, read_predictions, write_json

VALIDATION_ANSWERS = "validation_answers.jsonl"
CALIBRATION = "calibration.json"


def calibration_step(
    folder: RunFolder, prepared: Prepared, answers: Mapping[str, Sequence[Prediction]], *, candidate: str, seed: int
) -> list[Calibration]:
    """Every system's confidence on the sealed test; the candidate's with a temperature, left in calibration.json.

    The temperature is that of the best checkpoint's validation answers, which training has left: nothing is answered
    anew, and the sealed test has no part in it.
    """
    temperature = _temperature(folder.path / VALIDATION_ANSWERS, prepared)
    write_json(folder.path / CALIBRATION, temperature)
    test = prepared.split.test
    found = [
        calibration_of(
            name, prepared.task, test, given, temperature=temperature if name == candidate else None, seed=seed
        )
        for name, given in answers.items()
    ]
    return [one for one in found if one is not None]


def _temperature(path: Path, prepared: Prepared) -> Temperature | None:
    if not path.exists():
        return None
    given = read_predictions(path)
    by_id = {example.id: example for example in prepared.split.validation}
    if any(one.example_id not in by_id for one in given):
        return None  # of other validation data: the run was resumed after they had changed
    return fit(prepared.task, [by_id[one.example_id] for one in given], given)


def calibrated(run_dir: Path) -> Callable[[Sequence[Prediction]], list[Prediction]]:
    """Puts the run's temperature on the confidence of its tuned model's answers; without one they stay as they are.

    RunError when calibration.json is damaged.
    """
    from burnish.evaluation.calibration import scaled

    path = run_dir / CALIBRATION
    found = read_json(path) if path.exists() else None
    value = from_json(Temperature, found, str(path)).value if found else None

    def mend(predictions: Sequence[Prediction]) -> list[Prediction]:
        if value is None:
            return list(predictions)
        return [
            one
            if one.confidence is None
            else replace(one, confidence=float(scaled(np.array([one.confidence]), value)[0]))
            for one in predictions
        ]

    return mend


def tell_power(folder: RunFolder, prepared: Prepared, margin: float, progress: Progress) -> None:
    """Say before the work begins what the sealed test will be able to show; a warning when that is too little."""
    test, sealed = prepared.split.test, prepared.split.sealed_hash
    independent = len({one.group if one.group is not None else ("row", one.id) for one in test})
    look = next_look(folder.path.parent, sealed, folder.run_id)
    told, little = outlook(independent, margin, look)
    counted = "" if independent == len(test) else f" ({len(test):,} examples in {independent:,} independent groups)"
    progress.notice(f"{told}{counted}", warning=little)


def slices_of(
    prepared: Prepared,
    answers: Mapping[str, Sequence[Prediction]],
    candidate: str,
    baseline: str | None,
    *,
    seed: int,
) -> Slices | None:
    """The candidate against the best baseline on every slice of the sealed test; None without a baseline."""
    if baseline is None:
        return None
    test, task, ours = prepared.split.test, prepared.task, answers[candidate]
    names = slice_names(task, test, ours)
    return compare_slices(
        task, test, ours, answers[baseline], names, candidate=candidate, baseline=baseline, seed=seed
    )
