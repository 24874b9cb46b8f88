"""What a search tries: the task file's ranges or ours, and the settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.config import Candidates, Range, TaskConfig, TrainingConfig, candidates
from burnish.config.rates import default_learning_rate
from burnish.config.search import METHODS_OF, tunable
from burnish.config.words import nearest
from burnish.errors import ConfigError

DEFAULT_SEARCH = ("learning_rate", "lora_r", "bottleneck_size", "virtual_tokens", "num_epochs")
EVALUATIONS = 5  # of each trial, at equal shares of its steps
# Of the method's default rate. Small models want several times the default (docs/task-file.md), so more of the
# range lies above it: a factor of ten on either side of 2.5 times the default.
LOWEST, HIGHEST = 0.25, 25

_RANGES: dict[str, Candidates] = {
    "lora_r": (4, 8, 16, 32, 64),
    "bottleneck_size": (16, 32, 64, 128),
    "virtual_tokens": (10, 20, 50),
    "num_epochs": (1.0, 2.0, 3.0, 5.0),
    "batch_size": (4, 8, 16, 32),
    "lr_scheduler": ("cosine", "linear", "constant"),
    "warmup_ratio": Range(0.0, 0.2, log=False, whole=False),
    "weight_decay": Range(0.0, 0.1, log=False, whole=False),
    "lora_dropout": (0.0, 0.05, 0.1),
}


def default_candidates(name: str, config: TaskConfig) -> Candidates | None:
    """Our range for a setting, widened to take in the task file's own value; None where we know none."""
    training = config.training
    found = _rates(config) if name == "learning_rate" else _RANGES.get(name)
    own = getattr(training, name)
    if isinstance(found, Range):
        return found._replace(low=min(found.low, own), high=max(found.high, own))
    return None if found is None else tuple(sorted({*found, own}))


def _rates(config: TaskConfig) -> Range:
    usual = default_learning_rate(config.training.method, config.model, config.training.objective)
    return Range(float(f"{LOWEST * usual:.3g}"), min(1.0, float(f"{HIGHEST * usual:.3g}")), log=True, whole=False)


def search_space(config: TaskConfig, names: Sequence[str] | None = None) -> dict[str, Candidates]:
    """The settings to search with their candidates.

    names: which ones; without them those of tune.search, else rate, the method's size and epochs, as far as
    max_steps leaves them a say. Raises ConfigError for a name without a range.
    """
    training, given = config.training, candidates(config.tune.search)
    if names is None:
        if given:
            return given
        names = [
            name
            for name in DEFAULT_SEARCH
            if training.method in METHODS_OF.get(name, (training.method,))
            and not (name == "num_epochs" and training.max_steps)
        ]
    space = {}
    for name in names:
        known = name in tunable()
        found = given.get(name) or (default_candidates(name, config) if known else None)
        if found is None:
            near = None if known else nearest(name, tunable())
            fix = f"did you mean {near}?" if near else f"give it a range under tune.search, or take {_ours()}"
            what = "this setting has no range of ours" if known else "this is no setting that can be searched"
            raise ConfigError(what, got=name, where="--search", fix=fix)
        space[name] = found
    if not space:
        raise ConfigError("there is nothing to search", where="tune.search", fix="name settings under tune.search")
    return space


def _ours() -> str:
    return ", ".join(["learning_rate", *_RANGES])


def trial_settings(training: TrainingConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial sets. A searched rank takes lora_alpha with it, so that the scale alpha / r stays the task's.

    Otherwise a higher rank would mean smaller updates, and rank and rate could not be told apart.
    """
    settings = dict(values)
    if "lora_r" in values and "lora_alpha" not in values and not training.lora_rank_stabilised:
        settings["lora_alpha"] = training.lora_alpha * values["lora_r"] / training.lora_r
    return settings


def trial_training(
    training: TrainingConfig, settings: Mapping[str, Any], rows: int, select_by: str
) -> TrainingConfig:
    """The training settings of one trial on `rows` examples: validated EVALUATIONS times, at equal shares."""
    from burnish.training.batches import steps_per_epoch, total_steps

    changed = TrainingConfig.model_validate(training.model_dump() | dict(settings))
    total = total_steps(rows, changed.batch_size, changed.num_epochs, changed.max_steps)
    organised = {
        "evals_per_epoch": EVALUATIONS * steps_per_epoch(rows, changed.batch_size) / total,
        "early_stopping_patience": None,
        "keep_checkpoints": 1,
        "select_by": select_by,
    }
    return changed.model_copy(update=organised)


def space_json(space: Mapping[str, Candidates]) -> dict[str, Any]:
    """The search as it would stand in a task file."""
    return {
        name: {"low": found.low, "high": found.high, "log": found.log} if isinstance(found, Range) else list(found)
        for name, found in space.items()
    }
