"""Processes that train together: each computes its share of a step, and gradients are added up.

Losses are divided by what the whole step holds, so the sum of the processes' gradients is the gradient that one
process would have computed; it differs by rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Group(NamedTuple):
    """This process among `size` of them; alone by default. Rank 0 writes files and measures.

    device: where exchanged numbers live ("cpu", or "cuda" for NCCL). sharded: each process holds a part of every
    weight (training/sharding.py), so that forward passes, too, are taken by all processes together.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    sharded: bool = False

    def share(self, items: Sequence[T]) -> list[T]:
        """The items of this process."""
        return list(items[self.rank :: self.size])

    def largest_share(self, sizes: Sequence[int]) -> int:
        """Sum of the sizes in the largest share of any process."""
        return max(sum(sizes[rank :: self.size]) for rank in range(self.size))

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients over all processes, in one exchange for each number format.

        Sharded parameters have been summed in the backward pass.
        """
        if self.size == 1 or self.sharded:
            return
        for dtype in sorted({parameter.dtype for parameter in parameters}, key=str):
            some = [parameter for parameter in parameters if parameter.dtype == dtype]
            found = [torch.zeros_like(p, dtype=p.grad_dtype) if p.grad is None else p.grad for p in some]
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

    def most(self, value: int) -> int:
        """The largest value of any process."""
        if self.size == 1:
            return value
        kept = torch.tensor([value], dtype=torch.int64, device=self.device)
        torch.distributed.all_reduce(kept, torch.distributed.ReduceOp.MAX)
        return int(kept)

    def any(self, told: bool) -> bool:
        """Whether any process says so."""
        return self.most(int(told)) > 0

    def agree(self, value: int) -> bool:
        """Whether all processes have the same value (of 64 bits)."""
        return self.most(value) == -self.most(-value)

    def names(self, names: Sequence[str]) -> list[str]:
        """All names that any process has, sorted."""
        if self.size == 1:
            return sorted(names)
        found: list[list[str]] = [[] for _ in range(self.size)]
        torch.distributed.all_gather_object(found, list(names))
        return sorted({name for some in found for name in some})

    def rows(self, own: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape and dtype, on the CPU."""
        if self.size == 1:
            return [own]
        sent = own.to(self.device)
        found = [torch.empty_like(sent) for _ in range(self.size)]
        torch.distributed.all_gather(found, sent)
        return [row.cpu() for row in found]

    def from_first(self, value: float) -> float:
        """Rank 0's value."""
        if self.size == 1:
            return value
        kept = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(kept, 0)
        return float(kept)

    def same(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values of rank 0."""
        for tensor in tensors if self.size > 1 else ():
            torch.distributed.broadcast(tensor.data, 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = Group()
