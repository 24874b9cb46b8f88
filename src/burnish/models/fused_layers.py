"""Decoder layers in few passes: what lies in front of the attention is one operation, what lies behind it another.

Between the matrix products of a transformer lie dozens of passes over its activations, and autograd keeps what each
of them read. The two operations here have backward passes by hand: they work in place, keep the layer's inputs and
little else, and compute the rest again where that is cheaper (docs/log.md).

A layer is fused when its parts have the names and types of a Llama layer and it gives what its own forward gives on
random states, so a variation that the names do not show (a scaled residual, another activation) keeps its own way. So
does a fused layer whenever it is not what it was: weights trained, hooks, checkpointing, another kind of adapter.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.lora_linear import (
    Group,
    grouped,
    is_fused,
    layer_of,
    project,
    project_backward,
    put_back,
    set_aside,
)
from burnish.models.rms_norm import inverse_rms, normalise, normalise_backward, rms_norm

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_HEAD_NORMS = ("q_norm", "k_norm")
_MLP = ("gate_proj", "up_proj", "down_proj")
_ADAPTER_STATE = ("_disable_adapters", "_active_adapter")
_ATTENTION_NAME = "_attn_implementation_internal"
_KEY = "_burnish_plan"


class Norm(NamedTuple):
    """RMSNorm: its frozen weight and epsilon."""

    weight: Tensor
    epsilon: float


class Plan(NamedTuple):
    """What a decoder layer computes with.

    attention: transformers' attention function; head_norms: of queries and keys, over a head; few families have any.
    """

    attention: Callable[..., tuple[Tensor, Any]]
    window: int | None
    head_dim: int
    first_norm: Norm
    projections: Group
    head_norms: tuple[Norm, ...]
    out: Group
    second_norm: Norm
    gate_up: Group
    down: Group


class _AttentionInputs(torch.autograd.Function):
    """Queries, keys and values [B, heads, T, head_dim] of states [B, T, D], normalised, projected and rotated."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cos: Tensor | None, sin: Tensor | None, plan: Plan, *_: Tensor
    ) -> tuple[Tensor, ...]:
        rows = x.reshape(-1, x.shape[-1])
        inverse = inverse_rms(rows, plan.first_norm.epsilon)
        outs, low_rank = project(normalise(rows, inverse, plan.first_norm.weight), plan.projections)
        ctx.low_rank, kept = set_aside(low_rank)
        ctx.plan, ctx.cos, ctx.sin = plan, cos, sin
        heads = [out.view(*x.shape[:2], -1, plan.head_dim) for out in outs]
        for i, norm in enumerate(plan.head_norms):
            head_rows = heads[i].view(-1, plan.head_dim)
            head_inverse = inverse_rms(head_rows, norm.epsilon)
            heads[i] = normalise(head_rows, head_inverse, norm.weight).view(heads[i].shape)
            kept += [head_rows, head_inverse]
        ctx.save_for_backward(rows, inverse, *kept)
        query, key, value = (states.transpose(1, 2) for states in heads)
        if cos is None or sin is None:
            return query, key, value
        return _rotated(query, cos, sin), _rotated(key, cos, sin), value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        rows, inverse, *kept = ctx.saved_tensors
        low_rank = put_back(ctx.low_rank, kept)
        plan: Plan = ctx.plan
        by_head = list(gradients)
        if ctx.cos is not None:
            # The rotation's transpose: the halves of the sine change places and sign.
            half = plan.head_dim // 2
            sin = torch.cat((ctx.sin[..., half:], ctx.sin[..., :half]), dim=-1).neg_()
            for i in range(2):
                B, H, T, D = gradients[i].shape
                by_token = gradients[i].new_empty(B, T, H, D).transpose(1, 2)
                by_head[i] = _rotated(gradients[i], ctx.cos, sin, by_token)
        outs = [states.transpose(1, 2).reshape(len(rows), -1) for states in by_head]
        for i, norm in enumerate(plan.head_norms):
            head_rows, head_inverse = kept[2 * i : 2 * i + 2]
            gradient = outs[i].view(head_rows.shape)
            gradient = gradient if ctx.cos is not None else gradient.clone()
            outs[i] = normalise_backward(gradient, head_rows, head_inverse, norm.weight).view(outs[i].shape)
        wanted = ctx.needs_input_grad[0]
        weight = plan.first_norm.weight
        x_gradient, trained = project_backward(
            rows, plan.projections, low_rank, outs, inputs=wanted, inverse=inverse, norm=weight
        )
        if x_gradient is not None:
            x_gradient = normalise_backward(x_gradient, rows, inverse, weight)
            x_gradient = x_gradient.view(gradients[0].shape[0], -1, rows.shape[1])
        return x_gradient, None, None, None, *trained


def _rotated(states: Tensor, cos: Tensor, sin: Tensor, out: Tensor | None = None) -> Tensor:
    """states cos + (-states₂, states₁) sin (Su et al. 2021, equation 34, with halves paired as transformers does).

    states [B, H, T, D]; cos, sin [B or 1, 1, T, D]; returns out, by default a contiguous tensor.
    """
    half = states.shape[-1] // 2
    out = torch.empty(states.shape, dtype=states.dtype, device=states.device) if out is None else out
    torch.mul(states, cos, out=out)
    out[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return out


class _LayerOutput(torch.autograd.Function):
    """h = x + out(attention), y = h + down(silu(gate n) up n), n = RMSNorm(h) (Shazeer 2020, equation 6).

    Kept: h, gate, up and the gate's sigmoid σ, from which silu(g) = g σ and its slope σ + g σ (1 - σ) follow without
    another exponential, the dearest of the element-wise functions.
    """

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, x: Tensor, plan: Plan, *_: Tensor) -> Tensor:
        rows = mixed.reshape(-1, plan.out.layers[0].weight.shape[1])
        (middle,), low_out = project(rows, plan.out, x.reshape(-1, x.shape[-1]))
        inverse = inverse_rms(middle, plan.second_norm.epsilon)
        (gate, up), low_in = project(normalise(middle, inverse, plan.second_norm.weight), plan.gate_up)
        sigmoid = torch.sigmoid(gate)
        (y,), low_down = project(torch.mul(gate, sigmoid).mul_(up), plan.down, middle)
        aside = [set_aside(low_rank) for low_rank in (low_out, low_in, low_down)]
        low = [tensor for _, tensors in aside for tensor in tensors]
        ctx.save_for_backward(rows, middle, inverse, gate, up, sigmoid, *low)
        ctx.plan, ctx.low_ranks, ctx.shape = plan, [low_rank for low_rank, _ in aside], mixed.shape
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        rows, middle, inverse, gate, up, sigmoid, *low = ctx.saved_tensors
        plan: Plan = ctx.plan
        low_out, low_in, low_down = (put_back(low_rank, low) for low_rank in ctx.low_ranks)
        y = gradients[0].reshape(middle.shape)
        silu = torch.mul(gate, sigmoid)
        hidden, trained_down = project_backward(torch.mul(silu, up), plan.down, low_down, [y], inputs=True)
        assert hidden is not None
        slope = torch.lerp(silu, silu.new_ones(()), sigmoid)
        up_gradient = silu.mul_(hidden)
        gate_gradient = hidden.mul_(up).mul_(slope)
        norm = plan.second_norm.weight
        normed, trained_in = project_backward(
            middle, plan.gate_up, low_in, [gate_gradient, up_gradient], inputs=True, inverse=inverse, norm=norm
        )
        assert normed is not None
        x_gradient = normalise_backward(normed, middle, inverse, norm, residual=y)
        mixed, trained_out = project_backward(rows, plan.out, low_out, [x_gradient], inputs=ctx.needs_input_grad[0])
        mixed = None if mixed is None else mixed.view(ctx.shape)
        return mixed, x_gradient.view(gradients[0].shape), None, *trained_out, *trained_in, *trained_down


def _layer_output_only(mixed: Tensor, x: Tensor, plan: Plan) -> Tensor:
    """_LayerOutput where nothing is kept."""
    rows = mixed.reshape(-1, plan.out.layers[0].weight.shape[1])
    (middle,), _ = project(rows, plan.out, x.reshape(-1, x.shape[-1]))
    inverse = inverse_rms(middle, plan.second_norm.epsilon)
    (gate, up), _ = project(normalise(middle, inverse, plan.second_norm.weight), plan.gate_up)
    (y,), _ = project(torch.nn.functional.silu(gate, inplace=True).mul_(up), plan.down, middle)
    return y.view(x.shape)


def _layer_forward(layer: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """transformers' decoder layer: hidden_states [B, T, D] to the same shape."""
    plan = None if args else _plan(layer, hidden_states)
    if plan is None:
        out: Tensor = type(layer).forward(layer, hidden_states, *args, **kwargs)
        return out
    attention = layer.self_attn
    position_embeddings = kwargs.pop("position_embeddings")
    cos = sin = None
    if getattr(attention, "use_rope", True):
        cos, sin = (table.unsqueeze(1) for table in position_embeddings)
    query, key, value = _AttentionInputs.apply(  # type: ignore[no-untyped-call]
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
        return _layer_output_only(mixed, hidden_states, plan)
    trained = plan.out.trained() + plan.gate_up.trained() + plan.down.trained()
    result: Tensor = _LayerOutput.apply(mixed, hidden_states, plan, *trained)  # type: ignore[no-untyped-call]
    return result


def _attention_function(attention: Any) -> Any:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = getattr(sys.modules[type(attention).__module__], "eager_attention_forward", None)
    return ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager)


class _Cached:
    """A layer's plan and what it rests on. Copies of a model make their own."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
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
        self.empty, self.weights, self.plan, self.kind = [], [], None, type(layer)
        self.places = []
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
    if layer.training and getattr(layer, "gradient_checkpointing", False):
        return None
    return None if torch.is_autocast_enabled(hidden_states.device.type) else cached.plan


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
