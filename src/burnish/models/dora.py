"""DoRA: each output of a LoRA layer is brought to a length of its own (Liu et al. 2024, equation 5).

    y = m / |W + s B A| (W + s B A) x

with the norm of each row of W + s B A, which is a constant to the gradients (section 4.3). peft makes the product
B A, a matrix of W's size, in every pass, and computes with float32 copies of W. A row's norm needs neither:
|w + s b A|² = |w|² + 2 s b · (A w) + s² b (A Aᵀ) bᵀ, of which |w|² stays and the rest is as cheap as LoRA itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.compiled import compiled_on_gpu


class Scaled(NamedTuple):
    """A layer's outputs multiplied by 1 + more [out], and what its backward pass needs.

    more is in the outputs' format: next to 1 bfloat16 has no number nearer than 0.4%, next to 0 it has. outputs
    [T, out]: before the multiplication or after it; divisor [out]: what the sum of gradient and outputs is divided by
    to be the magnitudes' gradient, in float32 or wider.
    """

    more: Tensor
    divisor: Tensor
    outputs: Tensor

    def back(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the outputs before the multiplication [T, out] and of the magnitudes [out]."""
        return torch.addcmul(gradient, gradient, self.more), _by_output(gradient, self.outputs, self.divisor)


class RowNorms:
    """Norms of the rows of one layer's W + s B A.

    |w|² is computed at the first use and again when W lies elsewhere. Passes that train compute the rest anew;
    between them, as in decoding token after token, it stays what it was. Copies of a model begin anew.
    """

    def __init__(self) -> None:
        self._squares: tuple[tuple[Any, ...], Tensor] | None = None
        self._norm: tuple[tuple[Any, ...], Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> RowNorms:
        return RowNorms()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return RowNorms, ()

    def of(
        self,
        weight: Tensor,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
        times: Callable[[Tensor], Tensor],
        *,
        still: bool = False,
    ) -> Tensor:
        """Norms [out], in float32 or wider: weight [out, in], lora_a [r, in], lora_b [out, r].

        times: rows [r, in] to rows Wᵀ. still: not a pass that trains.
        """
        if not still:
            self._norm = None
            return self._now(weight, lora_a, lora_b, scale, times)
        key = (*_same(weight), *_same(lora_a), *_same(lora_b), scale)
        if self._norm is None or self._norm[0] != key:
            self._norm = key, self._now(weight, lora_a, lora_b, scale, times)
        return self._norm[1]

    @torch.inference_mode(False)
    @torch.no_grad()
    def _now(
        self, weight: Tensor, lora_a: Tensor, lora_b: Tensor, scale: float, times: Callable[[Tensor], Tensor]
    ) -> Tensor:
        key = _same(weight)
        if self._squares is None or self._squares[0] != key:
            self._squares = key, squares(weight)
        wide = self._squares[1].dtype
        down, up = lora_a.to(weight.dtype), lora_b.to(weight.dtype)  # as they are multiplied with
        across = times(down).t().to(wide)
        down, up = down.to(wide), up.to(wide)
        # b · (2 A w + s b A Aᵀ), row by row
        inner = torch.addmm(across, up, down @ down.t(), beta=2, alpha=scale)
        found: Tensor = torch.linalg.vecdot(up, inner).mul_(scale).add_(self._squares[1])
        return found.clamp_(min=torch.finfo(wide).tiny).sqrt_()


def squares(weight: Tensor) -> Tensor:
    """|w|² of each row of W [out, in], in float32 or wider."""
    wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(weight, dim=1, dtype=wide)
    return norms.square_()


class Dora(NamedTuple):
    """A layer's magnitudes [out], trained, and the norms of its rows."""

    magnitude: Tensor
    norms: RowNorms


def _same(tensor: Tensor) -> tuple[int, int, torch.dtype]:
    return tensor.data_ptr(), tensor._version, tensor.dtype


def scaled(
    outputs: Tensor, magnitude: Tensor, norm: Tensor, bias: Tensor | None = None, residual: Tensor | None = None
) -> tuple[Tensor, Scaled]:
    """m / norm * outputs + bias + residual [T, out], and what its backward pass needs; outputs may be overwritten.

    What is kept is in memory anyway where it can be: the layer's output, as long as nothing is added to it. A sum is
    rounded once: deep models have layers whose outputs are larger than all that they are added to (docs/log.md).
    """
    wide = magnitude.detach().to(norm.dtype)
    factor = wide / norm
    more = factor.sub(1).to(outputs.dtype)
    if bias is None and residual is None:
        out = outputs.addcmul_(outputs, more)
        return out, Scaled(more, torch.where(wide == 0, torch.inf, wide), out)
    return _added(outputs, factor, bias, residual), Scaled(more, norm, outputs)


@compiled_on_gpu
def _added(outputs: Tensor, factor: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    addends = [each.to(factor.dtype) for each in (bias, residual) if each is not None]
    return torch.addcmul(sum(addends[1:], addends[0]), outputs, factor).to(outputs.dtype)


@compiled_on_gpu
def _by_output(gradient: Tensor, outputs: Tensor, divisor: Tensor) -> Tensor:
    return torch.mul(gradient, outputs).sum(0, dtype=divisor.dtype).div_(divisor)
