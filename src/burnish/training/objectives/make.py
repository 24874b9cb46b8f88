"""From names and numbers of the task file to an objective."""

from __future__ import annotations

from typing import Literal, get_args

from burnish.training.objectives.base import Objective
from burnish.training.objectives.dpo import dpo
from burnish.training.objectives.kto import kto
from burnish.training.objectives.orpo import orpo
from burnish.training.objectives.sft import sft
from burnish.training.objectives.simpo import simpo

ObjectiveName = Literal["sft", "dpo", "orpo", "kto", "simpo"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)


def make_objective(
    name: ObjectiveName,
    *,
    beta: float | None = None,
    label_smoothing: float = 0.0,
    dpo_loss: Literal["sigmoid", "ipo"] = "sigmoid",
    simpo_gamma: float = 1.0,
    kto_desirable_weight: float = 1.0,
    kto_undesirable_weight: float = 1.0,
) -> Objective:
    """beta None: the paper's usual value, 2.0 for simpo (Meng et al. 2024, section 3) and 0.1 for the others."""
    usual = 2.0 if name == "simpo" else 0.1
    strength = usual if beta is None else beta
    if name == "dpo":
        return dpo(beta=strength, label_smoothing=label_smoothing, kind=dpo_loss)
    if name == "orpo":
        return orpo(beta=strength)
    if name == "simpo":
        return simpo(beta=strength, gamma=simpo_gamma)
    if name == "kto":
        return kto(beta=strength, desirable_weight=kto_desirable_weight, undesirable_weight=kto_undesirable_weight)
    return sft()
