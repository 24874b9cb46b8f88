"""Whether a training learned its examples by heart: read from its losses."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.records import Json


def overfitting(history: Sequence[dict[str, Json]]) -> str | None:
    """A sentence when the losses say that the model learned its examples by heart, else None.

    Two signs: the validation loss ended 5% or more above its lowest value, or above 1.5 times the mean training
    loss of the last tenth of the steps (and by at least 0.1).
    """
    validation = [(line["step"], line["validation_loss"]) for line in history if "validation_loss" in line]
    losses = [line["loss"] for line in history if "loss" in line]
    if not validation or not losses:
        return None
    lowest_step, lowest = min(validation, key=lambda pair: pair[1])
    last = validation[-1][1]
    if last > 1.05 * lowest and last - lowest > 0.02:
        return (
            f"Over-fitting: the validation loss rose from {lowest:.3f} (step {lowest_step}) to {last:.3f}. "
            "Fewer epochs or more data would help."
        )
    tail = losses[-max(1, len(losses) // 10) :]
    mean = sum(tail) / len(tail)
    if last > 1.5 * mean and last - mean > 0.1:
        return (
            f"Over-fitting: the validation loss is {last:.3f}, the training loss {mean:.3f}. "
            "More data, fewer epochs or a lower rank would help."
        )
    return None
