"""The whole search in one place: check, split, put the sealed test away, trial after trial, result.

It stands in runs/tune-<name>-<time>-<hash>/ and goes on where it was, also in the middle of a trial.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from burnish.config import Candidates, LoadedTask, TaskConfig, load_task, task_from
from burnish.config.search import OF_THE_LOSS
from burnish.errors import ConfigError, Interrupted, TrainingError
from burnish.measure import Bench
from burnish.prepare import Prepared, prepare_checked, refuse_errors
from burnish.progress import Progress, Silent
from burnish.reports.tuning import value_words, words, write_tuning_page
from burnish.runs import NotesFolder, locked_study, new_study, newest_study, write_json
from burnish.tuning.folder import KIND, PAGE, RESULT, STUDY, describe
from burnish.tuning.result import best_of, best_words, summarise
from burnish.tuning.space import search_space, space_json, trial_settings
from burnish.tuning.study import choose, importance, next_trial, open_study
from burnish.tuning.trials import Limits, TimeUpError, run_trial, trial_record
from burnish.tuning_records import Trial, Tuning

HOPELESS = 3  # trials that fail before any succeeds


class _Plan(NamedTuple):
    """What is searched, until when, and for what. by: "metric" or "loss"."""

    config: TaskConfig
    space: dict[str, Candidates]
    by: str
    trials: int
    timeout: float | None


def tune(
    task: str | Path | Mapping[str, Any] | LoadedTask,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    metric: str | None = None,
    search: Sequence[str] | None = None,
    runs_dir: str | Path = "runs",
    resume: bool = False,
    allow_bad_rows: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
) -> Tuning:
    """Search training settings: every trial trains on train and is measured on validation, the sealed test is put
    away first. The first trial has the task file's own settings.

    trials, timeout (minutes), metric ("metric" or "loss") and search (names of settings) go before those of the task
    file. resume: go on with the newest search of the task; with more trials also when it is over.
    Raises Interrupted after Ctrl-C or SIGTERM, with the best so far; TrainingError when no trial succeeds; other
    children of BurnishError for what the user can mend.
    """
    _need_optuna()
    loaded = (
        task if isinstance(task, LoadedTask) else task_from(task) if isinstance(task, Mapping) else load_task(task)
    )
    progress = progress or Silent()
    for notice in loaded.notices:
        progress.notice(notice)
    plan = _plan(loaded.config, trials, timeout, metric, search)
    root = Path(runs_dir)
    progress.stage("check", "reading the examples and looking for what is wrong with them")
    prepared, report = prepare_checked(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
    refuse_errors(report, progress)
    same = describe(
        loaded.config.model_dump(mode="json", by_alias=True),
        space_json(plan.space),
        plan.by,
        prepared.fingerprint,
        prepared.split.sealed_hash,
    )
    prepared = prepared._replace(split=replace(prepared.split, test=()))  # no trial can read it
    _refuse_unmeasurable(plan, prepared)
    name = loaded.config.name
    folder = newest_study(root, KIND, name, same) if resume else new_study(root, KIND, name, same, command)
    by = prepared.task.metrics[0].name if plan.by == "metric" else "loss"
    progress.stage("tune", f"{folder}: {', '.join(plan.space)}; by validation {by}")
    with locked_study(folder):
        study = open_study(folder / STUDY, loaded.config.seed)
        bench = Bench(loaded, prepared, NotesFolder(folder), progress)
        try:
            stopped = _all_trials(study, plan, bench, folder, len(prepared.split.train), progress)
        except (Interrupted, KeyboardInterrupt) as error:
            result = _keep(study, plan, prepared, folder)
            what = error.what if isinstance(error, Interrupted) else "interrupted"
            raise Interrupted(
                f"{what}; {best_words(result)}", fix="go on with `burnish tune TASK --resume`"
            ) from None
        result = _keep(study, plan, prepared, folder)
    if stopped:
        progress.notice(stopped, warning=True)
    if result.best is None and not stopped:
        reasons = [trial.reason or "no evaluation" for trial in result.trials]
        raise TrainingError(
            f"no trial succeeded: {reasons[0]}" if reasons else "no trial was run",
            where=str(folder),
            fix="see what `burnish run` says with the task file's own settings; lower the rates of tune.search",
        )
    return result


def _need_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ConfigError("tuning needs the package optuna", fix="pip install 'burnish[tune]'")


def _plan(
    config: TaskConfig, trials: int | None, timeout: float | None, metric: str | None, search: Sequence[str] | None
) -> _Plan:
    tune = config.tune
    by = metric or tune.metric or config.training.select_by
    if by not in ("metric", "loss"):
        raise ConfigError("a search is by metric or by loss", got=by, where="--metric", fix="give one of the two")
    for value, where in ((trials, "--trials"), (timeout, "--timeout")):
        if value is not None and not value > 0:
            raise ConfigError("must be above 0", got=value, where=where, fix="leave it out for the default")
    minutes = timeout or tune.timeout
    space = search_space(config, search)
    incomparable = [name for name in space if name in OF_THE_LOSS]
    if by == "loss" and incomparable:
        raise ConfigError(
            "the loss itself is made of this setting, so losses of trials cannot be compared",
            got=incomparable[0],
            where="tune.search",
            fix="search by the metric (`--metric metric`), or set it under training",
        )
    return _Plan(config, space, by, trials or tune.trials, None if minutes is None else 60 * minutes)


def _refuse_unmeasurable(plan: _Plan, prepared: Prepared) -> None:
    if not prepared.split.validation:
        raise ConfigError(
            "a search needs validation examples", where="split.validation", fix="give a share such as 0.1"
        )
    if plan.by == "metric" and not plan.config.training.eval_examples:
        raise ConfigError(
            "no validation example is answered, so there is no metric to search by",
            where="training.eval_examples",
            fix="raise it, or search by loss (`--metric loss`)",
        )


def _all_trials(study: Any, plan: _Plan, bench: Bench, folder: Path, rows: int, progress: Progress) -> str | None:
    """Run what is left of the trials. Why the search stopped early, None when it did not."""
    began = time.monotonic()
    minutes = plan.config.tune.trial_timeout
    own = plan.config.training.model_dump()

    def over() -> bool:
        return plan.timeout is not None and time.monotonic() - began > plan.timeout

    limits = Limits(None if minutes is None else 60 * minutes, over)
    while True:
        records = _records(study, plan.by)
        ended = [record for record in records if record.state != "running"]
        if len(ended) >= HOPELESS and all(record.state == "failed" for record in ended):
            return None
        if len(ended) >= plan.trials:
            return None
        if over():
            return _time_up(ended, plan)
        trial = next_trial(study, plan.config.seed, own, plan.space)
        values = choose(trial, plan.space, own)
        settings = values if trial.number == 0 else trial_settings(plan.config.training, values)
        progress.stage(f"trial {trial.number} of {plan.trials}", words(settings))
        try:
            run_trial(
                trial,
                bench,
                folder / "trials" / f"{trial.number:03d}",
                settings,
                rows=rows,
                by=plan.by,
                limits=limits,
            )
        except TimeUpError:
            return _time_up(ended, plan)
        _tell(_records(study, plan.by), trial.number, progress)


def _time_up(ended: Sequence[Trial], plan: _Plan) -> str:
    return f"the time is up after {len(ended)} of {plan.trials} trials; --resume goes on"


def _records(study: Any, by: str) -> list[Trial]:
    found = (trial_record(frozen, by) for frozen in study.get_trials(deepcopy=False))
    return [record for record in found if record is not None]


def _tell(records: Sequence[Trial], number: int, progress: Progress) -> None:
    record = next(trial for trial in records if trial.number == number)
    best = best_of(records)
    what = f"trial {number} {record.state}"
    if record.reason:
        what += f": {record.reason}"
    elif record.value is not None:
        what += f": {value_words(record)}"
    if best is not None and best.number != number:
        what += f"; best so far: trial {best.number}, {value_words(best)}"
    progress.notice(what, warning=record.state == "failed")


def _keep(study: Any, plan: _Plan, prepared: Prepared, folder: Path) -> Tuning:
    """Write tuning.json and tuning.html from what there is."""
    validation = len(prepared.split.validation)
    result = summarise(
        _records(study, plan.by),
        name=plan.config.name,
        folder=folder,
        by=plan.by,
        metric=prepared.task.metrics[0].name,
        examples=min(validation, plan.config.training.eval_examples) if plan.by == "metric" else validation,
        search=space_json(plan.space),
        importance=importance(study, plan.space),
    )
    write_json(folder / RESULT, result)
    write_tuning_page(result, folder / PAGE)
    return result
