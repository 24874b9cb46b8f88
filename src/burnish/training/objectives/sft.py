"""Supervised fine-tuning: cross-entropy of the answer's tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def sft_loss(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, normaliser: float) -> Tensor:
    """Weighted sum of token cross-entropies over `normaliser`.

    logits_NV: scores at the N labelled positions; targets_N: the tokens that follow; weights_N: of their examples.
    normaliser: the labelled weight of the whole optimizer step, so that micro-batches add up to the loss of one
    large batch (and not to a mean of means).
    """
    losses_N = torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")
    return (losses_N * weights_N).sum() / normaliser
