"""The two operations of a decoder layer, in front of its attention and behind it, with backward passes by hand.

Between the matrix products of a transformer lie dozens of passes over its activations, and autograd keeps what each
of them read. These work in place, keep the layer's inputs and little else, and compute the rest again where that is
cheaper (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.compiled import compiled_on_gpu
from burnish.models.lora_linear import Group, project, project_backward, put_back, set_aside
from burnish.models.rms_norm import inverse_rms, normalise, normalise_backward


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

    def at_rest(self) -> Plan:
        """The same, for a layer that is not in training."""
        names = ("projections", "out", "gate_up", "down")
        return self._replace(**{name: getattr(self, name).at_rest() for name in names})


class AttentionInputs(torch.autograd.Function):
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
            by_head[:2] = (_rotated(gradient, ctx.cos, sin, by_token=True) for gradient in gradients[:2])
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


@compiled_on_gpu
def _gated(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """σ(gate), and silu(gate) up [T, F]."""
    sigmoid = torch.sigmoid(gate)
    return sigmoid, torch.mul(gate, sigmoid).mul_(up)


@compiled_on_gpu
def _gated_again(gate: Tensor, up: Tensor, sigmoid: Tensor) -> tuple[Tensor, Tensor]:
    """silu(gate), and silu(gate) up."""
    silu = torch.mul(gate, sigmoid)
    return silu, torch.mul(silu, up)


@compiled_on_gpu
def _gated_backward(hidden: Tensor, silu: Tensor, up: Tensor, sigmoid: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up, given that of silu(gate) up. It and silu are overwritten."""
    slope = torch.lerp(silu, silu.new_ones(()), sigmoid)
    up_gradient = silu.mul_(hidden)
    return hidden.mul_(up).mul_(slope), up_gradient


def _rotated(states: Tensor, cos: Tensor, sin: Tensor, *, by_token: bool = False) -> Tensor:
    """states cos + (-states₂, states₁) sin (Su et al. 2021, equation 34, with halves paired as transformers does).

    states [B, H, T, D]; cos, sin [B or 1, 1, T, D]. The result is contiguous on a CPU, or by_token, the heads of a
    token side by side in memory; on a GPU it lies as states do.
    """
    if states.device.type == "cuda":
        return _rotated_at_once(states, cos, sin)
    B, H, T, D = states.shape
    half = D // 2
    out = states.new_empty(B, T, H, D).transpose(1, 2) if by_token else states.new_empty(B, H, T, D)
    torch.mul(states, cos, out=out)
    out[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return out


@compiled_on_gpu
def _rotated_at_once(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """_rotated in one expression."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((-second, first), dim=-1) * sin


class LayerOutput(torch.autograd.Function):
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
        sigmoid, hidden = _gated(gate, up)
        (y,), low_down = project(hidden, plan.down, middle)
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
        silu, hidden = _gated_again(gate, up, sigmoid)
        hidden_gradient, trained_down = project_backward(hidden, plan.down, low_down, [y], inputs=True)
        assert hidden_gradient is not None
        del hidden
        gate_gradient, up_gradient = _gated_backward(hidden_gradient, silu, up, sigmoid)
        norm = plan.second_norm.weight
        normed, trained_in = project_backward(
            middle, plan.gate_up, low_in, [gate_gradient, up_gradient], inputs=True, inverse=inverse, norm=norm
        )
        assert normed is not None
        x_gradient = normalise_backward(normed, middle, inverse, norm, residual=y)
        mixed, trained_out = project_backward(rows, plan.out, low_out, [x_gradient], inputs=ctx.needs_input_grad[0])
        mixed = None if mixed is None else mixed.view(ctx.shape)
        return mixed, x_gradient.view(gradients[0].shape), None, *trained_out, *trained_in, *trained_down


def layer_output_only(mixed: Tensor, x: Tensor, plan: Plan) -> Tensor:
    """LayerOutput where nothing is kept."""
    rows = mixed.reshape(-1, plan.out.layers[0].weight.shape[1])
    (middle,), _ = project(rows, plan.out, x.reshape(-1, x.shape[-1]))
    inverse = inverse_rms(middle, plan.second_norm.epsilon)
    (gate, up), _ = project(normalise(middle, inverse, plan.second_norm.weight), plan.gate_up)
    (y,), _ = project(torch.nn.functional.silu(gate, inplace=True).mul_(up), plan.down, middle)
    return y.view(x.shape)
