"""Supervised fine-tuning: cross-entropy of the answer's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from burnish.models.layout import Batch
from burnish.training.objectives.base import Item, Loss, Objective, item_weights


def sft_loss(losses_N: Tensor, weights_N: Tensor, normaliser: float) -> Tensor:
    """Weighted sum of token losses over `normaliser`.

    losses_N: -log probability of the N labelled tokens; weights_N: of the tokens, their turns and examples.
    normaliser: the labelled weight of the whole optimizer step, so that micro-batches add up to the loss of one
    large batch (and not to a mean of means).
    """
    return (losses_N * weights_N).sum() / normaliser


def sft() -> Objective:
    """One sequence an item."""

    def loss(losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float) -> Loss:
        weights_N = batch.weights_N * item_weights(items, batch.weights_N)[batch.sequences_N]
        return Loss(sft_loss(losses_N, torch.as_tensor(weights_N, dtype=losses_N.dtype), normaliser), {})

    return Objective("sft", loss, share=lambda item: item.weight * item.sequences[0].labelled_weight)
