"""Weights cut into one part a process, for models that do not fit beside their gradients and optimizer state.

PyTorch's FSDP2 (Zhao et al. 2023; ZeRO stage 3 of Rajbhandari et al. 2020): the weights of a layer are gathered
before it computes and let go afterwards, gradients are summed and cut in the backward pass, and the optimizer sees
its own part alone. With `whole` (ZeRO stage 2) weights are gathered once a step and stay until its end, and what is
not trained is never cut. Trained weights in 16 bits are cut in float32, and rounded as they are gathered. What is
saved and loaded are always whole tensors, so checkpoints are those of one process.
"""

from __future__ import annotations

from typing import Any

import torch

from burnish.models.whole import computes_in
from burnish.training.split_weights import widen


def shard(model: Any, device: str, *, whole: bool = False) -> None:
    """Cut the parameters of `model`, layer by layer, over all processes; they become DTensors on `device`.

    whole: gathered weights stay until `settle`, which has to follow each step of the optimizer.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    rounded = widen([parameter for parameter in model.parameters() if parameter.requires_grad])
    policy = MixedPrecisionPolicy(rounded, torch.float32) if rounded else MixedPrecisionPolicy()
    if rounded:
        computes_in(model, rounded)
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    frozen = {parameter for parameter in model.parameters() if not parameter.requires_grad}
    let_go = False if whole else None  # None: all but the outermost
    for module in (*_layers(model), model):
        fully_shard(
            module,
            mesh=mesh,
            reshard_after_forward=let_go,
            mp_policy=policy,
            ignored_params=frozen if whole else None,
        )
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Losses are divided by the whole step already: gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            module.set_reshard_after_backward(not whole, recurse=False)


def _layers(model: Any) -> list[torch.nn.Module]:
    """The decoder layers: the longest list of modules of one class."""
    lists = [list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    alike = [layers for layers in lists if len({type(layer) for layer in layers}) == 1]
    return max(alike, key=len, default=[])


def settle(model: Any) -> None:
    """Leave only its own part of each weight in this process, as between steps."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
