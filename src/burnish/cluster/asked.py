"""What `accelerate launch` asks for beside processes: how weights are cut over them.

Its FSDP and DeepSpeed settings reach the processes as environment variables. What they mean (which of weights,
gradients and optimizer states each process holds a part of) is done by `training.sharding`; DeepSpeed's own engine,
which would own the optimizer and the backward pass, is not used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from burnish.errors import RunError

_ENGINES = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
_YES = ("1", "true", "yes")
_STRATEGIES = {
    "1": "fsdp",
    "FULL_SHARD": "fsdp",
    "2": "shard_grad_op",
    "SHARD_GRAD_OP": "shard_grad_op",
    "3": "none",
    "NO_SHARD": "none",
}
_STAGES = {"0": "none", "1": "shard_grad_op", "2": "shard_grad_op", "3": "fsdp"}
_IN_MEMORY = "turn offloading off; more processes, method: lora or gradient_checkpointing take less memory"


class Asked(NamedTuple):
    """sharding: the value of training.sharding that does it. words: what was asked, in accelerate's terms."""

    sharding: str
    words: str


@contextmanager
def taken_over(environment: MutableMapping[str, str] = os.environ) -> Iterator[Asked | None]:
    """`asked_sharding`; within, transformers and accelerate do not see that anyone asked.

    They would act on it: transformers leaves the weights of all processes but the first unread.
    """
    asked = asked_sharding(environment)
    kept = {name: environment.pop(name) for name in _ENGINES if name in environment}
    try:
        yield asked
    finally:
        environment.update(kept)


def asked_sharding(environment: Mapping[str, str]) -> Asked | None:
    """What accelerate's configuration says about sharding; None where it says nothing.

    Raises RunError for what is not done: Megatron-LM, hybrid sharding, weights or optimizer states that wait in main
    memory or on disk, and a DeepSpeed configuration that cannot be read.
    """
    if _on(environment, "ACCELERATE_USE_MEGATRON_LM"):
        name = "ACCELERATE_USE_MEGATRON_LM"
        _refuse("Megatron-LM", name, environment[name], "use its FSDP (version 2) instead")
    if _on(environment, "ACCELERATE_USE_FSDP"):
        return _fsdp(environment)
    if _on(environment, "ACCELERATE_USE_DEEPSPEED"):
        return _deepspeed(environment)
    return None


def _fsdp(environment: Mapping[str, str]) -> Asked:
    if _on(environment, "FSDP_OFFLOAD_PARAMS"):
        name = "FSDP_OFFLOAD_PARAMS"
        _refuse("FSDP with weights in main memory", name, environment[name], _IN_MEMORY)
    version = environment.get("FSDP_VERSION", "1")
    if version == "2":
        whole = environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() not in _YES
        return Asked("shard_grad_op" if whole else "fsdp", "FSDP 2")
    strategy = environment.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD").upper()
    if strategy not in _STRATEGIES:
        fix = "use FULL_SHARD, SHARD_GRAD_OP or NO_SHARD"
        _refuse("this way of sharding", "FSDP_SHARDING_STRATEGY", environment["FSDP_SHARDING_STRATEGY"], fix)
    return Asked(_STRATEGIES[strategy], f"FSDP {version}, {strategy}")


def _deepspeed(environment: Mapping[str, str]) -> Asked:
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    zero = _zero_of(Path(file)) if file and file.lower() != "none" else None
    for part in ("optimizer", "param"):
        name = f"ACCELERATE_DEEPSPEED_OFFLOAD_{part.upper()}_DEVICE"
        inner = (zero or {}).get(f"offload_{part}")
        of_file = inner.get("device") if isinstance(inner, Mapping) else None
        device = str(of_file or environment.get(name) or "none").lower()
        if device != "none":
            what = f"DeepSpeed with {'optimizer states' if part == 'optimizer' else 'weights'} outside the GPU"
            _refuse(what, name, device, _IN_MEMORY)
    by_itself = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    stage = str(by_itself if zero is None else zero.get("stage", 0))
    if stage not in _STAGES:
        _refuse("this stage of ZeRO", "ACCELERATE_DEEPSPEED_ZERO_STAGE", stage, "use stage 0, 1, 2 or 3")
    return Asked(_STAGES[stage], f"DeepSpeed ZeRO stage {stage}")


def _zero_of(file: Path) -> Mapping[str, Any]:
    """`zero_optimization` of a DeepSpeed configuration."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        zero = content.get("zero_optimization", {})
        if not isinstance(zero, Mapping):
            raise ValueError("zero_optimization is no object")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"the DeepSpeed configuration that accelerate names cannot be read: {error}",
            where=str(file),
            fix="mend the file, or set training.sharding in the task file and launch with plain --multi_gpu",
        ) from None
    return zero


def _on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in _YES


def _refuse(what: str, name: str, value: str, fix: str) -> NoReturn:
    raise RunError(
        f"accelerate's configuration asks for {what}, which Burnish does not do",
        got=f"{name}={value}",
        where="environment",
        fix=f"{fix}; or set training.sharding in the task file and launch with plain --multi_gpu or torchrun",
    )
