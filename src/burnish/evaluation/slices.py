"""The verdict by slices of the sealed test: a model that is better on the whole may be worse for some.

Every slice is one more chance of a false alarm, so they are tested together (Holm 1979): with 95% probability none of
those that did not change is said to have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from burnish.data.language import guess_language
from burnish.evaluation.confidence import counting_metric
from burnish.evaluation.evaluate import compare, value_of
from burnish.evaluation.forgetting import Judgement
from burnish.evaluation.looks import level_words
from burnish.evaluation.measures import Slice, Slices
from burnish.records import Example, Paired, Parsed, Prediction
from burnish.tasks.base import Floats, Metric, Task

FEWEST = 10  # examples of a slice that is compared
_LARGEST = 200  # slices of one kind: with more of them Holm's rule sees nothing
_RESAMPLES = 2000
_NAMED = 3  # slices that a reason names

Names = Mapping[str, Sequence[str | None]]


class _Remembered:
    """A metric that counts each answer once: every slice and level asks again, and a user's own may be slow."""

    def __init__(self, metric: Metric) -> None:
        self.name, self.rate = metric.name, metric.rate
        self._metric = metric
        self._found: dict[tuple[int, int], Floats] = {}

    def counts(self, example: Example, parsed: Parsed) -> Floats:
        key = id(example), id(parsed)
        if key not in self._found:
            self._found[key] = self._metric.counts(example, parsed)
        return self._found[key]

    def value(self, sums: Floats) -> Floats:
        return self._metric.value(sums)


class _Part(NamedTuple):
    by: str
    name: str
    places: list[int]
    metric: Metric


def slice_names(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, list[str | None]]:
    """By what the test is cut -> each example's slice, None where it has none.

    class: the label. length: thirds by prompt tokens. source: the file. language: guessed (data/language.py). And the
    columns that the task file names (`slices`). What is the same for all examples is left out.
    """
    inputs = ["\n".join(one.content for one in example.messages if one.role == "user") for example in examples]
    found: dict[str, list[str | None]] = {
        "class": [task.stratum(example) for example in examples],
        "length": _thirds([prediction.prompt_tokens for prediction in predictions]),
        "source": [Path(example.source.file).name for example in examples],
        "language": [guess_language(text) for text in inputs],
    }
    for column in sorted({column for example in examples for column in example.slices}):
        found[column] = [example.slices.get(column) for example in examples]
    return {by: names for by, names in found.items() if len(set(names) - {None}) > 1}


def _thirds(tokens: Sequence[int]) -> list[str | None]:
    first, second = (int(np.quantile(tokens, share, method="lower")) for share in (1 / 3, 2 / 3))
    middle = f"{second}" if second == first + 1 else f"{first + 1} to {second}"
    names = (f"up to {first} tokens", f"{middle} tokens", f"over {second} tokens")
    return [names[0] if count <= first else names[1] if count <= second else names[2] for count in tokens]


def compare_slices(
    task: Task,
    examples: Sequence[Example],
    ours: Sequence[Prediction],
    theirs: Sequence[Prediction],
    names: Names,
    *,
    candidate: str,
    baseline: str,
    seed: int,
    error: float = 0.05,
) -> Slices:
    """The paired difference on every slice of at least 10 examples, on the primary metric.

    Slices by class are measured by whether an answer is right where the primary metric averages over classes. The
    p-values are those of `compare`; the slice with the i-th smallest of m is judged at error / (m - i + 1), until the
    first that is not clear.
    """
    parts = _parts(task, names)
    large = [part for part in parts if len(part.places) >= FEWEST]

    def paired(part: _Part, level: float) -> Paired:
        rows = [[sequence[at] for at in part.places] for sequence in (ours, theirs)]
        return compare(
            task,
            [examples[at] for at in part.places],
            *rows,
            candidate=candidate,
            baseline=baseline,
            seed=seed,
            level=level,
            metric=part.metric,
            resamples=_RESAMPLES,
        )

    first = [paired(part, 1 - error) for part in large]
    order = sorted(range(len(large)), key=lambda at: (first[at].p_value, at))
    found, clear = [], True
    allowed = error
    for rank, at in enumerate(order):
        if clear:
            allowed = error / (len(order) - rank)
        pair = paired(large[at], 1 - allowed)
        clear = clear and pair.p_value <= allowed and not pair.low <= 0 <= pair.high
        values = [_value(large[at], examples, answers) for answers in (ours, theirs)]
        change = ("worse" if pair.high < 0 else "better") if clear else "unclear"
        found.append(
            Slice(
                by=large[at].by,
                name=large[at].name,
                examples=len(large[at].places),
                metric=large[at].metric.name,
                value=values[0],
                baseline=values[1],
                difference=pair.difference,
                low=pair.low,
                high=pair.high,
                level=pair.level,
                p_value=pair.p_value,
                change=change,  # type: ignore[arg-type]
            )
        )
    found.sort(key=lambda one: (one.change != "worse", one.difference, one.by, one.name))
    return Slices(candidate, baseline, tuple(found), len(parts) - len(large), FEWEST)


def _value(part: _Part, examples: Sequence[Example], answers: Sequence[Prediction]) -> float:
    return value_of(part.metric, [examples[at] for at in part.places], [answers[at] for at in part.places])


def _parts(task: Task, names: Names) -> list[_Part]:
    """The slices, the largest _LARGEST of each kind."""
    parts = []
    primary = _Remembered(task.metrics[0])
    right = _Remembered(counting_metric(task) or task.metrics[0])
    for by, named in names.items():
        places: dict[str, list[int]] = {}
        for at, name in enumerate(named):
            if name is not None:
                places.setdefault(name, []).append(at)
        ranked = sorted(places.items(), key=lambda one: (-len(one[1]), one[0]))[:_LARGEST]
        parts += [_Part(by, name, held, right if by == "class" else primary) for name, held in ranked]
    return parts


def judge_slices(found: Slices, *, hold: bool) -> Judgement | None:
    """Tell which slices got worse; with `hold` they hold the model back. None when none did."""
    worse = [one for one in found.slices if one.change == "worse"]
    if not worse:
        return None
    shown = "; ".join(_told(one) for one in worse[:_NAMED])
    more = f"; and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
    many = "One slice of the test" if len(worse) == 1 else f"{len(worse)} slices of the test"
    end = "The task file holds a model back for that (goal.slices)." if hold else "This is a warning (goal.slices)."
    reason = (
        f"{many} got worse than with {found.baseline}, after correction for {len(found.slices)} slices: "
        f"{shown}{more}. {end}"
    )
    first = worse[0]
    advice = (
        f"For {_where(first)}: add training rows like them, look at the mistakes there in the report, or let "
        f"{found.baseline} answer them. If that loss is worth the gain elsewhere, set goal.slices: warn before the "
        f"next fresh test."
    )
    return Judgement(hold, reason, (advice,) if hold else ())


def _told(one: Slice) -> str:
    return (
        f"{_where(one)}: {100 * one.value:.1f}% against {100 * one.baseline:.1f}% {one.metric} on {one.examples} "
        f"examples, {100 * one.difference:+.1f} points ({level_words(one.level)} interval {100 * one.low:+.1f} to "
        f"{100 * one.high:+.1f})"
    )


def _where(one: Slice) -> str:
    return f"{one.by} {one.name!r}"
