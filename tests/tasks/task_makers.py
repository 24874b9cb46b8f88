"""Small builders for the task tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.config import TaskConfig
from burnish.records import Example, Message, Parsed, Source
from burnish.tasks import Metric


def config(kind: str, **settings: Any) -> TaskConfig:
    return TaskConfig.model_validate(
        {"name": "t", "kind": kind, "instruction": "Do the work.", "data": "rows.jsonl", **settings}
    )


def example(target: Any, text: str = "input", **fields: Any) -> Example:
    messages = fields.pop("messages", (Message("user", text),))
    return Example("id", messages, target, Source("rows.jsonl", 3), **fields)


def measure(metric: Metric, pairs: list[tuple[Example, Parsed]]) -> float:
    """The metric of a set: value of the sum of counts."""
    return float(metric.value(np.sum([metric.counts(e, p) for e, p in pairs], axis=0)))


def metric_of(task: Any, name: str) -> Metric:
    return next(metric for metric in task.metrics if metric.name == name)
