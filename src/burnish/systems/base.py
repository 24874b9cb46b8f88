"""A system is anything that answers a task's examples; all are measured by the same code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from burnish.progress import Progress
from burnish.records import Example, Prediction


class System(Protocol):
    """name: as in the task file and predictions/<name>.jsonl."""

    name: str

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        """Answer the examples, in order; `score` is left empty for evaluation to fill.

        A system sees no target: it must not read `example.target`. Of a pair of answers it sees both, in an order
        that does not tell which was chosen (`Preference.options`).
        """
        ...


class Embeds(Protocol):
    """Texts to vectors [texts, dimension]; keep: whether a cache may be read and written (models/embed.py)."""

    def __call__(
        self, texts: Sequence[str], on_progress: Callable[[int, int], None] | None = None, *, keep: bool = True
    ) -> NDArray[np.float32]: ...
