"""Rows of several lengths as one batch, and batches of few sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(rows: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids [rows, longest], zeros at the ends of shorter rows, and where they hold tokens (bool)."""
    longest = max(map(len, rows), default=0)
    ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids_BT[place, : len(row)] = torch.tensor(row)
        mask_BT[place, : len(row)] = True
    return ids_BT.to(device), mask_BT.to(device)


def rounded_size(rows: int) -> int:
    """The next of few numbers: multiples of 8, from 128 on 16 between a power of two and the next.

    On a CPU, oneDNN makes code for a product of a size that it has not met, half a megabyte that takes as long as a
    small product. Some forty products of a training step have a size that depends on its tokens (docs/log.md).
    """
    step = max(8, 2 ** (rows.bit_length() - 5)) if rows > 0 else 1
    return -(-rows // step) * step
