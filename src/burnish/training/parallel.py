"""Processes that train together: each computes its share of a step, and gradients are added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Group(NamedTuple):
    """This process among `size` of them; alone by default. Rank 0 writes files and measures."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def share(self, items: Sequence[T]) -> list[T]:
        """The items of this process."""
        return list(items[self.rank :: self.size])

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients over all processes, in one exchange for each number format."""
        if self.size == 1:
            return
        for dtype in sorted({parameter.dtype for parameter in parameters}, key=str):
            some = [parameter for parameter in parameters if parameter.dtype == dtype]
            found = [torch.zeros_like(p) if p.grad is None else p.grad for p in some]
            flat = torch.cat([gradient.flatten() for gradient in found])
            torch.distributed.all_reduce(flat)
            at = 0
            for parameter in some:
                parameter.grad = flat[at : at + parameter.numel()].view_as(parameter)
                at += parameter.numel()

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return [float(value) for value in total]

    def names(self, names: Sequence[str]) -> list[str]:
        """All names that any process has, sorted."""
        found: list[list[str]] = [[] for _ in range(self.size)]
        torch.distributed.all_gather_object(found, list(names))
        return sorted({name for some in found for name in some})

    def from_first(self, value: float) -> float:
        """Rank 0's value."""
        if self.size == 1:
            return value
        kept = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(kept, 0)
        return float(kept)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()
