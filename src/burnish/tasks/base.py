"""What every kind of task provides: one object for prompt, target, parse and score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from burnish.records import Constraint, Example, Json, Kind, Message, Parsed

Floats = NDArray[np.float64]


class Metric(Protocol):
    """A metric as a function of summed per-example counts, so that it can be resampled.

    `counts` gives one example's vector of K numbers; `value` maps sums of such vectors (…, K) to (…).
    The metric of a set of examples is value(sum of counts); of one example, value(its counts).
    Values are in [0, 1], higher is better. `rate` is True when counts are [0 or 1, 1] and value their quotient
    (then Wilson's interval and McNemar's test apply).
    """

    @property
    def name(self) -> str: ...

    @property
    def rate(self) -> bool: ...

    def counts(self, example: Example, parsed: Parsed) -> Floats: ...

    def value(self, sums: Floats) -> Floats: ...


class Task(Protocol):
    """One kind of task with its instruction and its labels or schema.

    name, kind, instruction: from the task file.
    metrics: all of the kind's metrics; the first is the primary one (goal.metric).
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def instruction(self) -> str: ...

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        """The prompt: a system turn with the instruction, then the input, ending in a user or tool turn.

        full adds what a model that was not tuned needs: the label list or the JSON schema.
        shots come before the input as alternating user and assistant turns.
        """
        ...

    def answer(self, example: Example) -> Message:
        """The assistant turn that is right for the example: what is trained on."""
        ...

    def constraint(self, example: Example) -> Constraint | None:
        """What a well-formed answer looks like, None for free text."""
        ...

    def parse(self, text: str, example: Example) -> Parsed:
        """Read a system's text; never raises."""
        ...

    def stratum(self, example: Example) -> str | None:
        """The label to stratify by, None when the kind has none."""
        ...

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        """Extra views: per_class and confusion for classification, per_field for extraction."""
        ...
