"""Tensors that several processes hold in parts, and the whole ones they stand for."""

from __future__ import annotations

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor; of a part (a DTensor) it is gathered, which all processes must do together."""
    gather = getattr(tensor, "full_tensor", None)
    found: Tensor = tensor if gather is None else gather()
    return found


def as_held(value: Tensor, like: Tensor) -> Tensor:
    """A full tensor in the way that `like` is held: on its device, cut where it is cut. No exchange is needed."""
    if not hasattr(like, "full_tensor"):
        return value.to(like.device)
    from torch.distributed.tensor import DTensor, Shard

    mesh, (placement,) = like.device_mesh, like.placements  # type: ignore[attr-defined]
    own = value.to(like.device)
    if isinstance(placement, Shard):
        parts = own.chunk(mesh.size(), dim=placement.dim)
        rank = mesh.get_local_rank()
        own = parts[rank] if rank < len(parts) else own.narrow(placement.dim, 0, 0)
    part: Tensor = DTensor.from_local(
        own.contiguous(), mesh, (placement,), run_check=False, shape=value.shape, stride=value.contiguous().stride()
    )
    return part


def put(target: Tensor, value: Tensor) -> None:
    """Copy a full tensor into a parameter, whole or held in parts."""
    with torch.no_grad():
        target.copy_(as_held(value, target))
