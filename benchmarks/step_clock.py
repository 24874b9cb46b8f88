"""Seconds of each optimizer step of a transformers trainer; nothing of Burnish, which peers' environments lack."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class StepClock(TrainerCallback):  # type: ignore[misc]
    """seconds: one number a step. on_step: called with them after each."""

    def __init__(self, on_step: Callable[[list[float]], None] = lambda _: None) -> None:
        self.seconds: list[float] = []
        self.on_step = on_step

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)
        self.on_step(self.seconds)
