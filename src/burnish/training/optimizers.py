"""Optimizers: AdamW with moments in 32 or in 8 bits, and LoRA+'s two rates. Their state as tensors, and back.

Heavy imports are inside the functions: the check for a missing package comes before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from burnish.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Kind = Literal["adamw", "adamw_8bit"]

# The key of a parameter group that holds its rate as a multiple of the schedule's.
_RATIO = "rate_ratio"
# bitsandbytes keeps its two tables of 256 values, alike for all parameters, in every parameter's state.
_TABLES = {"qmap1": "dynamic", "qmap2": "udynamic"}


def require_optimizer(kind: Kind) -> None:
    """Raise ConfigError, with the command that installs it, when the optimizer's package is missing."""
    if kind == "adamw_8bit" and find_spec("bitsandbytes") is None:
        raise ConfigError(
            "8-bit moments need bitsandbytes, which is not installed",
            got=kind,
            where="training.optimizer",
            fix='pip install "burnish[quantised]", or train with optimizer: adamw',
        )


def make_optimizer(
    named: Iterable[tuple[str, Tensor]],
    *,
    kind: Kind,
    rate: float,
    weight_decay: float,
    b_ratio: float | None = None,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) of the parameters that need a gradient.

    adamw_8bit: moments in 8 bits, in blocks of 256 numbers with a scale each (Dettmers et al. 2022); those of
    tensors with fewer than 4,096 numbers stay in 32 bits.
    b_ratio: LoRA's B matrices learn at this times the rate of all else (LoRA+, Hayou et al. 2024, section 5: λ).
    Raises ConfigError when bitsandbytes is needed and missing.
    """
    require_optimizer(kind)
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    ratio = 1.0 if b_ratio is None else b_ratio
    apart = [ratio != 1 and is_b_matrix(name) for name, _ in trained]
    groups: list[dict[str, Any]] = []
    for of_b, times in ((False, 1.0), (True, ratio)):
        chosen = [parameter for (_, parameter), is_b in zip(trained, apart, strict=True) if is_b == of_b]
        if chosen:
            groups.append({"params": chosen, "lr": rate * times, _RATIO: times})
    if kind == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit

        made: torch.optim.Optimizer = AdamW8bit(groups, lr=rate, weight_decay=weight_decay)
        return made
    from torch.optim import AdamW

    return AdamW(groups, lr=rate, weight_decay=weight_decay, fused=True)


def is_b_matrix(name: str) -> bool:
    """Whether a parameter's name is that of LoRA's B: [out, r], zero in the beginning."""
    return bool({"lora_B", "lora_embedding_B"} & set(name.split(".")))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate for the next step; each group's own is a fixed multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_RATIO, 1.0)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as whole tensors on the CPU, named by parameter number: "00003.exp_avg"."""
    import torch

    from burnish.models.whole import whole

    tensors: dict[str, Tensor] = {}
    for i, parameter in enumerate(parameters_of(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if name in _TABLES:
                continue
            held = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(value)
            tensors[f"{i:05d}.{name}"] = whole(held).cpu().contiguous()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the state of `optimizer_tensors` back."""
    from burnish.models.whole import as_held

    parameters = parameters_of(optimizer)
    tables = getattr(optimizer, "name2qmap", None)
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        state = optimizer.state[parameter]
        if tables is not None and key == "step":
            state[key] = int(value)
        else:
            alike = value.shape == parameter.shape
            state[key] = as_held(value, parameter) if alike else value.to(parameter.device)
        if tables is not None and key == "absmax1":
            state |= {table: tables[kind].to(parameter.device) for table, kind in _TABLES.items()}
