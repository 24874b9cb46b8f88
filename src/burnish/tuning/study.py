"""An optuna study in a file of ours: it survives a kill at any moment and goes on as if there had been none.

Sampler: tree-structured Parzen estimator (Bergstra et al. 2011, section 4), seeded anew for every trial from the
task's seed and the trial's number, so that a resumed search proposes what an uninterrupted one would. Pruner: the
median rule (Golovin et al. 2017, section 3.2.2): stop a trial whose best value so far is below the median of the
finished trials at the same share of their steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from burnish.config import Candidates, Range
from burnish.runs import append_jsonl, read_jsonl, write_jsonl

RANDOM_TRIALS = 6  # before the sampler learns from the results
LEAST_FINISHED = 4  # trials before one is pruned
FIRST_PRUNING = 2  # evaluation; before it the rate has hardly left its warm-up
LEAST_FOR_IMPORTANCE = 8


def open_study(file: Path, seed: int) -> Any:
    """The study of a file, made when missing; values are maximised. The file's writer holds the folder's lock."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not file.exists():
        write_jsonl(file, [])
    return optuna.create_study(
        study_name="tune",
        storage=optuna.storages.JournalStorage(_journal(file)),
        direction="maximize",
        sampler=_sampler(seed, 0),
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=LEAST_FINISHED, n_warmup_steps=FIRST_PRUNING, n_min_trials=LEAST_FINISHED
        ),
        load_if_exists=True,
    )


def _journal(file: Path) -> Any:
    """optuna's journal with our writing: flushed to the disk, a line that a kill cut off mended."""
    from optuna.storages.journal import BaseJournalBackend

    class Journal(BaseJournalBackend):
        def __init__(self) -> None:
            self._lines: list[dict[str, Any]] = list(read_jsonl(file))

        def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
            return self._lines[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            append_jsonl(file, logs)
            self._lines += logs

    return Journal()


def _sampler(seed: int, number: int) -> Any:
    from optuna.samplers import TPESampler

    return TPESampler(seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=RANDOM_TRIALS)


def next_trial(study: Any, seed: int, own: Mapping[str, Any], space: Mapping[str, Candidates]) -> Any:
    """The trial that an earlier sitting left unfinished, else a new one; the first has the task's own settings."""
    from optuna.trial import Trial, TrialState

    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    number = left[0].number if left else len(study.get_trials(deepcopy=False))
    study.sampler = _sampler(seed, number)
    if left:
        return Trial(study, left[0]._trial_id)
    if number == 0:
        study.enqueue_trial({name: own[name] for name, found in space.items() if contains(found, own[name])})
    return study.ask()


def contains(found: Candidates, value: Any) -> bool:
    """Whether a setting's value is one of the candidates."""
    if isinstance(found, Range):
        return bool(found.low <= value <= found.high)
    return value in found


def choose(trial: Any, space: Mapping[str, Candidates], own: Mapping[str, Any]) -> dict[str, Any]:
    """The trial's value of every searched setting. The first keeps its own ones also where no range holds them."""
    values = {}
    for name, found in space.items():
        if trial.number == 0 and not contains(found, own[name]):
            values[name] = own[name]
        elif not isinstance(found, Range):
            values[name] = trial.suggest_categorical(name, list(found))
        elif found.whole:
            values[name] = trial.suggest_int(name, int(found.low), int(found.high), log=found.log)
        else:
            values[name] = rounded(trial.suggest_float(name, found.low, found.high, log=found.log), found)
    return values


def rounded(value: float, within: Range) -> float:
    """Three significant digits, as one would write it into a task file, inside the range."""
    if value in (within.low, within.high) or value == 0:
        return value
    digits = 2 - math.floor(math.log10(abs(value)))
    return min(within.high, max(within.low, round(value, digits)))


def importance(study: Any, space: Mapping[str, Candidates]) -> dict[str, float]:
    """Share of each searched setting in the variance of the value (PED-ANOVA, Watanabe et al. 2023), the largest
    first; empty while there are too few finished trials to say."""
    import optuna

    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < LEAST_FOR_IMPORTANCE or len(space) < 2 or len({trial.value for trial in finished}) < 2:
        return {}
    return dict(optuna.importance.get_param_importances(study))
