"""Linear layers with LoRA, those of the same input together.

peft writes W x + (alpha / r) B A x as six operations, three of which pass over the whole output, and autograd keeps
an intermediate of that size. Here the low-rank product is added in place by the matrix multiplication itself, the A
of all layers that read x are one product, and only x and A x are kept for the backward pass (docs/log.md has the
timings). The parameters stay peft's, and frozen weights are never copied.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.dora import Dora, RowNorms, Scaled, scaled, squares
from burnish.models.dropout import drawn, probability, without
from burnish.models.packed import PackedWeight, packed_weight, product_back

_NORMS = "_burnish_norms"


class Layer(NamedTuple):
    """What a linear layer computes: y = x Wᵀ + b + s (x Aᵀ) Bᵀ (Hu et al. 2021, equation 3), W and b frozen.

    weight [out, in]; bias [out] or None; lora_a [r, in] and lora_b [out, r], None where there is no LoRA. packed: the
    weight once more, where products with it are faster so. dropout: probability, of what A reads.
    dora: what scales y without b, where it is DoRA (models/dora.py).
    """

    weight: Tensor
    bias: Tensor | None
    lora_a: Tensor | None
    lora_b: Tensor | None
    scale: float
    packed: PackedWeight | None = None
    dropout: float = 0.0
    dora: Dora | None = None


class Group(NamedTuple):
    """Linear layers that read the same rows. transposed: Wᵀ of each, views; the rest is of those with LoRA.

    dropout: the probability of all of them. still: they are not in training.
    """

    layers: tuple[Layer, ...]
    transposed: tuple[Tensor, ...]
    ranks: list[int]
    downs: list[Tensor]
    ups: list[Tensor]
    dropout: float
    still: bool = False

    def at_rest(self) -> Group:
        """The same while it is not in training."""
        return self._replace(dropout=0.0, still=True)

    def trained(self) -> list[Tensor]:
        """A and B of each layer with LoRA, then magnitudes: the order of project_backward's gradients."""
        matrices = [matrix for pair in zip(self.downs, self.ups, strict=True) for matrix in pair]
        return matrices + [layer.dora.magnitude for layer in self.layers if layer.dora is not None]

    def scale(self, layer: Layer) -> float:
        """s of a layer, and what dropout takes away made up for."""
        return layer.scale / (1 - self.dropout)


class LowRank(NamedTuple):
    """A group's LoRA in the number format of its rows: all A one below the other [R, in], each B [out, r], the rows'
    products with A [T, R], and 0 for the numbers of the rows that dropout left out [T, in]. scaled: by DoRA, of the
    layers that have it, by their number in the group."""

    down: Tensor
    ups: list[Tensor]
    low: Tensor
    kept: Tensor | None
    scaled: dict[int, Scaled]


@torch.no_grad()
def grouped(*layers: Layer) -> Group:
    """The layers with what every call needs of them."""
    downs = [layer.lora_a for layer in layers if layer.lora_a is not None]
    ups = [layer.lora_b for layer in layers if layer.lora_b is not None]
    dropout = max(layer.dropout for layer in layers)
    transposed = tuple(layer.weight.t() for layer in layers)
    return Group(layers, transposed, [len(down) for down in downs], downs, ups, dropout)


def project(rows: Tensor, group: Group, residual: Tensor | None = None) -> tuple[list[Tensor], LowRank | None]:
    """Outputs [T, out] of the layers for rows [T, in], and what their backward pass needs besides the rows.

    residual [T, out]: added to each output. Gradients are off here.

    The low-rank product comes first, so that its sum with the layer's own is rounded once. Where there is LoRA the
    residual comes last: it is often much larger than what a layer gives, and its sum, too, is rounded once
    (docs/log.md).
    """
    pairs = zip(group.layers, group.transposed, strict=True)
    if not group.downs:
        return [_times(rows, layer, transposed, residual) for layer, transposed in pairs], None
    down = group.downs[0] if len(group.downs) == 1 else torch.cat(group.downs)
    ups = group.ups
    if down.dtype != rows.dtype:
        down, ups = down.to(rows.dtype), [up.to(rows.dtype) for up in ups]
    kept = drawn(rows, group.dropout) if group.dropout else None
    low = torch.mm(without(rows, kept), down.t())
    parts = iter(zip(low.split_with_sizes(group.ranks, 1), ups, strict=True))
    outs, by_dora = [], {}
    for number, (layer, transposed) in enumerate(pairs):
        if layer.lora_a is None or layer.lora_b is None:
            outs.append(_times(rows, layer, transposed, residual))
            continue
        part, up = next(parts)
        added = rows.new_empty(len(rows), len(up)).addmm_(part, up.t(), beta=0, alpha=group.scale(layer))
        if layer.dora is not None:
            plain = partial(_times, layer=layer._replace(bias=None), transposed=transposed)
            matrices = layer.weight, layer.lora_a, layer.lora_b
            norm = layer.dora.norms.of(*matrices, layer.scale, plain, still=group.still)
            y = plain(rows, added=added, over=True)
            out, by_dora[number] = scaled(y, layer.dora.magnitude, norm, layer.bias, residual)
        else:
            out = _times(rows, layer, transposed, added, over=True)
            out = out if residual is None else out.add_(residual)
        outs.append(out)
    return outs, LowRank(down, ups, low, kept, by_dora)


def _times(
    rows: Tensor, layer: Layer, transposed: Tensor, added: Tensor | None = None, *, over: bool = False
) -> Tensor:
    """rows Wᵀ + b + added [T, out], LoRA left out. over: `added` may be overwritten."""
    if layer.packed is not None:
        return layer.packed.times(rows, layer.weight, layer.bias, added)
    if added is not None:
        out = torch.addmm(added, rows, transposed, out=added if over else None)
        return out if layer.bias is None else out.add_(layer.bias)
    return torch.mm(rows, transposed) if layer.bias is None else torch.addmm(layer.bias, rows, transposed)


def set_aside(low_rank: LowRank | None) -> tuple[LowRank | None, list[Tensor]]:
    """What is of the rows apart, for save_for_backward: gradient checkpointing lets go of nothing else."""
    if low_rank is None:
        return None, []
    nothing = low_rank.low.new_empty(0)
    aside = [low_rank.low, *(each.outputs for each in low_rank.scaled.values())]
    by_dora = {number: each._replace(outputs=nothing) for number, each in low_rank.scaled.items()}
    if low_rank.kept is None:
        return low_rank._replace(low=nothing, scaled=by_dora), aside
    return low_rank._replace(low=nothing, kept=nothing, scaled=by_dora), [*aside, low_rank.kept]


def put_back(low_rank: LowRank | None, aside: list[Tensor]) -> LowRank | None:
    """`set_aside` undone; takes its tensors off the front of `aside`."""
    if low_rank is None:
        return None
    low = aside.pop(0)
    by_dora = {number: each._replace(outputs=aside.pop(0)) for number, each in low_rank.scaled.items()}
    kept = None if low_rank.kept is None else aside.pop(0)
    return low_rank._replace(low=low, kept=kept, scaled=by_dora)


def project_backward(
    rows: Tensor,
    group: Group,
    low_rank: LowRank | None,
    outs: Sequence[Tensor],
    *,
    inputs: bool,
    inverse: Tensor | None = None,
    norm: Tensor | None = None,
) -> tuple[Tensor | None, list[Tensor]]:
    """Gradients given those of the outputs, `outs`: of the inputs [T, in] where asked for, and of Group.trained.

    inverse [T, 1] and norm [in]: the layers read the rows normalised, n = w x / rms(x), and the gradient of the
    inputs is that of n. A's needs n itself, dlowᵀ n; it comes from x, as (dlow / rms)ᵀ x scaled by w.
    """
    trained: list[Tensor] = []
    magnitudes: list[Tensor] = []
    low_gradient = kept = None
    if low_rank is not None:
        outs = list(outs)
        for number, each in low_rank.scaled.items():
            outs[number], gradient = each.back(outs[number])
            magnitudes.append(gradient)
        low_gradient = torch.empty_like(low_rank.low)
        parts = low_gradient.split_with_sizes(group.ranks, 1)
        pairs = [(layer, out) for layer, out in zip(group.layers, outs, strict=True) if layer.lora_b is not None]
        lows = low_rank.low.split_with_sizes(group.ranks, 1)
        ups_gradients = []
        for (layer, out), part, low, up in zip(pairs, parts, lows, low_rank.ups, strict=True):
            scale = group.scale(layer)
            part.addmm_(out, up, beta=0, alpha=scale)
            # [r, out] first: products with few columns are twice as slow as those with few rows.
            ups_gradients.append(out.new_empty(up.shape[::-1]).addmm_(low.t(), out, beta=0, alpha=scale).t())
        scaled = low_gradient if inverse is None else torch.mul(low_gradient, inverse).to(rows.dtype)
        kept = None if low_rank.kept is None else low_rank.kept.to(rows.dtype)
        downs_gradient = torch.mm(scaled.t(), without(rows, kept))
        if norm is not None:
            downs_gradient.mul_(norm)
        for down, up, up_gradient, parameter in zip(
            downs_gradient.split_with_sizes(group.ranks), low_rank.ups, ups_gradients, group.ups, strict=True
        ):
            same = parameter.dtype == up.dtype
            trained += [down, up_gradient] if same else [down.to(parameter.dtype), up_gradient.to(parameter.dtype)]
        trained += magnitudes
    x_gradient = None
    if inputs:
        for layer, out in zip(group.layers, outs, strict=True):
            x_gradient = product_back(out, layer.weight, layer.packed, x_gradient)
        if x_gradient is not None and low_rank is not None and low_gradient is not None:
            if kept is None:
                x_gradient.addmm_(low_gradient, low_rank.down)
            else:
                x_gradient.add_(torch.mm(low_gradient, low_rank.down).mul_(kept))
    return x_gradient, trained


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, one: Group, *_: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        (out,), low_rank = project(rows, one)
        ctx.low_rank, low = set_aside(low_rank)
        ctx.save_for_backward(rows, *low)
        ctx.group = one
        ctx.shape = x.shape
        # No view, which could not be changed in place by what follows (Gemma 3n does).
        return torch.ops.aten._unsafe_view(out, (*x.shape[:-1], out.shape[-1]))  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, *low = ctx.saved_tensors
        out = gradients[0].reshape(len(rows), -1)
        low_rank = put_back(ctx.low_rank, low)
        x_gradient, trained = project_backward(rows, ctx.group, low_rank, [out], inputs=ctx.needs_input_grad[0])
        return None if x_gradient is None else x_gradient.view(ctx.shape), None, *trained


def fuse_lora(model: Any) -> int:
    """Let a peft model's plain layers with LoRA or DoRA compute as one operation; how many do.

    Layers with another variant, a quantised base or several active adapters keep peft's way, and so does every layer
    while its adapter is switched off or merged.
    """
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _plain(module)]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)
        layer.__dict__.setdefault(_NORMS, RowNorms())
    return len(layers)


def _plain(layer: Any) -> bool:
    """Whether the layer is W x + s B A x, scaled by DoRA or not, with dropout or without, and nothing else."""
    return (
        type(layer.base_layer) is torch.nn.Linear
        and not layer.fan_in_fan_out
        and all(_is_dora(variant) for variant in layer.lora_variant.values())
        and adds_one_product(layer)
        and not layer.base_layer.weight.requires_grad
    )


def _is_dora(variant: Any) -> bool:
    return type(variant).__name__ == "DoraLinearVariant"


def adds_one_product(layer: Any) -> bool:
    """Whether a LoRA layer of peft, its variant aside, adds s B A x to its base, with dropout or without."""
    names = layer.active_adapters
    return (
        len(names) == 1
        and names[0] in layer.lora_A
        and probability(layer, names[0]) is not None
        and layer.lora_B[names[0]].bias is None
    )


@torch.no_grad()
def start_magnitudes(model: Any) -> None:
    """DoRA's magnitudes of fused layers as W's norms, so that training begins at the base's outputs.

    peft rounds them to W's format. For adapters that have not been trained: B is 0.
    """
    for module in model.modules():
        layer = layer_of(module) if is_fused(module) else None
        if layer is not None and layer.dora is not None:
            layer.dora.magnitude.copy_(squares(layer.weight).sqrt_())


def is_fused(module: torch.nn.Module) -> bool:
    """Whether fuse_lora has found the module plain."""
    return getattr(module.__dict__.get("forward"), "__func__", None) is _forward


def layer_of(module: Any) -> Layer | None:
    """What a module computes as it stands now; None where it is not a linear layer or a LoRA layer found plain."""
    if type(module) is torch.nn.Linear:
        return Layer(module.weight, module.bias, None, None, 0.0, packed_weight(module))
    if not is_fused(module) or (module.merged and module.disable_adapters):
        return None  # peft takes a merged adapter out of the weights when it is switched off
    base = module.base_layer
    packed = packed_weight(base)
    if module.merged or module.disable_adapters:
        return Layer(base.weight, base.bias, None, None, 0.0, packed)
    names = module.active_adapters
    if len(names) != 1 or names[0] not in module.lora_A:
        return None
    name = names[0]
    lora_a, lora_b = module.lora_A[name].weight, module.lora_B[name].weight
    dropout = probability(module, name) or 0.0
    layer = Layer(base.weight, base.bias, lora_a, lora_b, module.scaling[name], packed, dropout)
    variant = module.lora_variant.get(name)
    if variant is None:
        return layer
    if not _is_dora(variant):
        return None
    return layer._replace(dora=Dora(module.lora_magnitude_vector[name].weight, module.__dict__[_NORMS]))


def _forward(module: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    layer = None if args or kwargs else layer_of(module)
    trained = torch.is_grad_enabled() and module.base_layer.weight.requires_grad
    if layer is None or layer.lora_a is None or trained:
        out: Tensor = type(module).forward(module, x, *args, **kwargs)
        return out
    one = grouped(layer) if module.training else grouped(layer).at_rest()
    fused: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x.to(layer.weight.dtype), one, *one.trained()
    )
    return fused
