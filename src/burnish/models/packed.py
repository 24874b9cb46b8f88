"""Frozen weights in the layout that a processor's matrix products read.

A product of oneDNN brings its weights into blocks before it multiplies, every time. Weights that do not change can be
kept in blocks instead: a tenth off the large products of a training step in bfloat16, a third to a half off the small
ones of decoding (docs/log.md). In float32, where PyTorch would call MKL, this also is what makes processors fast that
are not Intel's. It takes memory, so it is done for models that leave enough of it.
"""

from __future__ import annotations

import functools
import os
import types
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.device import detect

SHARE = 4  # packed weights of all processes here take at most one part in so many of the memory, half of what is free
LEAST = 2**16  # numbers of a weight: below, calling oneDNN costs more than it saves
_ROWS = 256  # of a product, as a hint for the blocks' size; other numbers are as fast (docs/log.md)
_SAMPLE = 32
_KEY = "_burnish_packed"
_BITS = {2: torch.int16, 4: torch.int32}


class PackedWeight:
    """A frozen weight [out, in] in blocks: as it is, and transposed from the first backward pass on.

    It is packed at its first use, and again when it has changed: PyTorch's version counter tells of most changes, and
    a sample of its numbers of those through `.data`, which adapters are merged by. Copies of a model pack anew.
    """

    def __init__(self) -> None:
        self._same: tuple[int, int, Tensor, Tensor] | None = None  # place, version, the sample's places, its bits
        self._straight: Tensor | None = None
        self._transposed: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedWeight:
        return PackedWeight()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return PackedWeight, ()

    def times(self, rows: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None) -> Tensor:
        """rows Wᵀ + bias + residual: rows [..., in], bias [out], residual and result [..., out]."""
        self._check(weight)
        if self._straight is None:
            self._straight = _packed(weight)
        return _product(rows, self._straight, bias, residual)

    def back(self, rows: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
        """rows W + residual: rows [..., out], residual and result [..., in]."""
        self._check(weight)
        if self._transposed is None:
            self._transposed = _packed(weight.t().contiguous())
        return _product(rows, self._transposed, None, residual)

    def _check(self, weight: Tensor) -> None:
        """Let go of what was packed from other numbers than those of now."""
        if self._same is not None:
            place, version, sample, bits = self._same
            if weight.data_ptr() == place and weight._version == version and torch.equal(sample, bits):
                return
        flat = weight.detach().view(_BITS[weight.element_size()]).view(-1)
        sample = flat[:: max(1, len(flat) // _SAMPLE)]
        self._same = weight.data_ptr(), weight._version, sample, sample.clone()
        self._straight = self._transposed = None


@torch.inference_mode(False)
@torch.no_grad()
def _packed(weight: Tensor) -> Tensor:
    blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight.default(weight.detach(), _ROWS)
    return blocks


def _product(rows: Tensor, blocks: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    out: Tensor
    if residual is None:
        out = torch.ops.mkldnn._linear_pointwise.default(rows, blocks, bias, "none", [], "")
    else:
        out = torch.ops.mkldnn._linear_pointwise.binary(rows, residual, blocks, bias, "add")
    return out


def product_back(rows: Tensor, weight: Tensor, packed: PackedWeight | None, total: Tensor | None = None) -> Tensor:
    """rows W + total [T, in] of rows [T, out], plainly where there is no packed weight; total may be overwritten."""
    if packed is not None:
        return packed.back(rows, weight, total)
    return torch.mm(rows, weight) if total is None else total.addmm_(rows, weight)


class _PackedLinear(torch.autograd.Function):
    """x Wᵀ + b with gradients to x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, packed: PackedWeight) -> Tensor:
        ctx.weight, ctx.packed = weight, packed
        return packed.times(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.packed.back(gradients[0].contiguous(), ctx.weight), None, None, None


def _forward(module: Any, x: Tensor) -> Tensor:
    """torch.nn.Linear: x [..., in] to [..., out]."""
    weight, bias = module.weight, module.bias
    packed = packed_weight(module)
    another = x.dtype != weight.dtype or x.device != weight.device or torch.is_autocast_enabled("cpu")
    if packed is None or another or (bias is not None and bias.requires_grad):
        return torch.nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _PackedLinear.apply(x, weight, bias, packed)  # type: ignore[no-untyped-call]
        return out
    return packed.times(x, weight, bias)


def packed_weight(module: torch.nn.Module) -> PackedWeight | None:
    """What packs the weight of a linear layer as it is now; None where it is to be multiplied plainly."""
    packed: PackedWeight | None = module.__dict__.get(_KEY)
    weight = getattr(module, "weight", None)
    if packed is None or not isinstance(weight, Tensor) or not _fits(weight):
        return None
    return packed


def _fits(weight: Tensor) -> bool:
    """Whether products with this weight are faster packed."""
    return (
        weight.device.type == "cpu"
        and weight.numel() >= LEAST
        and not weight.requires_grad
        and weight.is_contiguous()
        and packs(weight.dtype)
    )


def pack_linear_layers(model: Any) -> int:
    """Have the frozen linear layers of a model on a CPU keep packed weights, if the memory allows; how many do.

    Call it when the weights are where they stay. Layers whose weights are trained later compute as before.
    """
    layers: list[Any] = [
        module
        for module in model.modules()
        if type(module) is torch.nn.Linear and "forward" not in module.__dict__ and _fits(module.weight)
    ]
    if sum(2 * layer.weight.nbytes for layer in layers) > packing_limit():
        return 0
    for layer in layers:
        layer.__dict__[_KEY] = PackedWeight()
        layer.forward = types.MethodType(_forward, layer)
    return len(layers)


def packing_limit() -> int:
    """Bytes that the packed weights of a model may take: straight and transposed, so twice the weights."""
    import psutil

    beside = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # processes that share this machine
    memory = psutil.virtual_memory()
    return int(min(memory.total // SHARE, memory.available // 2)) // beside


@functools.cache
@torch.inference_mode(False)
@torch.no_grad()
def packs(dtype: torch.dtype) -> bool:
    """Whether products with packed weights of this number format work here, found out by trying one."""
    mkldnn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if dtype not in (torch.float32, torch.bfloat16) or not mkldnn:
        return False
    if dtype == torch.bfloat16 and not detect().native_bf16:
        return False
    draw = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=draw).to(dtype) for shape in ((3, 64), (32, 64), (32,), (3, 32))
    )
    expected = residual + torch.nn.functional.linear(x, weight, bias)
    try:
        found = _product(x, _packed(weight), bias, residual)
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=3e-2, atol=1e-1)
