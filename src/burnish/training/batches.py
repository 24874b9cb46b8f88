"""Which examples make a step, and how it is cut into forward passes.

Everything follows from the lengths, the settings and the seed, so a resumed run sees the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from burnish.models.layout import Batch, How, lay_out, token_budget_parts
from burnish.training.objectives.base import Item

WINDOW = 16  # steps whose examples are sorted by length together: less padding, still random


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps of one pass; the last one may be smaller."""
    return math.ceil(examples / batch_size)


def total_steps(examples: int, batch_size: int, num_epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of the whole training, at least one."""
    steps = max(1, round(steps_per_epoch(examples, batch_size) * num_epochs))
    return min(steps, max_steps) if max_steps else steps


def epoch_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The steps of one epoch: each example once, similar lengths together, in an order of (seed, epoch)."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    steps: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size].tolist(), key=lambda i: (lengths[i], i))
        # A window's last cut may be short; cutting from the long end leaves it among the short rows.
        window.reverse()
        steps.extend(window[cut : cut + batch_size] for cut in range(0, len(window), batch_size))
    rng.shuffle(steps)
    return steps


def micro_batches(
    items: Sequence[Item], tokens_per_batch: int, *, trained: int = 1, how: How, share: bool = True
) -> list[list[Item]]:
    """Cut a step into passes of at most tokens_per_batch tokens; what is computed once counts once.

    trained: how many of each item's sequences are computed. An item that exceeds the budget goes alone.
    """
    sequences = [item.sequences[:trained] for item in items]
    parts = token_budget_parts(sequences, tokens_per_batch, how=how, share=share)
    return [[items[i] for i in part] for part in parts]


def collate(items: Sequence[Item], *, trained: int = 1, how: How, share: bool = True, device: str = "cpu") -> Batch:
    """Lay out the first `trained` sequences of each item, in order, as one forward pass."""
    sequences = [sequence for item in items for sequence in item.sequences[:trained]]
    return lay_out(sequences, how=how, share=share, device=device)
