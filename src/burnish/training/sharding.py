"""Weights cut into one part a process, for models that do not fit beside their gradients and optimizer state.

PyTorch's FSDP2 (Zhao et al. 2023; ZeRO stage 3 of Rajbhandari et al. 2020): the weights of a layer are gathered
before it computes and let go afterwards, gradients are summed and cut in the backward pass, and the optimizer sees
its own part alone. What is saved and loaded are always whole tensors, so checkpoints are those of one process.
"""

from __future__ import annotations

from typing import Any

import torch


def shard(model: Any, device: str) -> None:
    """Cut the parameters of `model`, layer by layer, over all processes; they become DTensors on `device`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Losses are divided by the whole step already: gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


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
