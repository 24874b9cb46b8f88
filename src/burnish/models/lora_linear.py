"""LoRA layers computed as one operation.

peft writes W x + (alpha / r) B A x as six operations, three of which pass over the whole output, and autograd keeps
an intermediate of that size. Here the low-rank product is added in place by the matrix multiplication itself, and
only x and A x are kept for the backward pass (docs/log.md has the timings). The parameters stay peft's.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor


class _LoraLinear(torch.autograd.Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ (Hu et al. 2021, equation 3), W and b frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, scale: float
    ) -> Tensor:
        """x [..., in]; weight [out, in]; lora_a [r, in]; lora_b [out, r]; returns [..., out] in x's dtype."""
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ lora_a.to(x.dtype).t()
        out = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
        out.addmm_(low, lora_b.to(x.dtype).t(), alpha=scale)
        ctx.save_for_backward(rows, low, weight, lora_a, lora_b)
        ctx.scale = scale
        ctx.shape = x.shape
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, lora_a, lora_b = ctx.saved_tensors
        out = gradients[0].reshape(-1, weight.shape[0])
        low_gradient = (out @ lora_b.to(out.dtype)).mul_(ctx.scale)
        a_gradient = (low_gradient.t() @ rows).to(lora_a.dtype)
        b_gradient = (low.t() @ out).t().mul(ctx.scale).to(lora_b.dtype)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = out @ weight
            x_gradient.addmm_(low_gradient, lora_a.to(out.dtype))
            x_gradient = x_gradient.view(ctx.shape)
        return x_gradient, None, None, a_gradient, b_gradient, None


def fuse_lora(model: Any) -> int:
    """Let a peft model's plain LoRA layers compute as one operation; how many do.

    Layers with dropout, a variant such as DoRA, a quantised base or several active adapters keep peft's way, and so
    does every layer while its adapter is switched off or merged.
    """
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _plain(module)]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)
    return len(layers)


def _plain(layer: Any) -> bool:
    """Whether the layer is W x + s B A x and nothing else."""
    if type(layer.base_layer) is not torch.nn.Linear or layer.fan_in_fan_out or layer.lora_variant:
        return False
    names = layer.active_adapters
    return (
        len(names) == 1
        and names[0] in layer.lora_A
        and isinstance(layer.lora_dropout[names[0]], torch.nn.Identity)
        and layer.lora_B[names[0]].bias is None
        and not layer.base_layer.weight.requires_grad
    )


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = layer.active_adapters
    off = layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A
    if off or args or kwargs:
        out: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return out
    name, base = names[0], layer.base_layer
    if x.dtype != base.weight.dtype:
        x = x.to(base.weight.dtype)
    fused: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    )
    return fused
