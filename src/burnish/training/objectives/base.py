"""What an objective is: a loss of labelled tokens, and which sequences it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from burnish.models.layout import Batch, Labelled
from burnish.records import Source


class Item(NamedTuple):
    """What an objective learns from as one: a row, a pair, an answer with a mismatched one.

    sequences: as many as the objective asks for. weight: multiplies the item's loss. reference: log-probability of
    each sequence under the reference model, where the objective needs one. desirable: of a single answer, whether it
    is a good one.
    """

    sequences: tuple[Labelled, ...]
    weight: float
    source: Source
    reference: tuple[float, ...] = ()
    desirable: bool = True

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(sequence.tokens) for sequence in self.sequences)

    @property
    def labelled(self) -> int:
        """Tokens that carry a label."""
        return sum(sequence.labelled for sequence in self.sequences)


class Loss(NamedTuple):
    """value: the items' share of the step's loss. sums: numbers to report, each a weighted sum over the items."""

    value: Tensor
    sums: Mapping[str, Tensor]


class BatchLoss(Protocol):
    """losses_N: -log p of the labelled tokens of `batch`, which holds the trained sequences of the items, in order.

    normaliser: of the whole step. shared: what `before_step` gave, else 0.
    """

    def __call__(
        self, losses_N: Tensor, batch: Batch, items: Sequence[Item], *, normaliser: float, shared: float
    ) -> Loss: ...


Score = Callable[[Sequence[Labelled]], list[float]]  # log-probability of sequences under the model as it is


def item_weight(item: Item) -> float:
    """An item's share of the normaliser, where all items count alike."""
    return item.weight


class Objective(NamedTuple):
    """A pure loss with its batch layout. The loop knows nothing else of it.

    trained: how many of an item's sequences, from the first, the loss computes with gradients.
    share: an item's part of what the summed loss of a whole step is divided by, so that parts of a step add up.
    before_step: a number that the losses of a step share, computed from all its items without gradients.
    """

    name: str
    loss: BatchLoss
    trained: int = 1
    needs_reference: bool = False
    share: Callable[[Item], float] = item_weight
    before_step: Callable[[Sequence[Item], Score], float] | None = None


def sequence_sums(losses_N: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Σ weight · log p of each sequence [S], and the weight of its labels [S]."""
    weights_N = batch.weights_N.to(losses_N.dtype)
    zeros_S = losses_N.new_zeros(batch.sequences)
    return (
        zeros_S.index_add(0, batch.sequences_N, -losses_N * weights_N),
        zeros_S.index_add(0, batch.sequences_N, weights_N),
    )


def item_weights(items: Sequence[Item], like: Tensor) -> Tensor:
    """The items' weights [I]."""
    return torch.tensor([item.weight for item in items], dtype=like.dtype, device=like.device)


def reference_sums(items: Sequence[Item], like: Tensor) -> Tensor:
    """The reference log-probabilities of the items' sequences [I, sequences]."""
    return torch.tensor([item.reference for item in items], dtype=like.dtype, device=like.device)
