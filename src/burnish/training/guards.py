"""Checks against the failures that stay silent elsewhere. Each refuses with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from burnish.errors import TrainingError
from burnish.models.chat import Chat
from burnish.models.whole import whole
from burnish.training.objectives.base import Item
from burnish.training.parallel import Group
from burnish.training.split_weights import moved_below

_PART = 2**20  # values added up at a time


def check_labels(rows: Sequence[Item], chat: Chat) -> None:
    """Before step 1: every sequence has labels, and each learned turn's end is one of them (axolotl #3754, #2089)."""
    for row in rows:
        where = f"{row.source.file}:{row.source.line}"
        for sequence in row.sequences:
            if sequence.labelled < 1:
                raise TrainingError(
                    "this example has no labelled token, so nothing would be learned from it",
                    got=chat.tokenizer.decode(sequence.tokens[-40:]),
                    where=where,
                    fix="give it an answer, or raise training.max_length",
                )
            for span in sequence.spans:
                if sequence.tokens[span.last - 1] not in chat.stop_ids:
                    tail = [chat.tokenizer.decode([token]) for token in sequence.tokens[span.last - 6 : span.last]]
                    raise TrainingError(
                        "the end-of-turn token carries no label: the model would never learn to stop",
                        got=tail,
                        where=where,
                        fix=f"use a chat template that closes the assistant's turn with {_names(chat)}",
                    )


def _names(chat: Chat) -> str:
    return " or ".join(repr(chat.tokenizer.decode([token])) for token in sorted(chat.stop_ids))


class MovedGuard:
    """After the first steps the trainable parameters must have moved and the frozen ones must not
    (LLaMA-Factory #7665).

    LoRA starts with B = 0, so A has no gradient in step 1: the check is due after step 2.
    """

    DUE = 2

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._model, self._optimizer = model, optimizer
        self._before = {name: _checksum(parameter) for name, parameter in model.named_parameters()}

    def check(self) -> None:
        """Raise TrainingError naming the parameters that behave otherwise."""
        still: list[str] = []
        moved: list[str] = []
        for name, parameter in self._model.named_parameters():
            same = _checksum(parameter) == self._before[name]
            if parameter.requires_grad and same:
                if self._optimizer is None or not moved_below(self._optimizer, parameter):
                    still.append(name)
            elif not parameter.requires_grad and not same:
                moved.append(name)
        if still:
            raise TrainingError(
                f"{len(still)} trainable parameters did not change in the first steps",
                got=still[0],
                fix="check training.learning_rate and training.lora_target_modules; these modules get no gradient",
            )
        if moved:
            raise TrainingError(
                f"{len(moved)} frozen parameters changed during training",
                got=moved[0],
                fix="this is a defect of the model's code or of Burnish; please report it with the model's name",
            )


def check_same(model: Any, group: Group) -> None:
    """The processes must hold the same trained weights: a difference, once there, grows with every step."""
    if group.size == 1 or group.sharded:
        return
    total = sum(_checksum(parameter) for parameter in model.parameters() if parameter.requires_grad)
    if not group.agree(total % 2**62):
        raise TrainingError(
            f"the {group.size} processes hold different weights",
            fix="train on machines of one kind with the same versions; please report it if they are",
        )


@torch.no_grad()
def _checksum(parameter: torch.Tensor) -> int:
    """Wrapping sum of the raw bits: changes with any single value.

    In parts, since PyTorch widens what it sums: of an embedding matrix that would be the largest tensor of all. Read
    once, since each reading makes the host wait for the GPU.
    """
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()]
    bits = whole(parameter.detach()).contiguous().view(kind).flatten()
    parts = [bits[at : at + _PART].sum(dtype=torch.int64) for at in range(0, len(bits), _PART)]
    return int(torch.stack(parts).sum()) if parts else 0
