"""Settings that fit a device, those that change least first: fewer tokens a pass, gradient checkpointing (the same
result, more time), then a leaner method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from burnish.training.devices import Device
from burnish.training.estimate import Estimate, Method, Setup, Work, estimate
from burnish.training.shapes import ModelShape

STEP = 64  # tokens_per_batch is a multiple of it, and at least it
LEANER: dict[Method, Method] = {"full": "lora", "dora": "lora", "lora": "qlora"}


class Fitted(NamedTuple):
    """setup and tokens_per_batch fit when `fits`; else they are the leanest that was found."""

    setup: Setup
    tokens_per_batch: int
    work: Work
    estimate: Estimate
    fits: bool


def fit(
    shape: ModelShape,
    setup: Setup,
    work_at: Callable[[int], Work],
    device: Device,
    *,
    tokens_per_batch: int,
    methods: Sequence[str],
) -> Fitted:
    """The settings nearest to these that fit the device's memory.

    work_at: the work when a pass has at most so many tokens; a longer row goes alone, so fewer tokens than the
    longest row change nothing. methods: those that may be proposed. A step stays the same whatever a pass holds,
    so batch_size is left as it is.
    """
    while True:
        found = _fewer_tokens(shape, setup, work_at, device, tokens_per_batch)
        if found.fits:
            return found
        leaner = LEANER.get(setup.method)
        if not setup.gradient_checkpointing:
            setup = replace(setup, gradient_checkpointing=True)
        elif leaner is None or leaner not in methods:
            return found
        else:
            setup = replace(setup, method=leaner, gradient_checkpointing=False)


def _fewer_tokens(
    shape: ModelShape, setup: Setup, work_at: Callable[[int], Work], device: Device, most: int
) -> Fitted:
    """The largest token budget up to `most` that fits, by bisection: memory grows with the budget."""

    def at(tokens: int) -> Fitted:
        work = work_at(tokens)
        result = estimate(shape, setup, work, device)
        return Fitted(setup, tokens, work, result, result.memory.total <= device.memory)

    whole = at(most)
    if whole.fits or most <= STEP:
        return whole
    best = at(STEP)
    low, high = 1, most // STEP
    while best.fits and low < high:
        middle = (low + high + 1) // 2
        tried = at(middle * STEP)
        if tried.fits:
            best, low = tried, middle
        else:
            high = middle - 1
    return best
