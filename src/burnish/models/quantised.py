"""Weights kept in 4 bits: QLoRA's base (Dettmers et al. 2023).

Each linear layer but the output head is kept as 4-bit NormalFloat in blocks of 64 (section 3, "4-bit NormalFloat
Quantization"), the blocks' scales in 8 bits (section 3, "Double Quantization"): about 4.13 bits a weight. It is
dequantised when it is used and thrown away; nothing keeps it in full. bitsandbytes does the quantising.
"""

from __future__ import annotations

import copy
import importlib.util
import types
from typing import Any, Literal

import torch
from torch import Tensor

from burnish.errors import ModelError
from burnish.models.dropout import drawn, probability, without
from burnish.models.lora_linear import adds_one_product

Quantisation = Literal["nf4"]


def quantisation_config(kind: Quantisation, dtype: torch.dtype) -> Any:
    """What transformers needs to load a base in 4 bits. dtype: what dequantised weights are multiplied in.

    Raises ModelError when bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "4-bit weights need bitsandbytes, which is not installed",
            got=kind,
            where="training.method",
            fix='pip install "burnish[quantised]", or train with method: lora',
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantised(module: Any) -> bool:
    """Whether a module is a linear layer with 4-bit weights."""
    return type(getattr(module, "weight", None)).__name__ == "Params4bit"


def mend_layers(model: Any) -> None:
    """Keep bitsandbytes from doing two things to 4-bit layers on CPUs.

    With AVX512-BF16 it repacks weights for its inference kernel in the first pass without gradients, a validation
    say, and has no way back: the steps after it would get no gradient through these layers.
    It misreads weights whose rows are no whole blocks (see `dequantised`): such layers compute as `_Linear4bit`.
    """
    for module in model.modules():
        if is_quantised(module):
            module.support_avx512bf16_for_cpu = False
            if _misread(module.weight):
                module.forward = types.MethodType(_linear, module)


def _misread(weight: Any) -> bool:
    """Whether bitsandbytes' own kernel may not read the weight back as it was written."""
    state = weight.quant_state
    return bool(weight.device.type == "cpu" and state.shape[-1] % state.blocksize)


def dequantised(weight: Any) -> Tensor:
    """The matrix [out, in] that a 4-bit weight stands for, in the number format it was quantised from.

    The blocks go through the rows, but the vector kernels of bitsandbytes 0.50.2 for CPUs count them anew in each:
    rows of 16, 80 or 1120 numbers get scales of other blocks, an error of 0.25 where 4 bits cost 0.09. Read as one
    long row, every number gets its own.
    """
    from bitsandbytes.functional import dequantize_4bit

    state = weight.quant_state
    shape = state.shape
    if _misread(weight):
        state = copy.copy(state)
        state.shape = torch.Size([shape.numel()])
    full: Tensor = dequantize_4bit(weight.data, state)
    return full.view(shape)


def parameter_count(parameter: Tensor) -> int:
    """How many numbers a parameter stands for: two 4-bit weights lie in one byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())


def _product(x: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b, [..., in] to [..., out] in x's dtype; weight: packed [out, in]."""
    return torch.nn.functional.linear(x, dequantised(weight).to(x.dtype), None if bias is None else bias.to(x.dtype))


def _bias_gradient(out: Tensor, bias: Tensor | None) -> Tensor | None:
    """Of the sum over rows; out: gradient of the output [..., out]."""
    return None if bias is None else out.reshape(-1, out.shape[-1]).sum(0).to(bias.dtype)


class _Linear4bit(torch.autograd.Function):
    """y = x Wᵀ + b, W in 4 bits and frozen; it is dequantised once more where x has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
        """x [..., in]; weight: packed [out, in]; returns [..., out] in x's dtype."""
        ctx.weight, ctx.bias = weight, bias
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_x, _, of_bias = ctx.needs_input_grad
        out = gradients[0]
        return (
            out @ dequantised(ctx.weight).to(out.dtype) if of_x else None,
            None,
            _bias_gradient(out, ctx.bias) if of_bias else None,
        )


def _linear(layer: Any, x: Tensor) -> Tensor:
    out: Tensor = _Linear4bit.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out


class _LoraLinear4bit(torch.autograd.Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ (QLoRA, equation 5), W in 4 bits and frozen, with dropout of what A reads.

    Kept for the backward pass: x, x Aᵀ, what dropout kept, and the packed weight, dequantised once more there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Any,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
        dropout: float,
    ) -> Tensor:
        """x [..., in]; weight: packed [out, in]; lora_a [r, in]; lora_b [out, r]; returns [..., out] in x's dtype."""
        rows = x.reshape(-1, x.shape[-1])
        kept = drawn(rows, dropout) if dropout else None
        scale /= 1 - dropout
        low = without(rows, kept) @ lora_a.to(x.dtype).t()
        out = rows.new_empty(len(rows), len(lora_b)).addmm_(low, lora_b.to(x.dtype).t(), beta=0, alpha=scale)
        out.addmm_(rows, dequantised(weight).to(x.dtype).t())  # after it, so that the sum is rounded once
        if bias is not None:
            out.add_(bias)
        ctx.save_for_backward(rows, low, lora_a, lora_b, kept)
        ctx.weight, ctx.bias, ctx.scale, ctx.shape = weight, bias, scale, x.shape
        return torch.ops.aten._unsafe_view(out, (*x.shape[:-1], out.shape[-1]))  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, lora_a, lora_b, kept = ctx.saved_tensors
        of_x, _, of_bias, of_a, of_b, _, _ = ctx.needs_input_grad
        out = gradients[0].reshape(-1, lora_b.shape[0])
        x_gradient = a_gradient = b_gradient = None
        if of_x or of_a:
            low_gradient = (out @ lora_b.to(out.dtype)).mul_(ctx.scale)
        if of_a:
            a_gradient = (low_gradient.t() @ without(rows, kept)).to(lora_a.dtype)
        if of_b:
            b_gradient = (low.t() @ out).t().mul(ctx.scale).to(lora_b.dtype)
        if of_x:
            x_gradient = out @ dequantised(ctx.weight).to(out.dtype)
            if kept is None:
                x_gradient.addmm_(low_gradient, lora_a.to(out.dtype))
            else:
                x_gradient.add_(without(low_gradient @ lora_a.to(out.dtype), kept))
            x_gradient = x_gradient.view(ctx.shape)
        bias_gradient = _bias_gradient(out, ctx.bias) if of_bias else None
        return x_gradient, None, bias_gradient, a_gradient, b_gradient, None, None


def fuse_lora_4bit(model: Any) -> int:
    """Let a peft model's plain LoRA layers on 4-bit weights compute as one operation; how many do.

    peft's own way copies the layer's output twice and keeps an intermediate of that size for autograd, which costs
    more memory than 4 bits save on small models. Layers with a variant such as DoRA or several active adapters keep
    it, and so does every layer while its adapter is switched off or merged.
    """
    from peft.tuners.lora import LoraLayer

    lora = (module for module in model.modules() if isinstance(module, LoraLayer) and not module.lora_variant)
    layers = [layer for layer in lora if is_quantised(layer.base_layer) and adds_one_product(layer)]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)
    return len(layers)


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = layer.active_adapters
    off = layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A
    # One token at a time on a GPU: there bitsandbytes multiplies packed weights without unpacking them first.
    single = x.device.type == "cuda" and not torch.is_grad_enabled() and x.numel() == x.shape[-1]
    if off or single or args or kwargs:
        out: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return out
    name, base = names[0], layer.base_layer
    dropout = (probability(layer, name) or 0.0) if layer.training else 0.0
    fused: Tensor = _LoraLinear4bit.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], dropout
    )
    return fused
