"""RMSNorm with a backward pass by hand (Zhang & Sennrich 2019, equation 4): y = w x / rms(x).

Autograd keeps five tensors of the size of x for it; here x itself and one number a row are all there is to keep.
Sums over a row are taken in float32 (float64 for float64 rows), as transformers takes them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.compiled import compiled_on_gpu


@compiled_on_gpu
def inverse_rms(rows: Tensor, epsilon: float) -> Tensor:
    """1 / sqrt(mean(x²) + epsilon) of each row: rows [T, D] to [T, 1], in float32 or wider."""
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    norm: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=wide)
    return norm.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()


@compiled_on_gpu
def normalise(rows: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """w x / rms(x) in the number format of rows [T, D], rounded where transformers rounds."""
    return torch.mul(rows, inverse).to(rows.dtype).mul_(weight)


@compiled_on_gpu
def normalise_backward(
    gradient: Tensor, rows: Tensor, inverse: Tensor, weight: Tensor, residual: Tensor | None = None
) -> Tensor:
    """Gradient of x [T, D], given that of the normalised rows, which is overwritten.

    With n = x / rms(x) and g = w dy it is (g - n mean(g n)) / rms(x). residual: a gradient that reaches x by another
    way, added on.
    """
    g = gradient.mul_(weight).to(inverse.dtype)
    x = rows.to(inverse.dtype)
    along = torch.linalg.vecdot(g, x).unsqueeze_(-1).mul_(inverse.pow(3))
    out = g.mul_(inverse) if residual is None else torch.addcmul(residual.to(g.dtype), g, inverse)
    return out.addcmul_(x, along, value=-1 / rows.shape[-1]).to(rows.dtype)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inverse = inverse_rms(rows, epsilon)
        ctx.save_for_backward(rows, inverse, weight)
        return normalise(rows, inverse, weight).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, inverse, weight = ctx.saved_tensors
        gradient = gradients[0].reshape(rows.shape)
        weight_gradient = x_gradient = None
        if ctx.needs_input_grad[1]:
            weight_gradient = torch.mul(rows, inverse).mul_(gradient).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            # Autograd may hand the same gradient to others, so it is not ours to overwrite.
            x_gradient = normalise_backward(gradient.clone(), rows, inverse, weight).view(gradients[0].shape)
        return x_gradient, weight_gradient, None


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """w x / rms(x) over the last axis; weight [D] of x's number format. Gradients flow to both."""
    out: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return out
