"""Ways of prompting tried on validation examples, so that a baseline is as strong as it honestly can be.

A way is an instruction, a number of shots and how they are chosen. Tried one after the other: the number of shots,
how they are chosen, the instruction, each with the best found so far of the others. The sealed test is never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from burnish.config import FewShotConfig, TaskConfig
from burnish.errors import DataError
from burnish.evaluation.evaluate import primary_value
from burnish.prepare import Prepared
from burnish.progress import Progress
from burnish.records import Example, PromptTrial
from burnish.reports.prompts import way_words
from burnish.runs import append_jsonl, from_json, read_jsonl, to_json
from burnish.systems.base import System

PROMPTS = "prompts.jsonl"
AUTO_K = (1, 3, 5, 10)
AUTO_SELECT = ("nearest", "embedding", "fixed")


class Way(NamedTuple):
    """How a model is prompted. k: shots, 0 for none; select: how they are chosen, None without."""

    instruction: str
    k: int = 0
    select: str | None = None


def ways(config: TaskConfig, *, few: bool) -> dict[str, tuple[Any, ...]]:
    """The values to try of each part of a way, those used untried first. few: whether there are shots."""
    instructions = tuple(dict.fromkeys([config.instruction, *config.prompt.instructions]))
    return shot_ways(config.few_shot) | {"instruction": instructions} if few else {"instruction": instructions}


def shot_ways(few: FewShotConfig) -> dict[str, tuple[Any, ...]]:
    """The numbers of shots, ascending, and the selections to try."""
    sizes = AUTO_K if few.k == "auto" else tuple(sorted(set(few.k))) if isinstance(few.k, list) else (few.k,)
    if few.select == "auto":
        return {"k": sizes, "select": AUTO_SELECT}
    return {"k": sizes, "select": tuple(dict.fromkeys([few.select] if isinstance(few.select, str) else few.select))}


def best_of(trials: Sequence[PromptTrial]) -> PromptTrial:
    """The highest value; of equals the one with the shortest prompts, then the one tried first."""
    return min(trials, key=lambda trial: (-trial.value, trial.prompt_tokens))


def search(values: Mapping[str, Sequence[Any]], measure: Callable[[Way], PromptTrial]) -> Way:
    """The best way of those tried, one part after the other; nothing is measured where there is no choice.

    values: of each part of a way, in the order in which they are tried.
    """
    best = Way(**{part: found[0] for part, found in values.items()})
    tried: dict[Way, PromptTrial] = {}
    for part, found in values.items():
        around = best
        for value in found if len(found) > 1 else ():
            way = around._replace(**{part: value})
            if way not in tried:
                tried[way] = measure(way)
        if tried:
            best = _way(best_of(list(tried.values())))
    return best


def choose_way(
    name: str,
    config: TaskConfig,
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    system: Callable[[Way], System],
    *,
    few: bool = False,
    values: Mapping[str, tuple[Any, ...]] | None = None,
) -> Way:
    """The way of prompting a system that is best on the first validation examples.

    few: whether there are shots to choose; values: what to try of each part instead of the task file's ways.
    What is tried is added to the run folder's prompts.jsonl; what stands there already is not tried again.
    Raises DataError when there is a choice and no validation example.
    """
    values = values or ways(config, few=few)
    examples = prepared.split.validation[: config.prompt.eval_examples]
    if max(map(len, values.values())) > 1 and not examples:
        raise DataError(
            f"ways of prompting {name} are compared on validation examples, and there are none",
            fix="give split.validation a share such as 0.1, or one instruction, few_shot.k and few_shot.select",
        )
    path = folder / PROMPTS
    known = {_way(trial): trial for trial in read_trials(path) if trial.system == name}

    def measure(way: Way) -> PromptTrial:
        if way in known:
            return known[way]
        what = f"{name} with {way_words(to_json(way._asdict()))}"
        progress.stage("prompting", f"{what} on {len(examples)} validation examples")
        trial = _measure(name, way, system(way), prepared, examples, progress)
        append_jsonl(path, [trial])
        progress.notice(f"{what}: {trial.metric} {trial.value:.3f}")
        return trial

    return search(values, measure)


def read_trials(path: Path) -> list[PromptTrial]:
    """The lines of prompts.jsonl, none where nothing was tried. A line that a crash cut off is left out."""
    lines = read_jsonl(path) if path.exists() else []
    return [from_json(PromptTrial, line, str(path)) for line in lines]


def _way(trial: PromptTrial) -> Way:
    return Way(trial.instruction, trial.k, trial.select)


def _measure(
    name: str, way: Way, system: System, prepared: Prepared, examples: Sequence[Example], progress: Progress
) -> PromptTrial:
    predictions = system.predict(examples, progress)
    return PromptTrial(
        system=name,
        instruction=way.instruction,
        k=way.k,
        select=way.select,
        examples=len(examples),
        metric=prepared.task.metrics[0].name,
        value=primary_value(prepared.task, examples, predictions),
        prompt_tokens=float(np.mean([prediction.prompt_tokens for prediction in predictions])),
        seconds=float(np.mean([prediction.seconds for prediction in predictions])),
    )
