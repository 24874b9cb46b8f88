"""Supervised fine-tuning: cross-entropy of the answer's tokens."""

from __future__ import annotations

from torch import Tensor


def sft_loss(losses_N: Tensor, weights_N: Tensor, normaliser: float) -> Tensor:
    """Weighted sum of token losses over `normaliser`.

    losses_N: -log probability of the N labelled tokens; weights_N: of their examples.
    normaliser: the labelled weight of the whole optimizer step, so that micro-batches add up to the loss of one
    large batch (and not to a mean of means).
    """
    return (losses_N * weights_N).sum() / normaliser
