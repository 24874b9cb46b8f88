"""Direct preference optimisation: the chosen answer more likely than the rejected one, measured from a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.models.layout import Batch
from burnish.training.objectives.base import Item, Loss, Objective, item_weights, reference_sums, sequence_sums


def dpo_loss(
    margins_I: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    kind: Literal["sigmoid", "ipo"] = "sigmoid",
) -> Tensor:
    """Loss of each pair [I].

    margins_I: (log π(chosen) - log ref(chosen)) - (log π(rejected) - log ref(rejected)).
    sigmoid: -log σ(β·margin) (Rafailov et al. 2023, equation 7); label_smoothing ε: the probability that a pair's
        labels are swapped, (1 - ε)·loss(margin) + ε·loss(-margin) (Mitchell 2023, "conservative DPO").
    ipo: (margin - 1 / (2β))² (Azar et al. 2023, equation 17), on margins of mean log-probabilities a token.
    """
    if kind == "ipo":
        return (margins_I - 1 / (2 * beta)).square()
    scaled = beta * margins_I
    return -(1 - label_smoothing) * logsigmoid(scaled) - label_smoothing * logsigmoid(-scaled)


def dpo(*, beta: float = 0.1, label_smoothing: float = 0.0, kind: Literal["sigmoid", "ipo"] = "sigmoid") -> Objective:
    """Two sequences an item: chosen, rejected. They share their prompt, which is computed once."""

    def loss(losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float) -> Loss:
        sums_S, counts_S = sequence_sums(losses_N, batch)
        ratios_I2 = sums_S.view(-1, 2) - reference_sums(items, sums_S)
        if kind == "ipo":
            ratios_I2 = ratios_I2 / counts_S.view(-1, 2)
        margins_I = ratios_I2[:, 0] - ratios_I2[:, 1]
        losses_I = dpo_loss(margins_I, beta=beta, label_smoothing=label_smoothing, kind=kind)
        weights_I = item_weights(items, losses_I)
        rewards_I2 = beta * ratios_I2.detach()
        sums = {
            "reward_accuracy": ((rewards_I2[:, 0] > rewards_I2[:, 1]) * weights_I).sum(),
            "reward_margin": ((rewards_I2[:, 0] - rewards_I2[:, 1]) * weights_I).sum(),
            "reward_chosen": (rewards_I2[:, 0] * weights_I).sum(),
            "reward_rejected": (rewards_I2[:, 1] * weights_I).sum(),
        }
        return Loss((losses_I * weights_I).sum() / normaliser, sums)

    return Objective("dpo", loss, trained=2, needs_reference=True)
