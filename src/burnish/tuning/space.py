"""What a search tries: the task file's ranges or ours, and the settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.config import Candidates, Range, TaskConfig, TrainingConfig, candidates
from burnish.config.search import tunable
from burnish.config.words import nearest
from burnish.errors import ConfigError

DEFAULT_SEARCH = ("learning_rate", "lora_r", "num_epochs")
EVALUATIONS = 5  # of each trial, at equal shares of its steps

# A factor of ten on either side of what docs/task-file.md and docs/training.md recommend.
_RATES = {"lora": (5e-5, 5e-3), "dora": (5e-5, 5e-3), "ia3": (5e-4, 5e-2), "full": (2e-6, 2e-4)}
_RANGES: dict[str, Candidates] = {
    "lora_r": (4, 8, 16, 32, 64),
    "num_epochs": (1.0, 2.0, 3.0, 5.0),
    "batch_size": (4, 8, 16, 32),
    "lr_scheduler": ("cosine", "linear", "constant"),
    "warmup_ratio": Range(0.0, 0.2, log=False, whole=False),
    "weight_decay": Range(0.0, 0.1, log=False, whole=False),
    "lora_dropout": (0.0, 0.05, 0.1),
}


def default_candidates(name: str, training: TrainingConfig) -> Candidates | None:
    """Our range for a setting, widened to take in the task file's own value; None where we know none."""
    low, high = _RATES[training.method]
    found = Range(low, high, log=True, whole=False) if name == "learning_rate" else _RANGES.get(name)
    own = getattr(training, name)
    if isinstance(found, Range):
        return found._replace(low=min(found.low, own), high=max(found.high, own))
    return None if found is None else tuple(sorted({*found, own}))


def search_space(config: TaskConfig, names: Sequence[str] | None = None) -> dict[str, Candidates]:
    """The settings to search with their candidates.

    names: which ones; without them those of tune.search, else rate, rank and epochs, as far as the method and
    max_steps leave them a say. Raises ConfigError for a name without a range.
    """
    training, given = config.training, candidates(config.tune.search)
    if names is None:
        if given:
            return given
        of_lora = training.method in ("lora", "dora")
        without = {name for name, idle in (("lora_r", not of_lora), ("num_epochs", training.max_steps)) if idle}
        names = [name for name in DEFAULT_SEARCH if name not in without]
    space = {}
    for name in names:
        known = name in tunable()
        found = given.get(name) or (default_candidates(name, training) if known else None)
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
