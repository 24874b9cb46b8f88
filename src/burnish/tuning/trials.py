"""One trial: settings on, training with reports, settings off; and what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from burnish.errors import TrainingError
from burnish.measure import Bench
from burnish.records import Json
from burnish.runs import read_jsonl
from burnish.tuning.space import EVALUATIONS, trial_training
from burnish.tuning_records import Trial

STATES = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


class _StopError(Exception):
    """Raised out of the training loop to end a trial."""


class _PruneError(_StopError):
    """The trial is worse than the others at the same share of their steps."""


class _TooLongError(_StopError):
    """The trial took longer than it may."""


class TimeUpError(_StopError):
    """The search took as long as it may; the trial is not over."""


class Limits(NamedTuple):
    """trial: most seconds of one trial; over: whether the whole search's time is up."""

    trial: float | None
    over: Any


def run_trial(
    trial: Any, bench: Bench, folder: Path, settings: Mapping[str, Any], *, rows: int, by: str, limits: Limits
) -> None:
    """Train one trial and tell the study how it ended. by: "metric" or "loss".

    folder: keeps metrics.jsonl; a checkpoint of an earlier sitting is continued from. A loss that is not finite, too
    little memory and too long a time make the trial failed, with the reason. Raises Interrupted and TimeUpError with
    the trial unfinished.
    """
    from optuna.trial import TrialState

    study = trial.study
    trial.set_user_attr("settings", dict(settings))
    training = trial_training(bench.settings, settings, rows, by)
    known = set(study.trials[trial.number].intermediate_values)

    def on_log(line: Mapping[str, Json]) -> None:
        if "validation_loss" in line:
            share = line["step"] / total
            at = max(1, round(EVALUATIONS * share))
            if at not in known:
                known.add(at)
                trial.report(score(line, by), at)
                if at < EVALUATIONS and trial.should_prune():
                    raise _PruneError(
                        f"below the median of the others after {share:.0%} of its steps ({_shown(line, by)})"
                    )
        elif limits.trial is not None and line["seconds"] > limits.trial:
            raise _TooLongError(f"took longer than {limits.trial / 60:g} minutes (step {line['step']} of {total})")
        if limits.over():
            raise TimeUpError

    total = _total(training, rows)
    state, reason = TrialState.COMPLETE, None
    try:
        bench.fit(training, folder, on_log)
    except _PruneError as error:
        state, reason = TrialState.PRUNED, str(error)
    except (_TooLongError, TrainingError) as error:
        state, reason = TrialState.FAIL, error.what if isinstance(error, TrainingError) else str(error)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        state, reason = TrialState.FAIL, "out of memory"
    finally:
        bench.release()
    _note(trial, folder, by, reason)
    best = best_evaluation(_evaluations(folder), by)
    if state is TrialState.COMPLETE and best is None:
        state = TrialState.FAIL
    study.tell(trial, score(best, by) if state is TrialState.COMPLETE and best else None, state=state)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _total(training: Any, rows: int) -> int:
    from burnish.training.batches import total_steps

    return total_steps(rows, training.batch_size, training.num_epochs, training.max_steps)


def _note(trial: Any, folder: Path, by: str, reason: str | None) -> None:
    """Keep with the trial what the table shows of it."""
    best = best_evaluation(_evaluations(folder), by) or {}
    lines = read_jsonl(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    seconds = max((line["seconds"] for line in lines if "seconds" in line), default=0.0)
    facts = {
        "loss": best.get("validation_loss"),
        "metric": best.get("validation_metric"),
        "step": best.get("step"),
        "seconds": seconds,
        "reason": reason,
    }
    for name, value in facts.items():
        trial.set_user_attr(name, value)


def _evaluations(folder: Path) -> list[dict[str, Json]]:
    file = folder / "metrics.jsonl"
    return [line for line in read_jsonl(file) if "validation_loss" in line] if file.exists() else []


def score(line: Mapping[str, Json], by: str) -> float:
    """What is maximised: the metric, the loss deciding between equals (as in training), or minus the loss."""
    loss = float(line["validation_loss"])
    return float(line["validation_metric"]) - 1e-6 * loss if by == "metric" else -loss


def best_evaluation(lines: Sequence[Mapping[str, Json]], by: str) -> Mapping[str, Json] | None:
    """The evaluation whose checkpoint a run would keep."""
    return max(lines, key=lambda line: score(line, by), default=None)


def _shown(line: Mapping[str, Json], by: str) -> str:
    return (
        f"{line['metric']} {line['validation_metric']:.3f}"
        if by == "metric"
        else f"loss {line['validation_loss']:.3f}"
    )


def trial_record(frozen: Any, by: str) -> Trial | None:
    """A trial of the study as a record, None for one that has not begun."""
    if frozen.state.name not in STATES:
        return None
    facts = frozen.user_attrs
    values = list(frozen.intermediate_values.values())
    return Trial(
        number=frozen.number,
        state=STATES[frozen.state.name],  # type: ignore[arg-type]
        settings=facts.get("settings", {}),
        value=frozen.value if frozen.state.name == "COMPLETE" else max(values, default=None),
        loss=facts.get("loss"),
        metric=facts.get("metric"),
        step=facts.get("step"),
        seconds=facts.get("seconds", 0.0),
        reason=facts.get("reason"),
        curve={str(at): value for at, value in sorted(frozen.intermediate_values.items())},
    )
