"""Tables of peers' names for our settings: which is ours, which changes nothing, which has no counterpart.

config/names.py reads a task file with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


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


def _history_masked(value: Any) -> Any:
    return {True: "last", False: "all"}.get(value, value) if isinstance(value, bool) else value


def _assistant_only(value: Any) -> Any:
    if value is True:
        return "all"
    raise ValueError("prompts are never trained on; use training.train_on: last or all")


def _roles(value: Any) -> Any:
    if value in (["assistant"], "assistant"):
        return "all"
    raise ValueError("only the assistant's turns can be trained on")


def _bf16(value: Any) -> Any:
    return {True: "bfloat16", False: "float32"}.get(value, value) if isinstance(value, bool) else value


def _fp16(value: Any) -> Any:
    if value is True:
        return "float16"
    raise ValueError("true is float16; for another format set training.dtype")


_OPTIMIZERS = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf"), "adamw"),
    **dict.fromkeys(("adamw_bnb_8bit", "paged_adamw_8bit"), "adamw_8bit"),
}

# Peers' values of settings that have the same name here.
_VALUES = {"optimizer": _OPTIMIZERS}


def peers_value(name: str, value: Any) -> Any:
    """What a peer's value of our setting `name` is called here; any other value as it is."""
    known = _VALUES.get(name, {})
    return known.get(value, value) if isinstance(value, str) else value


def _optimizer(value: Any) -> Any:
    return peers_value("optimizer", value)


def _fsdp(value: Any) -> Any:
    """transformers' words: full_shard cuts everything, shard_grad_op all but the weights; what follows ("auto_wrap")
    is how, which Burnish knows."""
    if value in (False, "", []):
        return "none"
    words = value.split() if isinstance(value, str) else value
    if value is True or (isinstance(words, list) and "full_shard" in words):
        return "fsdp"
    if isinstance(words, list) and "shard_grad_op" in words:
        return "shard_grad_op"
    raise ValueError("only full_shard and shard_grad_op have a counterpart: set training.sharding: fsdp, or none")


def _stage(value: Any) -> Any:
    if value in ("sft", "dpo", "kto"):
        return value
    raise ValueError("only the stages sft, dpo and kto have a counterpart")


def _trackers(value: Any) -> Any:
    if value in (None, "none", "None", ["none"]):
        return []
    if value in ("all", ["all"]):
        raise ValueError("name the trackers, for example [tensorboard, wandb]")
    return [value] if isinstance(value, str) else value


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
    "report_to": Alias("trackers", f"{_TRL}, {_FACTORY}, transformers", _trackers),
    "n_trials": Alias("tune.trials", "optuna"),
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
    "num_virtual_tokens": Alias("training.virtual_tokens", "PEFT"),
    "stage": Alias("training.objective", _FACTORY, _stage),
    "pref_beta": Alias("training.beta", _FACTORY),
    "rl_beta": Alias("training.beta", _AXOLOTL),
    "orpo_alpha": Alias("training.beta", _AXOLOTL),
    "dpo_label_smoothing": Alias("training.label_smoothing", f"{_FACTORY}, {_AXOLOTL}"),
    "desirable_weight": Alias("training.kto_desirable_weight", _TRL),
    "undesirable_weight": Alias("training.kto_undesirable_weight", _TRL),
    "kto_chosen_weight": Alias("training.kto_desirable_weight", _FACTORY),
    "kto_rejected_weight": Alias("training.kto_undesirable_weight", _FACTORY),
    "max_train_steps": Alias("training.max_steps", "accelerate"),
    "save_steps": Alias("training.checkpoint_steps", f"{_AXOLOTL}, {_FACTORY}, {_TRL}"),
    "save_total_limit": Alias("training.keep_checkpoints", f"{_AXOLOTL}, {_FACTORY}, {_TRL}"),
    "activation_checkpointing": Alias("training.gradient_checkpointing", _TRL),
    "mask_history": Alias("training.train_on", _FACTORY, _history_masked),
    "assistant_only_loss": Alias("training.train_on", _TRL, _assistant_only),
    "roles_to_train": Alias("training.train_on", _AXOLOTL, _roles),
    "bf16": Alias("training.dtype", f"{_AXOLOTL}, {_FACTORY}, {_TRL}", _bf16),
    "fp16": Alias("training.dtype", f"{_AXOLOTL}, {_FACTORY}, {_TRL}", _fp16),
    "torch_dtype": Alias("training.dtype", _TRL),
    "optim": Alias("training.optimizer", f"{_FACTORY}, {_TRL}, transformers", _optimizer),
    "fsdp": Alias("training.sharding", f"{_AXOLOTL}, {_FACTORY}, {_TRL}", _fsdp),
}

# One name for the objective or for the form of DPO's loss, whatever the value means.
LOSSES = {"loss_type": _TRL, "pref_loss": _FACTORY, "rl": _AXOLOTL}

# Names whose one value says what Burnish does anyway; any other value is an error.
ALREADY: dict[str, tuple[Any, str]] = {
    "train_on_inputs": (False, "only answers are trained on"),
    "train_on_prompt": (False, "only answers are trained on"),
    "completion_only_loss": (True, "only answers are trained on"),
    "load_in_8bit": (False, "the 4-bit weights of method qlora are the only quantised ones"),
    "fp16": (False, "float16 is used where training.dtype says so"),
    "packing": (False, "batches are filled by training.tokens_per_batch"),
    "sample_packing": (False, "batches are filled by training.tokens_per_batch"),
    "do_train": (True, "`burnish run` trains"),
}

# Names without a counterpart, with what to do instead.
REFUSED: dict[str, str] = {
    "warmup_steps": "give training.warmup_ratio, the share of steps that warm up",
    "datasets": "list the task's files under data: [a.jsonl, b.jsonl], other data sets under mixture",
    "interleave_probs": "give each data set under mixture a weight or a share",
    "mix_strategy": "delete it: the data sets under mixture have weights or shares",
    "chat_template": "delete it: the model's own chat template is used",
    "template": "delete it: the model's own chat template is used",
    "output_dir": "delete it: runs go to the runs folder (`burnish run --runs-dir DIR`)",
    "deepspeed": "set training.sharding: fsdp, which cuts weights as ZeRO stage 3 does, or shard_grad_op (stage 2)",
    "fsdp_config": "delete it: training.sharding: fsdp needs no more",
    "suffix": "use name: it names the run folders",
}
