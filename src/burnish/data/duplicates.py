"""Equal rows found by their hashes, in arrays of eight bytes a row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


def repeated(hashes: Hashes) -> Hashes:
    """The values that occur more than once, sorted."""
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def members(hashes: Hashes, wanted: Hashes) -> Rows:
    """Indices of the rows whose hash is among `wanted` (sorted, without copies)."""
    if not len(wanted) or not len(hashes):
        return np.empty(0, dtype=np.int64)
    found = []
    for start in range(0, len(hashes), 1 << 20):  # in blocks: the index of ten million rows would be 80 MB
        block = hashes[start : start + (1 << 20)]
        place = np.minimum(np.searchsorted(wanted, block), len(wanted) - 1)
        found.append(np.flatnonzero(wanted[place] == block) + start)
    return np.concatenate(found)


def later_copies(hashes: Hashes) -> tuple[Rows, Rows]:
    """Indices of the rows that repeat an earlier one, and of the first row that each repeats."""
    rows = members(hashes, repeated(hashes))
    _, first, which = np.unique(hashes[rows], return_index=True, return_inverse=True)
    firsts = rows[first][which]
    later = rows != firsts
    return rows[later], firsts[later]


def conflicting(inputs: Hashes, contents: Hashes) -> tuple[Rows, int]:
    """Rows whose input also occurs with another target, and the number of such inputs.

    inputs: hash of what is asked; contents: hash of input and target together.
    """
    rows = members(inputs, repeated(inputs))
    if not len(rows):
        return rows, 0
    pairs = np.unique(np.stack([inputs[rows], contents[rows]], axis=1), axis=0)
    asked = repeated(pairs[:, 0])
    return members(inputs, asked), len(asked)


def shared(left: Hashes, right: Hashes) -> Rows:
    """Indices of the rows of `left` whose hash also occurs in `right`."""
    return members(left, np.unique(right))
