"""Peers' names for our settings: read as ours with a one-line notice.

A peer's flat file can be pasted: every name is understood at the top level and under training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from burnish.config.settings import TaskConfig, TrainingConfig
from burnish.config.yaml_tree import Key, Tree, dotted
from burnish.errors import Problem, shorten


class Alias(NamedTuple):
    """target: our dotted name. peers: who says so. convert: their value to ours; ValueError says what is wrong."""

    target: str
    peers: str
    convert: Callable[[Any], Any] | None = None


def _modules(value: Any) -> Any:
    if isinstance(value, str):
        names = [name.strip() for name in value.split(",") if name.strip()]
        return "all-linear" if names in (["all"], ["all-linear"]) else names
    return "all-linear" if value == ["all"] else value


def _all_linear(value: Any) -> Any:
    if value is True:
        return "all-linear"
    raise ValueError("only true has a counterpart: name the modules in training.lora_target_modules instead")


def _use_peft(value: Any) -> Any:
    return {True: "lora", False: "full"}.get(value, value) if isinstance(value, bool) else value


def _schedule(value: Any) -> Any:
    return "constant" if value == "constant_with_warmup" else value


def _bf16(value: Any) -> Any:
    return {True: "bfloat16", False: "float32"}.get(value, value) if isinstance(value, bool) else value


_AXOLOTL, _FACTORY, _UNSLOTH, _TRL, _OPENAI = "Axolotl", "LLaMA-Factory", "Unsloth", "TRL", "OpenAI"

ALIASES: dict[str, Alias] = {
    "base_model": Alias("model", _AXOLOTL),
    "model_name_or_path": Alias("model", f"{_FACTORY}, {_TRL}"),
    "model_name": Alias("model", _UNSLOTH),
    "model_id": Alias("model", "Together"),
    "system_prompt": Alias("instruction", _AXOLOTL),
    "default_system": Alias("instruction", _FACTORY),
    "dataset": Alias("data", _FACTORY),
    "train_file": Alias("data.train", "transformers"),
    "training_file": Alias("data.train", _OPENAI),
    "validation_file": Alias("data.validation", _OPENAI),
    "test_file": Alias("data.test", "transformers"),
    "val_set_size": Alias("split.validation", _AXOLOTL),
    "val_size": Alias("split.validation", _FACTORY),
    "test_size": Alias("split.test", "scikit-learn"),
    "classes": Alias("labels", "Ludwig"),
    "label_names": Alias("labels", "datasets"),
    "json_schema": Alias("schema", _OPENAI),
    "output_schema": Alias("schema", "Kiln"),
    "regex": Alias("pattern", "vLLM"),
    "task_type": Alias("kind", "Kiln"),
    "random_state": Alias("seed", _UNSLOTH),
    "random_seed": Alias("seed", "Ludwig"),
    "max_new_tokens": Alias("generation.max_new_tokens", f"{_FACTORY}, transformers"),
    "max_tokens": Alias("generation.max_new_tokens", _OPENAI),
    "temperature": Alias("generation.temperature", _OPENAI),
    "adapter": Alias("training.method", _AXOLOTL),
    "finetuning_type": Alias("training.method", _FACTORY),
    "use_peft": Alias("training.method", _TRL, _use_peft),
    "sequence_len": Alias("training.max_length", _AXOLOTL),
    "cutoff_len": Alias("training.max_length", _FACTORY),
    "max_seq_length": Alias("training.max_length", _UNSLOTH),
    "max_seq_len": Alias("training.max_length", "torchtune"),
    "model_max_length": Alias("training.max_length", "transformers"),
    "num_train_epochs": Alias("training.num_epochs", f"{_FACTORY}, {_TRL}"),
    "n_epochs": Alias("training.num_epochs", _OPENAI),
    "epochs": Alias("training.num_epochs", "torchtune, litgpt"),
    "lr": Alias("training.learning_rate", "torchtune"),
    "lr_scheduler_type": Alias("training.lr_scheduler", f"{_FACTORY}, {_TRL}", _schedule),
    "lora_rank": Alias("training.lora_r", _FACTORY),
    "r": Alias("training.lora_r", _UNSLOTH),
    "use_rslora": Alias("training.lora_rank_stabilised", _FACTORY),
    "peft_use_rslora": Alias("training.lora_rank_stabilised", _AXOLOTL),
    "lora_target": Alias("training.lora_target_modules", _FACTORY, _modules),
    "target_modules": Alias("training.lora_target_modules", _UNSLOTH, _modules),
    "lora_target_linear": Alias("training.lora_target_modules", _AXOLOTL, _all_linear),
    "max_train_steps": Alias("training.max_steps", "accelerate"),
    "save_steps": Alias("training.checkpoint_steps", f"{_AXOLOTL}, {_FACTORY}, {_TRL}"),
    "save_total_limit": Alias("training.keep_checkpoints", f"{_AXOLOTL}, {_FACTORY}, {_TRL}"),
    "bf16": Alias("training.dtype", f"{_AXOLOTL}, {_FACTORY}, {_TRL}", _bf16),
    "torch_dtype": Alias("training.dtype", _TRL),
}

# Names whose one value says what Burnish does anyway; any other value is an error.
ALREADY: dict[str, tuple[Any, str]] = {
    "train_on_inputs": (False, "only answers are trained on"),
    "train_on_prompt": (False, "only answers are trained on"),
    "mask_history": (True, "only the last answer is trained on"),
    "completion_only_loss": (True, "only answers are trained on"),
    "assistant_only_loss": (True, "only answers are trained on"),
    "load_in_4bit": (False, "weights are not quantised while training"),
    "load_in_8bit": (False, "weights are not quantised while training"),
    "fp16": (False, "float16 is not used"),
    "packing": (False, "batches are filled by training.tokens_per_batch"),
    "sample_packing": (False, "batches are filled by training.tokens_per_batch"),
    "do_train": (True, "`burnish run` trains"),
    "stage": ("sft", "the task's objective is sft"),
    "optim": ("adamw_torch", "the optimizer is AdamW"),
    "optimizer": ("adamw_torch", "the optimizer is AdamW"),
}

# Names without a counterpart, with what to do instead.
REFUSED: dict[str, str] = {
    "roles_to_train": "delete it: the last assistant turn is trained on; a turn's own weight: 0 leaves it out",
    "beta": "delete it: preference training is not part of this version",
    "pref_beta": "delete it: preference training is not part of this version",
    "rl_beta": "delete it: preference training is not part of this version",
    "warmup_steps": "give training.warmup_ratio, the share of steps that warm up",
    "datasets": "list the task's files under data: [a.jsonl, b.jsonl], other data sets under mixture",
    "interleave_probs": "give each data set under mixture a weight or a share",
    "mix_strategy": "delete it: the data sets under mixture have weights or shares",
    "chat_template": "delete it: the model's own chat template is used",
    "template": "delete it: the model's own chat template is used",
    "output_dir": "delete it: runs go to the runs folder (`burnish run --runs-dir DIR`)",
    "gradient_checkpointing": "delete it: lower training.tokens_per_batch when memory is short",
    "suffix": "use name: it names the run folders",
}

_MICRO = ("micro_batch_size", "per_device_train_batch_size")
_ACCUMULATION = "gradient_accumulation_steps"
_MULTIPLIER = "learning_rate_multiplier"
_AUTO = {"n_epochs": "num_epochs", "batch_size": "batch_size", _MULTIPLIER: "learning_rate"}

_TOP = {info.alias or name for name, info in TaskConfig.model_fields.items()}
_TRAINING = set(TrainingConfig.model_fields)
_HANDLED = {*_MICRO, _ACCUMULATION, _MULTIPLIER, *ALIASES, *ALREADY, *REFUSED}
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
            default = TrainingConfig.model_fields[_AUTO[name]].default
            work.notices.append(f"{dotted(key)}: auto keeps the default training.{_AUTO[name]} ({default:g})")
        elif name in native and prefix != ("hyperparameters",):
            continue
        elif name in (*_MICRO, _ACCUMULATION):
            batch[name] = section.pop(name)
        elif name == _MULTIPLIER:
            _multiply_rate(work, key, section.pop(name))
        elif name in ALIASES:
            _alias(work, key, ALIASES[name], section.pop(name))
        elif name in ALREADY:
            _already(work, key, section.pop(name))
        elif name in REFUSED:
            del section[name]
            work.problem(key, "has no counterpart here", value, REFUSED[name])
        elif loose and name in _TRAINING and name != "prompt":
            work.claim(f"training.{name}", key, section.pop(name))
        elif prefix == ("hyperparameters",):
            work.problem(key, "unknown key", value, "known here: n_epochs, batch_size, learning_rate_multiplier")
    _batch(work, batch, prefix)


def _alias(work: _Renaming, key: Key, alias: Alias, value: Any) -> None:
    if alias.convert is not None:
        try:
            value = alias.convert(value)
        except ValueError as error:
            work.problem(key, "cannot be read", value, str(error))
            return
    work.claim(alias.target, key, value)


def _already(work: _Renaming, key: Key, value: Any) -> None:
    wanted, sentence = ALREADY[str(key[-1])]
    if value == wanted:
        shown = str(wanted).lower() if isinstance(wanted, bool) else wanted
        work.notices.append(f"{dotted(key)}: {shown} changes nothing: {sentence}")
    else:
        work.problem(key, "cannot be had here", value, f"delete it: {sentence}")


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
    default = TrainingConfig.model_fields["learning_rate"].default
    rate = default * value
    notice = f"{dotted(key)} is read as training.learning_rate ({value:g} x {default:g} = {rate:g})"
    work.claim("training.learning_rate", key, rate, notice)


def _place(work: _Renaming, values: dict[str, Any]) -> None:
    """Put the claimed values where they belong; a name given twice is a problem."""
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
