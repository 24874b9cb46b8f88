"""Odds-ratio preference optimisation: supervised fine-tuning with a penalty on the rejected answer's odds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.models.layout import Batch
from burnish.training.objectives.base import Item, Loss, Objective, item_weights, sequence_sums


def orpo_loss(chosen_I: Tensor, rejected_I: Tensor, *, beta: float) -> Tensor:
    """Loss of each pair [I], from mean log-probabilities a token (Hong et al. 2024, equations 6 and 7).

    -chosen - β·log σ(log odds(chosen) - log odds(rejected)) with odds(p) = p / (1 - p).
    """
    return -chosen_I - beta * logsigmoid(log_odds_ratio(chosen_I, rejected_I))


def log_odds_ratio(chosen_I: Tensor, rejected_I: Tensor) -> Tensor:
    """log odds(chosen) - log odds(rejected) of log-probabilities below 0, exact also where p is close to 0 or 1."""

    def log_odds(logp: Tensor) -> Tensor:
        logp = logp.clamp(max=-1e-7)  # p = 1 in float32 has no odds
        return logp - torch.log(-torch.expm1(logp))

    return log_odds(chosen_I) - log_odds(rejected_I)


def orpo(*, beta: float = 0.1) -> Objective:
    """Two sequences an item: chosen, rejected. No reference model."""

    def loss(losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float) -> Loss:
        sums_S, counts_S = sequence_sums(losses_N, batch)
        means_I2 = (sums_S / counts_S).view(-1, 2)
        losses_I = orpo_loss(means_I2[:, 0], means_I2[:, 1], beta=beta)
        weights_I = item_weights(items, losses_I)
        margins_I = log_odds_ratio(means_I2[:, 0], means_I2[:, 1]).detach()
        sums = {
            "reward_accuracy": ((margins_I > 0) * weights_I).sum(),
            "reward_margin": (beta * margins_I * weights_I).sum(),
        }
        return Loss((losses_I * weights_I).sum() / normaliser, sums)

    return Objective("orpo", loss, trained=2)
