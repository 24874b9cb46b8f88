"""Dropout in front of LoRA matrices (Srivastava et al. 2014): numbers are left out with a probability while training.

Layers that are computed together, such as queries, keys and values, leave out the same numbers of the rows that they
read, as in loralib by LoRA's authors. What is kept counts 1 / (1 - p) times, by way of the low-rank product's scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_STEPS = 2**16  # a probability is rounded to so many parts


def probability(layer: Any, name: str) -> float | None:
    """Of an adapter of a peft LoRA layer, while it trains; None where something else stands in dropout's place."""
    module = layer.lora_dropout[name]
    if isinstance(module, torch.nn.Identity):
        return 0.0
    if type(module) is not torch.nn.Dropout:
        return None
    p: float = round(module.p * _STEPS) / _STEPS
    return p if p < 1 else None


def drawn(rows: Tensor, p: float) -> Tensor:
    """1 where a number of rows is kept, else 0: int8, of rows' shape, from PyTorch's generator of their device."""
    if rows.device.type != "cpu":
        return torch.empty_like(rows, dtype=torch.bool).bernoulli_(1 - p).view(torch.int8)
    # Four numbers from each draw of 64 bits: bernoulli_ takes four times as long.
    count = rows.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    return (bits >= round(p * _STEPS) - _STEPS // 2).view(torch.int8).view(rows.shape)


def without(rows: Tensor, kept: Tensor | None) -> Tensor:
    """rows [T, n] with 0 for what is left out."""
    return rows if kept is None else torch.mul(rows, kept.to(rows.dtype))
