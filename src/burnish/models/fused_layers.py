"""Decoder layers in few passes: what lies in front of the attention is one operation, what lies behind it another.

The operations are in layer_operations.py; here is which layers compute by them, and when. A layer is fused when its
parts have the names and types of a Llama layer and it gives what its own forward gives on random states, so a
variation that the names do not show (a scaled residual, another activation) keeps its own way. So does a fused layer
whenever it is not what it was: weights trained, hooks, another kind of adapter. Gradient checkpointing, which
transformers puts around a class's own forward, is put around the fused one.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from burnish.models.layer_operations import AttentionInputs, LayerOutput, Norm, Plan, layer_output_only
from burnish.models.lora_linear import grouped, is_fused, layer_of
from burnish.models.rms_norm import rms_norm

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_HEAD_NORMS = ("q_norm", "k_norm")
_MLP = ("gate_proj", "up_proj", "down_proj")
_ADAPTER_STATE = ("_disable_adapters", "_active_adapter")
_ATTENTION_NAME = "_attn_implementation_internal"
_KEY = "_burnish_plan"


def _layer_forward(layer: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """transformers' decoder layer: hidden_states [B, T, D] to the same shape."""
    plan = None if args else _plan(layer, hidden_states)
    if plan is None or kwargs["position_embeddings"][0].shape[-1] != plan.head_dim:  # rotated in part
        out: Tensor = type(layer).forward(layer, hidden_states, *args, **kwargs)
        return out
    if layer.training and getattr(layer, "gradient_checkpointing", False):
        kwargs["past_key_values"] = None  # a recomputed layer would fill it twice
        again: Tensor = layer._gradient_checkpointing_func(partial(_fused, layer, plan, **kwargs), hidden_states)
        return again
    return _fused(layer, plan, hidden_states, **kwargs)


def _fused(layer: Any, plan: Plan, hidden_states: Tensor, /, **kwargs: Any) -> Tensor:
    """The layer in two operations and its attention."""
    attention = layer.self_attn
    position_embeddings = kwargs.pop("position_embeddings")
    cos = sin = None
    if getattr(attention, "use_rope", True):
        cos, sin = (table.unsqueeze(1) for table in position_embeddings)
    query, key, value = AttentionInputs.apply(  # type: ignore[no-untyped-call]
        hidden_states, cos, sin, plan, *plan.projections.trained()
    )
    cache = kwargs.pop("past_key_values", None)
    if cache is not None:
        key, value = cache.update(key, value, attention.layer_idx)
    mixed, _ = plan.attention(
        attention,
        query,
        key,
        value,
        kwargs.pop("attention_mask", None),
        dropout=attention.attention_dropout if layer.training else 0.0,
        scaling=attention.scaling,
        sliding_window=plan.window,
        **kwargs,
    )
    if not torch.is_grad_enabled():
        return layer_output_only(mixed, hidden_states, plan)
    trained = plan.out.trained() + plan.gate_up.trained() + plan.down.trained()
    result: Tensor = LayerOutput.apply(mixed, hidden_states, plan, *trained)  # type: ignore[no-untyped-call]
    return result


def _attention_function(attention: Any) -> Any:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = getattr(sys.modules[type(attention).__module__], "eager_attention_forward", None)
    return ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager)


class _Cached:
    """A layer's plan and what it rests on. Copies of a model make their own."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.still: Plan | None = None  # the plan for a layer that is not in training
        self.kind: type | None = None
        self.same: tuple[list[dict[str, Any]], list[str], list[Any]] = ([], [], [])  # mapping, key, what it held
        self.empty: list[Any] = []  # hooks, which a fused layer would pass over, and names of merged adapters
        self.places: list[int] = []  # where the weights lie in memory, since the plan keeps views of them
        self.weights: list[Tensor] = []
        self.frozen: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> _Cached:
        return _Cached()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Cached, ()

    def holds(self, layer: Any) -> bool:
        """Whether the layer is as it was when the plan was made."""
        mappings, keys, values = self.same
        return (
            type(layer) is self.kind
            and all(map(operator.is_, map(dict.get, mappings, keys), values))
            and not any(self.empty)
            and list(map(Tensor.data_ptr, self.weights)) == self.places
        )

    def renew(self, layer: Any) -> None:
        """Make the plan anew, None where the layer has to be computed its own way, with everything it rests on."""
        self.empty, self.weights, self.kind, self.places = [], [], type(layer), []
        self.plan = self.still = None
        if not _is_decoder_layer(layer) or hasattr(layer, "unshard"):  # FSDP2 moves weights about
            self.same = [], [], []
            return
        settings = layer.self_attn.config.__dict__
        watched: list[tuple[Any, str, Any]] = [(settings, _ATTENTION_NAME, settings.get(_ATTENTION_NAME))]
        for part in layer.modules():
            watched += [(part._modules, *item) for item in part._modules.items()]
            watched += [(part._parameters, *item) for item in part._parameters.items()]
            watched += [(part.__dict__, "forward", part.__dict__.get("forward"))] if part is not layer else []
            self.weights += [weight for weight in part._parameters.values() if weight is not None]
            if part is not layer:
                self.empty += [part._forward_hooks, part._forward_pre_hooks]
                self.empty += [part._backward_hooks, part._backward_pre_hooks]
            if is_fused(part):
                watched += [(part.__dict__, key, part.__dict__[key]) for key in _ADAPTER_STATE]
                watched += [(part.scaling, *item) for item in part.scaling.items()]
                self.empty.append(part.merged_adapters)
        mappings, keys, values = zip(*watched, strict=True)
        self.same = list(mappings), list(keys), list(values)
        self.places = [weight.data_ptr() for weight in self.weights]
        if not any(self.empty):
            self.plan, self.frozen = _planned(layer)
            self.still = None if self.plan is None else self.plan.at_rest()


def _planned(layer: Any) -> tuple[Plan | None, list[Tensor]]:
    """The plan of a layer, and the weights that have to be frozen for it."""
    attention, mlp = layer.self_attn, layer.mlp
    layers = [layer_of(getattr(attention, name)) for name in _PROJECTIONS]
    layers += [layer_of(getattr(mlp, name)) for name in _MLP]
    known = [found for found in layers if found is not None]
    if len(known) != len(layers):
        return None, []
    modules = [layer.input_layernorm, layer.post_attention_layernorm]
    modules += [getattr(attention, name) for name in _HEAD_NORMS if hasattr(attention, name)]
    norms = [Norm(module.weight, module.variance_epsilon) for module in modules]
    frozen = [norm.weight for norm in norms]
    frozen += [tensor for one in known for tensor in one[:2] if tensor is not None]
    if len({tensor.dtype for tensor in frozen}) > 1:
        return None, []
    plan = Plan(
        _attention_function(attention),
        getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)),
        attention.head_dim,
        norms[0],
        grouped(*known[:3]),
        tuple(norms[2:]),
        grouped(known[3]),
        norms[1],
        grouped(*known[4:6]),
        grouped(known[6]),
    )
    return plan, frozen


def _plan(layer: Any, hidden_states: Tensor) -> Plan | None:
    """None where the layer has to be computed its own way."""
    cached: _Cached = layer.__dict__[_KEY]
    if not cached.holds(layer):
        cached.renew(layer)
    if cached.plan is None or hidden_states.dtype != cached.frozen[0].dtype:
        return None
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in cached.frozen):
        return None
    if torch.is_autocast_enabled(hidden_states.device.type):
        return None
    return cached.plan if layer.training else cached.still


def fuse_layers(model: Any) -> int:
    """Let a model's RMSNorms and Llama-like layers compute in few passes; how many modules do.

    For frozen weights with LoRA on any of the linear layers or none. Call it after fuse_lora; again does no harm.
    """
    fused = 0
    for module in model.modules():
        if _is_rms_norm(module):
            fused += _fuse(module, _norm_forward, _norm_arguments)
    for module in model.modules():
        if _is_decoder_layer(module):
            module.__dict__.setdefault(_KEY, _Cached())
            fused += _fuse(module, _layer_forward, _layer_arguments)
    return fused


@torch.no_grad()
def _fuse(module: Any, forward: Any, arguments: Callable[[Any], dict[str, Any]]) -> bool:
    """Install a forward if it gives what the module's own gives."""
    own = module.__dict__.get("forward")
    if own is not None:
        return getattr(own, "__func__", None) is forward
    training = module.training
    module.eval()
    try:
        given = arguments(module)
        expected = module(**given)
        found = forward(module, **given)
        if _KEY in module.__dict__ and module.__dict__[_KEY].plan is None:
            return False
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
        return False
    finally:
        module.train(training)
    if not isinstance(expected, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 3e-2
    if not float((found - expected).norm()) <= tolerance * float(expected.norm()):
        return False
    module.forward = types.MethodType(forward, module)
    return True


def _random(*shape: int, like: Tensor) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(like.device, like.dtype)


def _norm_arguments(norm: Any) -> dict[str, Any]:
    return {"hidden_states": _random(3, len(norm.weight), like=norm.weight)}


def _layer_arguments(layer: Any) -> dict[str, Any]:
    """Three tokens, rotated by random angles."""
    weight = layer.input_layernorm.weight
    angles = _random(1, 3, layer.self_attn.head_dim // 2, like=weight).repeat(1, 1, 2)
    return {
        "hidden_states": _random(1, 3, len(weight), like=weight),
        "attention_mask": None,
        "position_embeddings": (angles.cos(), angles.sin()),
    }


def _is_rms_norm(module: Any) -> bool:
    return (
        type(module).__name__.endswith("RMSNorm")
        and isinstance(getattr(module, "variance_epsilon", None), float)
        and [name for name, _ in module.named_parameters()] == ["weight"]
        and module.weight.dim() == 1
    )


def _norm_forward(norm: Any, hidden_states: Tensor) -> Tensor:
    if hidden_states.dtype != norm.weight.dtype:
        out: Tensor = type(norm).forward(norm, hidden_states)
        return out
    return rms_norm(hidden_states, norm.weight, norm.variance_epsilon)


def _is_decoder_layer(module: Any) -> bool:
    children = dict(module.named_children())
    if set(children) != _LAYER:
        return False
    attention, mlp = dict(children["self_attn"].named_children()), dict(children["mlp"].named_children())
    return (
        set(attention) in ({*_PROJECTIONS}, {*_PROJECTIONS, *_HEAD_NORMS})
        and set(mlp) == {*_MLP, "act_fn"}
        and type(mlp["act_fn"]).__name__ in ("SiLU", "SiLUActivation")
        and all(_is_rms_norm(child) for name, child in (children | attention).items() if name.endswith("norm"))
    )
