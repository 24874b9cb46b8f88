"""Kahneman-Tversky optimisation: single answers marked desirable or not, measured from a reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from burnish.models.layout import Batch
from burnish.training.objectives.base import Item, Loss, Objective, Score, item_weights, reference_sums, sequence_sums


def kto_loss(
    rewards_I: Tensor,
    desirable_I: Tensor,
    *,
    point: float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Loss of each answer [I] (Ethayarajh et al. 2024, equation 8).

    rewards_I: log π(answer) - log ref(answer); point: the reference point z₀, an estimate of KL(π‖ref);
    λ_D·(1 - σ(β·(reward - z₀))) where desirable, λ_U·(1 - σ(β·(z₀ - reward))) elsewhere.
    """
    signs_I = torch.where(desirable_I, 1.0, -1.0)
    weights_I = torch.where(desirable_I, desirable_weight, undesirable_weight)
    return weights_I * (1 - torch.sigmoid(signs_I * beta * (rewards_I - point)))


def reference_point(items: Sequence[Item], score: Score) -> float:
    """z₀ = max(0, mean of log π - log ref over the mismatched answers of a step), section 4.2."""
    found = score([item.sequences[1] for item in items])
    return max(0.0, sum(value - item.reference[1] for value, item in zip(found, items, strict=True)) / len(items))


def kto(*, beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Objective:
    """Two sequences an item: the answer to its prompt, and another row's answer to it, which estimates the KL."""

    def loss(losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float) -> Loss:
        sums_S, _ = sequence_sums(losses_N, batch)
        rewards_I = sums_S - reference_sums(items, sums_S)[:, 0]
        desirable_I = torch.tensor([item.desirable for item in items], device=rewards_I.device)
        losses_I = kto_loss(
            rewards_I,
            desirable_I,
            point=shared,
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )
        weights_I = item_weights(items, losses_I)
        above_I = (rewards_I.detach() > shared) == desirable_I
        sums = {
            "reward_accuracy": (above_I * weights_I).sum(),
            "kl": (weights_I * shared).sum(),
        }
        return Loss((losses_I * weights_I).sum() / normaliser, sums)

    return Objective("kto", loss, trained=1, needs_reference=True, before_step=reference_point)
