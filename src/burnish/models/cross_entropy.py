"""Cross-entropy straight from hidden states: the scores over the vocabulary never exist for all positions at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.models.packed import PackedWeight, product_back
from burnish.models.padding import rounded_size

# Scores computed at a time. On CPU 32 MB in float32, which a processor's last cache holds; elsewhere 512 MB, since
# each part reads the head's weights once: with fewer rows that reading would take longer than the products.
CHUNK_ELEMENTS = 2**23
CHUNK_ELEMENTS_GPU = 2**27


class _LinearCrossEntropy(torch.autograd.Function):
    """Losses of h Wᵀ in chunks of rows.

    The gradient of loss n is g_n (softmax(h_n Wᵀ) - onehot_n) W. All but the upstream factor g_n is known in the
    forward pass, where the scores are at hand, so it is computed there and the scores are thrown away (the idea of
    Liger, Hsu et al. 2024, section 3.2). A trained head needs g_n for its own gradient; then the scores are
    computed again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, packed: PackedWeight | None, size: int
    ) -> Tensor:
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        now = ctx.needs_input_grad[0] and not ctx.needs_input_grad[1]
        gradient = torch.empty_like(hidden) if now else None
        for part in _chunks(len(hidden), size):
            losses[part], scores_gradient = _losses(hidden[part], weight, targets[part], packed, gradient=now)
            if gradient is not None:
                gradient[part] = product_back(scores_gradient.to(weight.dtype), weight, packed)
        ctx.known, ctx.size = now, size
        ctx.save_for_backward(hidden if gradient is None else gradient, weight, targets)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        first, weight, targets = ctx.saved_tensors
        upstream_N1 = upstream[0][:, None]
        if ctx.known:
            return first * upstream_N1.to(first.dtype), None, None, None, None
        hidden_gradient = torch.empty_like(first)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        for part in _chunks(len(first), ctx.size):
            _, scores_gradient = _losses(first[part], weight, targets[part], None, gradient=True)
            scores_gradient = scores_gradient.mul_(upstream_N1[part]).to(weight.dtype)
            hidden_gradient[part] = scores_gradient @ weight
            weight_gradient += (scores_gradient.t() @ first[part]).float()
        return hidden_gradient, weight_gradient.to(weight.dtype), None, None, None


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, packed: PackedWeight | None = None
) -> Tensor:
    """-log softmax(hidden weightᵀ) at each target [N], in float32; gradients flow to hidden and a trained weight.

    Equal to cross_entropy(hidden @ weight.T, targets, reduction="none") with the scores taken in float32. packed: a
    frozen weight's, to multiply by; its parts have one of few sizes, the last filled up with zeros.
    """
    rows = len(hidden_ND)
    most = max(1, (CHUNK_ELEMENTS if weight_VD.device.type == "cpu" else CHUNK_ELEMENTS_GPU) // len(weight_VD))
    parts = max(1, -(-rows // most))
    size = max(1, -(-rows // parts))
    if packed is not None:
        size = rounded_size(size)
        added = size * parts - rows
        hidden_ND = torch.nn.functional.pad(hidden_ND, (0, 0, 0, added))
        targets_N = torch.nn.functional.pad(targets_N, (0, added))
    losses: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, targets_N, packed, size
    )
    return losses[:rows]


def _chunks(rows: int, size: int) -> list[slice]:
    return [slice(start, min(rows, start + size)) for start in range(0, rows, size)]


def _losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, packed: PackedWeight | None, *, gradient: bool
) -> tuple[Tensor, Tensor]:
    """Losses [n] and, when asked for, softmax - onehot [n, V] in float32 (else the room it would take)."""
    scores = (hidden @ weight.t() if packed is None else packed.times(hidden, weight, None)).float()
    rows = torch.arange(len(targets), device=targets.device)
    highest = scores.amax(dim=1, keepdim=True)
    scores.sub_(highest)
    wanted = scores[rows, targets]
    scores.exp_()
    total = scores.sum(dim=1, keepdim=True)
    losses = total.log()[:, 0] - wanted
    if gradient:
        scores.div_(total)
        scores[rows, targets] -= 1.0
    return losses, scores
