"""Which examples make a step, and how a micro-batch is laid out.

Everything follows from the lengths, the settings and the seed, so a resumed run sees the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from burnish.models.generate import shared_length
from burnish.training.encode import Encoded

WINDOW = 16  # steps whose examples are sorted by length together: less padding, still random
LEAST_PREFIX = 8  # shared tokens below which a separate pass for the prefix does not pay


class Batch(NamedTuple):
    """One micro-batch of B rows.

    prefix_P: tokens that all rows start with, or None; tokens_BT: the rest of each row, padded on the right
    (causal attention never looks there, and no padded position is in rows_N and columns_N).
    rows_N, columns_N: where in tokens_BT the hidden states are that predict targets_N.
    """

    prefix_P: Tensor | None
    tokens_BT: Tensor
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    tokens: int


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


def micro_batches(rows: Sequence[Encoded], tokens_per_batch: int, *, share: bool) -> list[list[Encoded]]:
    """Cut a step so that rows × longest row stays within the budget; a single longer row goes alone.

    share: whether a prefix of all rows is computed once; then it counts once.
    """
    prefix = shared_prefix(rows) if share else 0
    budget = tokens_per_batch - prefix
    batches: list[list[Encoded]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        if not batches or (len(batches[-1]) + 1) * longest > budget:
            batches.append([])
            longest = len(row.tokens) - prefix
        batches[-1].append(row)
    return batches


def shared_prefix(rows: Sequence[Encoded]) -> int:
    """Tokens that all rows start with and that can be computed once; 0 when that does not pay.

    One token of every prompt stays outside, since the last prompt token predicts the first label.
    """
    return shared_length([row.tokens[: row.prompt_length] for row in rows], LEAST_PREFIX)


def collate(rows: Sequence[Encoded], *, share: bool, device: str) -> Batch:
    """Lay out a micro-batch; share allows a prefix to be split off."""
    prefix = shared_prefix(rows) if share else 0
    width = max(len(row.tokens) for row in rows) - prefix
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    places: list[tuple[int, int, int, float]] = []
    for i, row in enumerate(rows):
        own = row.tokens[prefix:]
        tokens[i, : len(own)] = own
        places += [(i, t - 1, own[t], row.weight) for t in range(row.prompt_length - prefix, len(own))]
    index, columns, targets, weights = zip(*places, strict=True)
    return Batch(
        prefix_P=torch.tensor(rows[0].tokens[:prefix], device=device) if prefix else None,
        tokens_BT=torch.from_numpy(tokens).to(device),
        rows_N=torch.tensor(index, device=device),
        columns_N=torch.tensor(columns, device=device),
        targets_N=torch.tensor(targets, device=device),
        weights_N=torch.tensor(weights, dtype=torch.float32, device=device),
        tokens=sum(len(row.tokens) for row in rows),
    )
