"""Simple preference optimisation: mean log-probabilities a token as rewards, without a reference model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.models.layout import Batch
from burnish.training.objectives.base import Item, Loss, Objective, item_weights, sequence_sums


def simpo_loss(chosen_I: Tensor, rejected_I: Tensor, *, beta: float, gamma: float) -> Tensor:
    """Loss of each pair [I]: -log σ(β·(chosen - rejected) - γ) (Meng et al. 2024, equation 6).

    chosen_I, rejected_I: mean log-probability a token of each answer.
    """
    return -logsigmoid(beta * (chosen_I - rejected_I) - gamma)


def simpo(*, beta: float = 2.0, gamma: float = 1.0) -> Objective:
    """Two sequences an item: chosen, rejected. No reference model."""

    def loss(losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float) -> Loss:
        sums_S, counts_S = sequence_sums(losses_N, batch)
        means_I2 = (sums_S / counts_S).view(-1, 2)
        losses_I = simpo_loss(means_I2[:, 0], means_I2[:, 1], beta=beta, gamma=gamma)
        weights_I = item_weights(items, losses_I)
        margins_I = beta * (means_I2[:, 0] - means_I2[:, 1]).detach()
        sums = {
            "reward_accuracy": ((margins_I > 0) * weights_I).sum(),
            "reward_margin": (margins_I * weights_I).sum(),
        }
        return Loss((losses_I * weights_I).sum() / normaliser, sums)

    return Objective("simpo", loss, trained=2)
