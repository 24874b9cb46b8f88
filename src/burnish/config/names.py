"""Peers' names for our settings: read as ours with a one-line notice.

A peer's flat file can be pasted: every name is understood at the top level and under training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from burnish.config.aliases import ALIASES, ALREADY, LOSSES, REFUSED, Alias, peers_value
from burnish.config.rates import default_learning_rate
from burnish.config.settings import TaskConfig
from burnish.config.training import TrainingConfig
from burnish.config.yaml_tree import Key, Tree, dotted
from burnish.errors import Problem, shorten

_LOSS_OBJECTIVES = {"dpo": "dpo", "orpo": "orpo", "simpo": "simpo", "kto": "kto", "kto_pair": "kto"}

_MICRO = ("micro_batch_size", "per_device_train_batch_size")
_ACCUMULATION = "gradient_accumulation_steps"
_MULTIPLIER = "learning_rate_multiplier"
_METHOD_NAMES = ("method", "adapter", "finetuning_type")
_FOUR_BITS = {"load_in_4bit": (True, False), "quantization_bit": (4, None)}  # name -> the values for yes and for no
_AUTO = {"n_epochs": "num_epochs", "batch_size": "batch_size", _MULTIPLIER: "learning_rate", "beta": "beta"}

_TOP = {info.alias or name for name, info in TaskConfig.model_fields.items()}
_TRAINING = set(TrainingConfig.model_fields)
_HANDLED = {*_MICRO, _ACCUMULATION, _MULTIPLIER, *_FOUR_BITS, *LOSSES, *ALIASES, *ALREADY, *REFUSED}
ALL_NAMES: frozenset[str] = frozenset(_HANDLED)


class _Claim(NamedTuple):
    """A value given under a peer's name."""

    key: Key
    value: Any
    notice: str


@dataclass(slots=True)
class _Renaming:
    """What renaming found; claims are by our name."""

    tree: Tree
    claims: dict[str, list[_Claim]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    origin: dict[Key, Key] = field(default_factory=dict)

    def claim(self, target: str, key: Key, value: Any, notice: str | None = None) -> None:
        notice = notice or f"{dotted(key)} is read as {target}"
        self.claims.setdefault(target, []).append(_Claim(key, value, notice))

    def problem(self, key: Key, what: str, got: Any, fix: str) -> None:
        place = self.tree.places.get(key)
        file, line = (place.file, place.line) if place else ("", 0)
        shown = "" if got is None else place.text if place and place.text else shorten(got)
        self.tree.problems.append(Problem(file, line, dotted(key), what, shown, fix))


class Renamed(NamedTuple):
    """values: with our names only. origin: our key -> the key the user wrote. notices: one line a name."""

    values: dict[str, Any]
    origin: dict[Key, Key]
    notices: list[str]


def rename(tree: Tree) -> Renamed:
    """Read peers' names as ours; mistakes are added to tree.problems. `tree.values` is not changed."""
    work = _Renaming(tree)
    values: dict[str, Any] = dict(tree.values)
    training = values.get("training")
    if isinstance(training, Mapping):
        values["training"] = training = dict(training)
    hyperparameters = values.get("hyperparameters")
    if isinstance(hyperparameters, Mapping):  # OpenAI's section
        del values["hyperparameters"]
        _collect(work, dict(hyperparameters), ("hyperparameters",), _TRAINING, loose=True)
    _collect(work, values, (), _TOP, loose=True)
    if isinstance(training, dict):
        _collect(work, training, ("training",), _TRAINING, loose=False)
    _place(work, values)
    return Renamed(values, work.origin, work.notices)


def _collect(work: _Renaming, section: dict[str, Any], prefix: Key, native: set[str], *, loose: bool) -> None:
    """Take the names that are not `native` out of `section` into claims. loose: training's own names move, too."""
    batch: dict[str, Any] = {}
    for name in list(section):
        key: Key = (*prefix, name)
        value = section[name]
        if name in _AUTO and value == "auto":
            del section[name]
            info = TrainingConfig.model_fields[_AUTO[name]]
            default = _default_rate(work) if info.default is None else info.default
            work.notices.append(f"{dotted(key)}: auto keeps the default training.{_AUTO[name]} ({default:g})")
        elif name in native and prefix != ("hyperparameters",):
            ours = peers_value(name, value)
            if ours != value:
                section[name] = ours
                work.notices.append(f"{dotted(key)}: {value} is read as {ours}")
        elif name in (*_MICRO, _ACCUMULATION):
            batch[name] = section.pop(name)
        elif name == _MULTIPLIER:
            _multiply_rate(work, key, section.pop(name))
        elif name in _FOUR_BITS:
            _four_bits(work, key, section.pop(name))
        elif name in ALREADY and (name not in ALIASES or value == ALREADY[name][0]):
            _already(work, key, section.pop(name))
        elif name in ALIASES:
            _alias(work, key, ALIASES[name], section.pop(name))
        elif name in LOSSES:
            _loss(work, key, section.pop(name))
        elif name in REFUSED:
            del section[name]
            work.problem(key, "has no counterpart here", value, REFUSED[name])
        elif loose and name in _TRAINING and name != "prompt":
            work.claim(f"training.{name}", key, peers_value(name, section.pop(name)))
        elif prefix == ("hyperparameters",):
            work.problem(
                key, "unknown key", value, "known here: n_epochs, batch_size, learning_rate_multiplier, beta"
            )
    _batch(work, batch, prefix)


def _alias(work: _Renaming, key: Key, alias: Alias, value: Any) -> None:
    if alias.convert is not None:
        try:
            value = alias.convert(value)
        except ValueError as error:
            work.problem(key, "cannot be read", value, str(error))
            return
    work.claim(alias.target, key, value)


def _loss(work: _Renaming, key: Key, value: Any) -> None:
    """A loss by its name elsewhere: the objective, or the form of DPO's."""
    shown = value if isinstance(value, str) else shorten(value)
    if not isinstance(value, str) or value not in ("sigmoid", "ipo", *_LOSS_OBJECTIVES):
        fix = "known here: sigmoid, ipo, orpo, simpo, kto; or set training.objective"
        work.problem(key, "cannot be read", shown, fix)
    elif value in _LOSS_OBJECTIVES:
        ours = f"training.objective: {_LOSS_OBJECTIVES[value]}"
        work.claim("training.objective", key, _LOSS_OBJECTIVES[value], f"{dotted(key)}: {value} is read as {ours}")
    else:
        work.claim("training.dpo_loss", key, value)


def _already(work: _Renaming, key: Key, value: Any) -> None:
    wanted, sentence = ALREADY[str(key[-1])]
    if value == wanted:
        shown = str(wanted).lower() if isinstance(wanted, bool) else wanted
        work.notices.append(f"{dotted(key)}: {shown} changes nothing: {sentence}")
    else:
        work.problem(key, "cannot be had here", value, f"delete it: {sentence}")


def _given(work: _Renaming, names: tuple[str, ...]) -> Any:
    """The first value that the file gives under one of the names, in training or at the top level."""
    section = work.tree.values.get("training")
    places = [section, work.tree.values] if isinstance(section, Mapping) else [work.tree.values]
    return next((place[name] for place in places for name in names if name in place), None)


def _default_rate(work: _Renaming) -> float:
    method, model = _given(work, _METHOD_NAMES), _given(work, ("model", "base_model", "model_name_or_path"))
    return default_learning_rate(str(method or "lora"), str(model or ""))


def _four_bits(work: _Renaming, key: Key, value: Any) -> None:
    """Others name LoRA and its 4-bit base apart; here both are method qlora."""
    yes, no = _FOUR_BITS[str(key[-1])]
    method = _given(work, _METHOD_NAMES)
    if value == no or (value == yes and method == "qlora"):
        shown = {None: "null"}.get(value, str(value).lower())
        why = "method qlora has 4-bit weights" if value == yes else "only method qlora has 4-bit weights"
        work.notices.append(f"{dotted(key)}: {shown} changes nothing: {why}")
    elif value == yes and method is None:
        work.claim("training.method", key, "qlora", f"{dotted(key)} is read as training.method (qlora)")
    else:
        work.problem(key, "cannot be had here", value, "write training.method: qlora, which has 4-bit weights")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _batch(work: _Renaming, given: dict[str, Any], prefix: Key) -> None:
    """micro batch x accumulation = examples an optimizer step."""
    if not given:
        return
    wrong = [name for name, value in given.items() if not _is_count(value)]
    for name in wrong:
        work.problem((*prefix, name), "must be a whole number of 1 or more", given[name], f"for example {name}: 4")
    micro = [name for name in _MICRO if name in given]
    steps = given.get(_ACCUMULATION)
    if len(micro) > 1:
        work.problem((*prefix, micro[1]), f"says the same as {micro[0]}", given[micro[1]], "keep one of the two")
    elif not micro:
        fix = "give training.batch_size, the examples of a whole optimizer step, instead"
        work.problem((*prefix, _ACCUMULATION), "says nothing without micro_batch_size", steps, fix)
    elif not wrong:
        key: Key = (*prefix, micro[0])
        notice = None
        if steps is not None:
            product = f"{given[micro[0]]} x {steps} = {given[micro[0]] * steps}"
            notice = f"{micro[0]} x {_ACCUMULATION} is read as training.batch_size ({product})"
        work.claim("training.batch_size", key, given[micro[0]] * (steps or 1), notice)


def _multiply_rate(work: _Renaming, key: Key, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        work.problem(key, "must be a number above 0", value, "for example learning_rate_multiplier: 2")
        return
    default = _default_rate(work)
    rate = default * value
    notice = f"{dotted(key)} is read as training.learning_rate ({value:g} x {default:g} = {rate:g})"
    work.claim("training.learning_rate", key, rate, notice)


def _place(work: _Renaming, values: dict[str, Any]) -> None:
    """Put the claimed values where they belong; a name given twice is a problem."""
    objectives = work.claims.get("training.objective", [])
    if any(claim.key[-1] in LOSSES for claim in objectives):  # LLaMA-Factory's stage dpo holds all losses on pairs
        objectives[:] = [claim for claim in objectives if (claim.key[-1], claim.value) != ("stage", "dpo")]
    formats = work.claims.get("training.dtype", [])
    if any(claim.key[-1] == "fp16" for claim in formats):  # beside it, bf16: false says no more
        formats[:] = [claim for claim in formats if (claim.key[-1], claim.value) != ("bf16", "float32")]
    for target, claims in work.claims.items():
        parts = tuple(target.split("."))
        key, value, notice = claims[0]
        native = _lookup(values, parts)
        rivals = ([parts] if native else []) + [claim.key for claim in claims]
        for other in rivals[1:]:
            first = work.tree.places.get(rivals[0])
            at = f" (line {first.line})" if first and first.line else ""
            what = f"says the same as {dotted(rivals[0])}{at}: both set {target}"
            work.problem(other, what, None, "keep one of the two")
        if native or not _store(work, values, parts, key, value):
            continue
        work.origin[parts] = key
        work.notices.append(notice)


def _lookup(values: Mapping[str, Any], parts: tuple[str, ...]) -> bool:
    node: Any = values
    for part in parts[:-1]:
        node = node.get(part) if isinstance(node, Mapping) else None
    return isinstance(node, Mapping) and parts[-1] in node


def _store(work: _Renaming, values: dict[str, Any], parts: tuple[str, ...], key: Key, value: Any) -> bool:
    if len(parts) == 1:
        values[parts[0]] = value
        return True
    section = values.get(parts[0])
    if section is None:
        section = {}
    if parts[0] == "data" and isinstance(section, str | list):
        if parts[1] == "train":
            work.problem(key, "says the same as data: both set data.train", value, "keep one of the two")
            return False
        section = {"train": section}
    if not isinstance(section, Mapping):
        return False  # the section itself is wrong and is reported
    values[parts[0]] = {**section, parts[1]: value}
    return True
