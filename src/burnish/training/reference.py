"""The reference model's log-probabilities: computed once, before the first step, and kept for a resumed run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from burnish.models.score import sequence_logprobs
from burnish.progress import Progress
from burnish.runs import read_json, write_json
from burnish.training.objectives.base import Item
from burnish.training.parallel import ALONE, Group


def with_reference(
    items: Sequence[Item],
    model: Any,
    path: Path,
    *,
    tokens_per_batch: int,
    share: bool,
    group: Group,
    progress: Progress,
) -> list[Item]:
    """The items with log ref(sequence) for each of their sequences.

    The reference is the model without its adapter, or, where all weights are trained, the model as it is now: before
    the first step. path: where the numbers are kept; those of the same sequences are read from there.
    """
    digest = _digest(items)
    known = read_json(path) if path.exists() else None
    # All processes decide alike, also where one does not see the file yet.
    if group.any(known is None or known["sequences"] != digest) or known is None:
        progress.notice(f"computing the reference's log-probabilities of {len(items)} items (once)")
        writes = group.rank == 0
        if group.sharded:  # passes are taken together: all compute all
            group = ALONE
        own = [sequence for item in group.share(items) for sequence in item.sequences]
        with model.disable_adapter() if hasattr(model, "peft_config") else nullcontext():
            found = sequence_logprobs(
                model,
                own,
                tokens_per_batch=tokens_per_batch,
                share=share,
                on_progress=lambda done, total: progress.advance("reference", done, total),
            )
        width = len(items[0].sequences)
        table = [0.0] * (len(items) * width)
        for place, value in enumerate(found):
            number = group.rank + group.size * (place // width)
            table[number * width + place % width] = value
        table = group.sums(table)
        known = {"sequences": digest, "values": [table[i : i + width] for i in range(0, len(table), width)]}
        if writes:
            write_json(path, known)
    return [item._replace(reference=tuple(values)) for item, values in zip(items, known["values"], strict=True)]


def _digest(items: Sequence[Item]) -> str:
    text = repr([item.sequences for item in items])
    return hashlib.sha256(text.encode()).hexdigest()
