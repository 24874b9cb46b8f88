"""An adapter added into the weights: the same function without the adapter's layers.

lora, qlora: W + s B A (Hu et al. 2021, section 4.1), s as in training, rank-stabilised or not.
dora: m (W + s B A) / |W + s B A|, the norm over each output's row (Liu et al. 2024, equation 5).
ia3: rows of W, and its bias, times the factors of keys and values; columns times those of the feed-forward input
(Liu et al. 2022, section 3.3).
All in float32. 4-bit weights are dequantised first, since only on these was the adapter trained.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.models.device import LOST_BITS, seeded
from burnish.models.quantised import dequantised, is_quantised

# Why what these methods train is no change of weights.
UNMERGEABLE = {
    "bottleneck": "its layers have a nonlinearity between them, so they are no change of any weight",
    "prefix_tuning": "it trains keys and values in front of every row, not weights",
    "prompt_tuning": "it trains embeddings in front of every row, not weights",
}


class Merged(NamedTuple):
    """A layer's weight [out, in] and bias [out], if it has one, in float32."""

    weight: Tensor
    bias: Tensor | None


def merge_adapter(model: Any) -> Any:
    """The base model of a peft model with the adapter in its weights: plain layers, float32 where merged.

    The peft model is used up. Raises ModelError for methods that cannot be merged, and for layers that are not
    linear.
    """
    config = model.peft_config["default"]
    kind = str(getattr(config.peft_type, "value", config.peft_type)).lower()
    if kind in UNMERGEABLE:
        raise ModelError(f"{kind} cannot be merged into weights: {UNMERGEABLE[kind]}", got=kind)
    base = model.get_base_model()
    embeddings = base.get_input_embeddings()
    _merge_experts(base)
    for name, layer in [(name, module) for name, module in base.named_modules() if _is_layer(module)]:
        inner = layer.get_base_layer()
        # A head that shares its weight with the embeddings gets its own: the adapter was on the head alone.
        if getattr(inner, "weight", None) is getattr(embeddings, "weight", None):
            base.config.tie_word_embeddings = False
            base._tied_weights_keys = None
        base.set_submodule(name, _plain(merged(layer), inner))
    for name, module in [(name, module) for name, module in base.named_modules() if is_quantised(module)]:
        base.set_submodule(name, _plain(Merged(dequantised(module.weight).float(), module.bias), module))
    _forget_quantisation(base)
    return base.requires_grad_(False)


@torch.no_grad()
def _merge_experts(base: Any) -> None:
    """The weights of experts, all in one tensor, which peft adapts by layers around layers, one for each tensor."""
    from peft.tuners.lora.layer import ParamWrapper

    wrapped = {name: module for name, module in base.named_modules() if isinstance(module, ParamWrapper)}
    for name, outer in wrapped.items():
        if name.rpartition(".")[0] in wrapped:
            continue
        layer, plain = outer, outer.get_base_layer()
        while isinstance(layer, ParamWrapper):
            weights = layer.get_param().float() + layer.get_delta_weight("default").float()
            setattr(plain, layer.parameter_name, nn.Parameter(weights, requires_grad=False))
            layer = layer.base_layer
        base.set_submodule(name, plain)


@torch.no_grad()
def merged(layer: Any) -> Merged:
    """Weight and bias of one of peft's layers with its adapter. Raises ModelError when it is not linear."""
    inner, name = layer.get_base_layer(), "default"
    turned = bool(getattr(layer, "fan_in_fan_out", False))  # GPT-2's Conv1D keeps weights as [in, out]
    if is_quantised(inner):
        weight = dequantised(inner.weight).float()
    elif inner.weight.dim() == 2 and not isinstance(inner, nn.Embedding):
        weight = (inner.weight.t() if turned else inner.weight).float()
    else:
        raise ModelError("only adapters on linear layers can be merged", got=type(inner).__name__)
    bias = None if inner.bias is None else inner.bias.float()
    if hasattr(layer, "ia3_l"):
        factors = layer.ia3_l[name].float().flatten()
        if layer.is_feedforward:
            return Merged(weight * factors, bias)
        return Merged(weight * factors[:, None], None if bias is None else bias * factors)
    weight = weight + layer.scaling[name] * (layer.lora_B[name].weight.float() @ layer.lora_A[name].weight.float())
    if name in getattr(layer, "lora_magnitude_vector", {}):
        magnitude = layer.lora_magnitude_vector[name].weight.float()
        weight = weight * (magnitude / torch.linalg.norm(weight, dim=1))[:, None]
    return Merged(weight, bias)


@torch.no_grad()
def rounded_at_random(numbers: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """float32 numbers in bfloat16 or float16, up or down with the probability that makes their mean right.

    What an adapter adds to a weight is often less than half of what the format can tell apart, and the weights of a
    base lie on the format's own numbers: rounded to nearest, such an addition would be gone. Numbers that the format
    has stay as they are. Others of float16's below 6e-5 are rounded to nearest.
    """
    lost = LOST_BITS[dtype]
    draw = seeded(numbers.device, seed)
    more = torch.randint(2**lost, numbers.shape, generator=draw, dtype=torch.int32, device=numbers.device)
    bits = more.add_(numbers.contiguous().view(torch.int32)).bitwise_and_(-(2**lost))
    return bits.view(torch.float32).to(dtype)


def _is_layer(module: Any) -> bool:
    return hasattr(module, "lora_A") or hasattr(module, "ia3_l")


def _plain(found: Merged, inner: Any) -> Any:
    """A layer of the base's own kind with these numbers."""
    with torch.device("meta"):
        if isinstance(inner, nn.Linear):
            layer = nn.Linear(inner.in_features, inner.out_features, bias=found.bias is not None)
        else:
            layer = type(inner)(found.weight.shape[0], found.weight.shape[1])
    weight = found.weight if isinstance(inner, nn.Linear) else found.weight.t()
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if found.bias is not None:
        layer.bias = nn.Parameter(found.bias.clone(), requires_grad=False)
    return layer


def _forget_quantisation(base: Any) -> None:
    """Plain weights must not be saved as if they were in 4 bits."""
    if hasattr(base.config, "quantization_config"):
        del base.config.quantization_config
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(base, name):
            delattr(base, name)
    base.is_loaded_in_4bit = False
