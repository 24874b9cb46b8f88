"""What a training has to compute, counted without computing it: from token sequences, or from their lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence

from burnish.models.layout import How, Tree
from burnish.models.padding import rounded_size
from burnish.training.batches import collate, epoch_order, micro_batches, steps_per_epoch, total_steps
from burnish.training.devices import Device
from burnish.training.estimate import Work, attention_on, passes_plans
from burnish.training.objectives.base import Item
from burnish.training.shapes import ModelShape


def layout_on(device: Device, shape: ModelShape) -> How:
    """How a device's attention wants a pass laid out: see models/attention.py."""
    if attention_on(shape, device) == "own":
        return "tree"
    return "packed" if device.kind == "gpu" and passes_plans(shape) else "masked"


def work_of_items(
    items: Sequence[Item],
    *,
    batch_size: int,
    tokens_per_batch: int,
    num_epochs: float,
    max_steps: int | None = None,
    seed: int = 0,
    how: How = "tree",
    share: bool = True,
    trained: int = 1,
) -> Work:
    """The work of training on these items, laid out as the first epoch lays them out; others differ little."""
    steps = total_steps(len(items), batch_size, num_epochs, max_steps)
    order = epoch_order([item.tokens for item in items], batch_size, seed, 0)[:steps]
    largest, labels, passes = 0, 0, 0
    sizes: set[int] = set()
    tokens = labelled = pairs = parts = 0
    for numbers in order:
        cut = micro_batches([items[i] for i in numbers], tokens_per_batch, trained=trained, how=how, share=share)
        passes = max(passes, len(cut))
        parts += len(cut)
        for part in cut:
            batch = collate(part, trained=trained, how=how, share=share)
            size, count = batch.tokens_RT.numel(), len(batch.targets_N)
            sizes.add(rounded_size(size) if how == "tree" else size)
            if (size, count) > (largest, labels):
                largest, labels = size, count
            tokens += size
            labelled += count
            pairs += size * batch.tokens_RT.shape[1] if batch.tree is None else _pairs(batch.tree, how)
    times = steps / len(order)
    all_of = times * tokens, times * labelled, times * pairs, times * parts
    return Work(largest, labels, passes, steps, *all_of, len(sizes))


def _pairs(tree: Tree, how: How) -> int:
    """Queries times keys: a block of them for every node, or all of all where a mask says who sees whom."""
    if how == "masked":
        return len(tree.tokens) ** 2
    return sum((node.end - node.start) * (node.depth + node.end - node.start) for node in tree.nodes)


def uniform_work(
    *,
    rows: int,
    length: int,
    batch_size: int,
    tokens_per_batch: int,
    num_epochs: float,
    answer: int | None = None,
    prefix: int = 0,
    devices: int = 1,
) -> Work:
    """The work of training on rows of equal length. answer: labelled tokens of a row (default: a quarter);
    prefix: tokens that all rows begin with, computed once a pass."""
    answer = max(1, length // 4) if answer is None else answer
    own = length - prefix
    mine = math.ceil(batch_size / devices)
    fitting = max(1, min(mine, (tokens_per_batch - prefix) // own))
    passes = math.ceil(mine / fitting)
    together = math.ceil(mine / passes)
    steps = total_steps(rows, batch_size, num_epochs, None)
    share = rows / (batch_size * steps_per_epoch(rows, batch_size))  # the last step of an epoch may be smaller
    all_passes = steps * passes * share * devices
    tokens = prefix + together * own
    pairs = prefix**2 + together * own * length
    exact = steps * batch_size * share
    return Work(
        tokens=tokens,
        labelled=together * answer,
        passes=passes,
        steps=steps,
        all_tokens=all_passes * prefix + exact * own,
        all_labelled=exact * answer,
        all_pairs=all_passes * pairs,
        all_passes=all_passes,
    )
