"""Attention weights from scores."""

from __future__ import annotations

import torch
from torch import Tensor

# PyTorch's softmax of 16-bit numbers on a CPU takes those behind the last full vector one by one: rows of 56 take
# three times as long as rows of 64. By way of float32 they do not, which pays up to here (docs/log.md).
LONGEST_BY_FLOAT32 = 400
_VECTOR = 32


def attention_weights(scores: Tensor) -> Tensor:
    """softmax over the last axis: exponentials and their sum in float32 whatever the scores' format, rounded once."""
    width = scores.shape[-1]
    tail = width % _VECTOR != 0 and width < LONGEST_BY_FLOAT32
    if tail and scores.device.type == "cpu" and scores.dtype in (torch.bfloat16, torch.float16):
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
    return torch.softmax(scores, dim=-1)
