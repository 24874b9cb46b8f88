"""tune.search: which settings of training `burnish tune` tries, with which values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from burnish.config.aliases import ALIASES
from burnish.config.training import TrainingConfig
from burnish.config.words import expected, nearest, node_at

if TYPE_CHECKING:
    from burnish.config.base import Report


class Range(NamedTuple):
    """Numbers from low to high, both included. log: uniform in the logarithm; whole: whole numbers only."""

    low: float
    high: float
    log: bool
    whole: bool


Candidates = Range | tuple[Any, ...]

# Settings that decide what is measured, or how training is organised, rather than what is learned.
_NOT_SEARCHED = {
    "method": "the methods want other rates: tune each by itself with --set training.method=…",
    "objective": "the objectives have other losses and rates: tune each by itself with --set training.objective=…",
    "sharding": "it changes no result: set it under training",
    "train_on": "the loss would be over other tokens: set it under training",
    "shared_prefix": "it changes no result: set it under training",
    "gradient_checkpointing": "it changes no result: set it under training",
    "dtype": "it changes the base model: set it under training",
    "context": "trials would be shown other inputs: set it under training",
    "max_length": "trials would be measured on other examples: set it under training",
    "max_dropped": "it changes no weight: set it under training",
    "max_steps": "search num_epochs instead",
    "tokens_per_batch": "it changes no result: set it under training",
    "evals_per_epoch": "all trials are validated equally often",
    "eval_examples": "all trials are measured on the same examples: set it under training",
    "select_by": "give tune.metric",
    "early_stopping_patience": "trials are stopped by comparison with one another",
    "checkpoint_steps": "it changes no weight: set it under training",
    "keep_checkpoints": "it changes no weight: set it under training",
}
_LORA = ("lora", "qlora", "dora")
METHODS_OF = {  # settings that not every method has
    "lora_r": _LORA,
    "lora_alpha": _LORA,
    "lora_dropout": _LORA,
    "lora_rank_stabilised": _LORA,
    "loraplus_lr_ratio": _LORA,
    "qlora_init": ("qlora",),
    "bottleneck_size": ("bottleneck",),
    "virtual_tokens": ("prefix_tuning", "prompt_tuning"),
}
# Settings that the loss is made of: trials with other values of them have losses that cannot be compared.
OF_THE_LOSS = ("beta", "label_smoothing", "dpo_loss", "simpo_gamma", "kto_desirable_weight", "kto_undesirable_weight")
_KEYS = ("low", "high", "log")
_FORM = "write a list of values, or {low: 1e-4, high: 1e-2, log: true}"


def tunable() -> list[str]:
    """Names of the settings that can be searched."""
    return [name for name in TrainingConfig.model_fields if name not in _NOT_SEARCHED]


def candidates(search: Mapping[str, Any]) -> dict[str, Candidates]:
    """A checked `tune.search`, by name."""
    return {
        name: Range(float(given["low"]), float(given["high"]), bool(given.get("log", False)), _whole(name))
        if isinstance(given, Mapping)
        else tuple(given)
        for name, given in search.items()
    }


def _whole(name: str) -> bool:
    return (node_at(("training", name)) or {}).get("type") == "integer"


def check_search(search: Mapping[str, Any], method: str, report: Report) -> None:
    """Report every setting that cannot be searched and every value that it cannot have."""
    for name, given in search.items():
        key = ("tune", "search", name)
        if name not in tunable():
            what = "cannot be searched" if name in _NOT_SEARCHED else "no setting of training has this name"
            report(key, what, None, _NOT_SEARCHED.get(name) or _meant(name))
        elif method not in METHODS_OF.get(name, (method,)):
            report(key, f"method {method} has no {name}", None, f"delete it, or set method: {METHODS_OF[name][0]}")
        elif isinstance(given, Mapping):
            _check_range(name, given, report)
        elif isinstance(given, list):
            _check_list(name, given, report)
        else:
            report(key, "must be a list or a range", given, _FORM)


def _meant(name: str) -> str:
    alias = ALIASES.get(name)
    if alias is not None and alias.target.removeprefix("training.") in tunable():
        return f"write {alias.target.removeprefix('training.')}"
    near = nearest(name, tunable())
    return f"did you mean {near}?" if near else f"it may be one of {', '.join(tunable())}"


def _check_list(name: str, given: list[Any], report: Report) -> None:
    key = ("tune", "search", name)
    if len(given) < 2:
        report(key, "a choice needs at least two values", given, f"name more, or set training.{name} instead")
    for index, value in enumerate(given):
        if not _allowed(name, value):
            report((*key, index), *_refusal(name, value))
        elif value in given[:index]:
            report((*key, index), "the value appears twice", value, "keep one")


def _check_range(name: str, given: Mapping[str, Any], report: Report) -> None:
    key = ("tune", "search", name)
    node = node_at(("training", name)) or {}
    for unknown in sorted(set(given) - set(_KEYS)):
        near = nearest(unknown, _KEYS) or {"min": "low", "max": "high"}.get(unknown)
        fix = f"did you mean {near}?" if near else "a range has low, high and log"
        report((*key, unknown), "unknown key", None, fix)
    if node.get("type") not in ("integer", "number"):
        report(key, f"a range is for numbers, and {name} is {expected(node)}", None, "write a list of values")
        return
    missing = [end for end in ("low", "high") if given.get(end) is None]
    for end in missing:
        report((*key, end), "is missing", None, _FORM)
    if not isinstance(given.get("log", False), bool):
        report((*key, "log"), "must be true or false", given["log"], "true: uniform in the logarithm")
    wrong = [end for end in ("low", "high") if end not in missing and not _allowed(name, given[end])]
    for end in wrong:
        report((*key, end), *_refusal(name, given[end]))
    if missing or wrong:
        return
    if not given["low"] < given["high"]:
        report(key, "low must be below high", f"{given['low']:g} to {given['high']:g}", "swap the two, or widen it")
    if given.get("log") is True and given["low"] <= 0:
        report((*key, "low"), "must be above 0 where log is true", given["low"], "raise it, or set log: false")


def _allowed(name: str, value: Any) -> bool:
    return value is not None and not isinstance(value, list | dict) and _plain(name, value) == value


def _plain(name: str, value: Any) -> Any:
    """The value as a setting, None when it is none."""
    try:
        return getattr(TrainingConfig.model_validate({name: value}), name)
    except ValidationError:
        return None


def _refusal(name: str, value: Any) -> tuple[str, Any, str]:
    node = node_at(("training", name)) or {}
    return f"training.{name} must be {expected(node)}", value, "change the value"
