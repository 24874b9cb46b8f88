"""Tensors that several processes hold in parts, and the whole ones they stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROUNDED = "burnish_rounded_to"


def computes_in(model: Any, dtype: torch.dtype) -> None:
    """Note that the weights of a model are rounded to that number format as they are gathered."""
    model.__dict__[_ROUNDED] = dtype


def as_computed(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model that rounds them as it gathers them, rounded; those of others as they are."""
    dtype = model.__dict__.get(_ROUNDED)
    return state if dtype is None else {name: tensor.to(dtype) for name, tensor in state.items()}


def computing(model: Any) -> Tensor:
    """An empty tensor in the number format that a model computes in, on the device of its head."""
    weight = model.get_output_embeddings().weight
    dtype = model.__dict__.get(_ROUNDED, weight.dtype)
    return torch.empty(0, dtype=dtype, device=weight.device)


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
