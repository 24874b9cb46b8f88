"""Preference: two answers to one prompt, of which people chose one; or one answer that they found good or bad.

A system does not write an answer here, it chooses: `Preference.options` gives it both answers in an order that tells
nothing, and `Preference.judged` turns its scores into a Parsed whose value is

    {"margin": float, "prefers": "chosen" | "rejected", "chosen_tokens": int, "rejected_tokens": int}

margin: score of the chosen answer minus that of the rejected one, in nats (log-odds that the chosen one is better);
per token where the scores are. A margin of 0 prefers "rejected": a system that cannot tell is not right.
Generated text (`burnish predict`) is read as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.errors import DataError
from burnish.records import Constraint, Example, Json, Kind, Message, Parsed, Split
from burnish.tasks.base import Metric, Task
from burnish.tasks.length_control import length_controlled_win_rate
from burnish.tasks.metrics import rate_metric
from burnish.tasks.prompts import conversation
from burnish.thoughts import has_thought


@dataclass(frozen=True)
class Preference:
    """See tasks/base.py:Task. The prompt is the same for tuned and untuned models: there is no form to explain."""

    name: str
    instruction: str
    metrics: tuple[Metric, ...]
    kind: Kind = field(default="preference", init=False)

    def messages(self, example: Example, *, full: bool, shots: Sequence[Example] = ()) -> tuple[Message, ...]:
        return conversation(self.instruction.strip(), example, shots, self.answer)

    def answer(self, example: Example) -> Message:
        """The chosen answer of a pair; the only one, desirable or not, of another row."""
        target = example.target
        return Message("assistant", str(target["chosen"] if is_pair(target) else target["completion"]))

    def rejected(self, example: Example) -> Message | None:
        """The other answer of a pair, None where a row has one answer."""
        return Message("assistant", str(example.target["rejected"])) if is_pair(example.target) else None

    def options(self, example: Example) -> tuple[Message, Message]:
        """Both answers of a pair, sorted by their text, so that the order does not tell which one was chosen."""
        first, second = sorted((str(example.target["chosen"]), str(example.target["rejected"])))
        return Message("assistant", first), Message("assistant", second)

    def judged(self, example: Example, scores: tuple[float, float], tokens: tuple[int, int]) -> Parsed:
        """What a system's scores of the two `options` mean. tokens: the options' lengths.

        Scores that are not finite are an error: they prefer nothing.
        """
        swapped = str(example.target["chosen"]) > str(example.target["rejected"])
        chosen, rejected = (1, 0) if swapped else (0, 1)
        margin = scores[chosen] - scores[rejected]
        if not math.isfinite(margin):
            return Parsed(None, "an answer has no finite score")
        return Parsed(_value(margin, tokens[chosen], tokens[rejected]))

    def constraint(self, example: Example) -> Constraint | None:
        return None

    def parse(self, text: str, example: Example) -> Parsed:
        """A generated answer as it is; of an example with a pair, the choice that a text naming one of them makes.

        Such a choice has no probability: its margin is 1 or -1. Lengths are in characters.
        """
        stripped, target = text.strip(), example.target
        if not is_pair(target):
            return Parsed(stripped) if stripped else Parsed(None, "empty answer")
        chosen, rejected = str(target["chosen"]).strip(), str(target["rejected"]).strip()
        if stripped not in (chosen, rejected):
            return Parsed(None, "neither of the two answers")
        margin = 0.0 if chosen == rejected else 1.0 if stripped == chosen else -1.0
        return Parsed(_value(margin, len(chosen), len(rejected)))

    def stratum(self, example: Example) -> str | None:
        """Rows with one answer are stratified by whether it is desirable."""
        if not isinstance(example.target, Mapping) or is_pair(example.target):
            return None
        return "desirable" if example.target["desirable"] else "undesirable"

    def tables(self, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, Json]:
        return {"by_length": _by_length(parsed)}


def is_pair(target: Json) -> bool:
    """Whether a target holds two answers to compare."""
    return isinstance(target, Mapping) and "chosen" in target and "rejected" in target


def learned_answers(task: Task, example: Example) -> list[tuple[str, Message]]:
    """The answers that are trained on, with a name where there are two: chosen and rejected."""
    rejected = task.rejected(example) if isinstance(task, Preference) else None
    if rejected is None:
        return [("", task.answer(example))]
    return [("chosen", task.answer(example)), ("rejected", rejected)]


def answers_think(task: Task, examples: Iterable[Example]) -> bool:
    """Whether some answers that are learned begin with a thought, so that the model has to be asked to think.

    Those of other kinds than text never do (data/targets.py), and are not written out to look.
    """
    if task.kind not in ("generation", "preference"):
        return False
    return any(has_thought(answer.content) for example in examples for _, answer in learned_answers(task, example))


def check_pairs(split: Split, objective: str) -> None:
    """Refuse rows with one answer where two are needed: in the test, and in training with any objective but kto.

    Raises DataError.
    """
    alone = next((example for example in split.test if not is_pair(example.target)), None)
    if alone is not None:
        what = "the sealed test holds rows with one answer, and only a choice between two can be measured"
        fix = "give pairs as data.test: pairs.jsonl; rows with one answer can be trained on (training.objective: kto)"
        raise DataError(what, where=_place(alone), fix=fix)
    alone = next((example for example in (*split.train, *split.validation) if not is_pair(example.target)), None)
    if alone is not None and objective != "kto":
        fix = "set training.objective: kto, or give rows with chosen and rejected answers"
        raise DataError(f"{objective} learns from pairs, and this row has one answer", where=_place(alone), fix=fix)


def _place(example: Example) -> str:
    return f"{example.source.file}:{example.source.line}"


def _value(margin: float, chosen_tokens: int, rejected_tokens: int) -> dict[str, Json]:
    return {
        "margin": margin,
        "prefers": "chosen" if margin > 0 else "rejected",
        "chosen_tokens": chosen_tokens,
        "rejected_tokens": rejected_tokens,
    }


def _right(example: Example, parsed: Parsed) -> bool:
    return isinstance(parsed.value, Mapping) and parsed.value["prefers"] == "chosen"


def _lengths(parsed: Parsed) -> tuple[int, int] | None:
    value = parsed.value
    if not isinstance(value, Mapping):
        return None
    return int(value["chosen_tokens"]), int(value["rejected_tokens"])


def _by_length(parsed: Sequence[Parsed]) -> list[Json]:
    """Pair accuracy where the chosen answer is the longer, the shorter, or as long as the other one."""
    rows: list[dict[str, Any]] = []
    for name, sign in (("chosen is longer", 1), ("chosen is shorter", -1), ("both as long", 0)):
        fitting = [
            answer.value["prefers"] == "chosen"
            for answer in parsed
            if (pair := _lengths(answer)) is not None and (pair[0] > pair[1]) - (pair[0] < pair[1]) == sign
        ]
        if fitting:
            rows.append({"name": name, "examples": len(fitting), "accuracy": sum(fitting) / len(fitting)})
    return rows


def preference_metrics() -> tuple[Metric, ...]:
    """pair_accuracy: the share of pairs whose chosen answer the system prefers; a tie is not right.
    length_controlled_win_rate: the same as if both answers were equally long (see length_control.py)."""
    return (rate_metric("pair_accuracy", _right), length_controlled_win_rate(_right, _lengths))
