"""From settings to the task object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.config import METRICS, TaskConfig
from burnish.errors import ConfigError, DataError
from burnish.records import Example
from burnish.tasks.base import Metric, Task
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.extraction import Extraction, extraction_metrics
from burnish.tasks.generation import Generation, generation_metrics
from burnish.tasks.metrics import primary_first
from burnish.tasks.own_metric import own_metric
from burnish.tasks.preference import Preference, is_pair, preference_metrics
from burnish.tasks.tool_calling import ToolCalling, tool_calling_metrics


def make_task(
    config: TaskConfig, labels: Sequence[str] = (), *, shared_tools: bool = False, base_dir: Path | str = "."
) -> Task:
    """The task object of a task file.

    labels: those found in the data, for classification without labels: in the file.
    shared_tools: all examples have the same tools (see `have_shared_tools`).
    base_dir: the task file's folder, where a metric of the user's own is looked for first.
    Raises ConfigError when the settings do not make a task.
    """
    metrics: tuple[Metric, ...]
    if config.kind == "classification":
        chosen = tuple(config.labels or labels)
        if len(chosen) < 2:
            fix = "check the label column (data.target), or give labels:"
            raise ConfigError("a classification needs at least two labels", got=list(chosen), where="labels", fix=fix)
        metrics = _ordered(config, classification_metrics(chosen), base_dir)
        return Classification(config.name, config.instruction, chosen, metrics)
    if config.kind == "extraction":
        if config.json_schema is None:
            raise ConfigError("kind extraction needs a schema", where="schema", fix="add `schema: schema.json`")
        metrics = _ordered(config, extraction_metrics(), base_dir)
        return Extraction(config.name, config.instruction, config.json_schema, metrics)
    if config.kind == "generation":
        metrics = _ordered(config, generation_metrics(config.pattern), base_dir)
        return Generation(config.name, config.instruction, config.pattern, metrics)
    if config.kind == "preference":
        return Preference(config.name, config.instruction, _ordered(config, preference_metrics(), base_dir))
    metrics = _ordered(config, tool_calling_metrics(), base_dir)
    return ToolCalling(config.name, config.instruction, shared_tools, metrics)


def with_instruction(task: Task, instruction: str) -> Task:
    """The same task, told in other words."""
    if instruction == task.instruction:
        return task
    reworded: Any = task  # each kind is a frozen dataclass, which the protocol does not say
    made: Task = replace(reworded, instruction=instruction)
    return made


def _ordered(config: TaskConfig, metrics: tuple[Metric, ...], base_dir: Path | str) -> tuple[Metric, ...]:
    primary = config.goal.metric or METRICS[config.kind][0]
    if ":" in primary:
        return (own_metric(primary, Path(base_dir).resolve()), *metrics)
    if primary not in [metric.name for metric in metrics]:
        known = ", ".join(metric.name for metric in metrics)
        fix = f"it has {known}, or your own as module:function"
        raise ConfigError(f"kind {config.kind} has no such metric", got=primary, where="goal.metric", fix=fix)
    return primary_first(metrics, primary)


def have_shared_tools(examples: Sequence[Example]) -> bool:
    """Whether all examples have the same tools, in the same order."""
    return all(example.tools == examples[0].tools for example in examples)


def target_error(task: Task, example: Example) -> str | None:
    """Why an example's target cannot be the answer to train on and to compare with, None when it can.

    The right answer is written and read back: a target outside the labels, against the schema, or with an
    unknown tool is found before a model is trained on it.
    """
    if (shape := _shape_error(task, example.target)) is not None:
        return shape
    if task.kind == "preference":  # any text may be an answer that people like or not, also an empty one
        return None
    try:
        return task.parse(task.answer(example).content, example).error
    except DataError as error:
        return error.what


def _shape_error(task: Task, target: Any) -> str | None:
    if task.kind in ("classification", "generation"):
        return None if isinstance(target, str) else "the target must be text"
    if task.kind == "extraction":
        return None if isinstance(target, Mapping) else "the target must be a JSON object"
    if task.kind == "preference":
        return _preference_error(target)
    if not isinstance(target, list):
        return "the target must be a list of calls"
    for index, call in enumerate(target):
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            return f"call {index + 1} has no name"
        if not isinstance(call.get("arguments"), Mapping):
            return f"call {index + 1} has no arguments object"
    return None


def _preference_error(target: Any) -> str | None:
    if is_pair(target):
        texts = [target["chosen"], target["rejected"]]
    elif isinstance(target, Mapping) and isinstance(target.get("desirable"), bool):
        texts = [target.get("completion")]
    else:
        return "the target must be a pair of answers, or an answer with desirable true or false"
    return None if all(isinstance(text, str) for text in texts) else "the target must be answers that are text"
