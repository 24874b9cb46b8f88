"""The learning rate when a task file names none: by method and, where the sources have it so, by size.

Sources: docs/training.md, "Learning rates".
"""

from __future__ import annotations

import re

RATES = {
    "lora": 2e-4,
    "qlora": 2e-4,
    "dora": 2e-4,
    "ia3": 3e-3,
    "bottleneck": 3e-4,
    "prefix_tuning": 1e-2,
    "prompt_tuning": 1e-2,
    "full": 2e-5,
}
LARGE = {"lora": 1e-4, "qlora": 1e-4, "dora": 1e-4, "full": 1e-5}  # from LARGE_BILLIONS on
LARGE_BILLIONS = {"lora": 30, "qlora": 30, "dora": 30, "full": 13}


PREFERENCE_SHARE = 0.1  # of the rate that right answers are learned with


def default_learning_rate(method: str, model: str = "", objective: str = "sft") -> float:
    """The peak rate for a method. model: its name, which mostly tells its size ("Llama-2-13b"); "" for unknown.

    Objectives on preferences take a tenth: their losses already begin where a tuned model is.
    """
    if objective != "sft":
        return default_learning_rate(method, model) * PREFERENCE_SHARE
    size = billions(model)
    if size is not None and size >= LARGE_BILLIONS.get(method, float("inf")):
        return LARGE[method]
    return RATES.get(method, RATES["lora"])


def billions(model: str) -> float | None:
    """Billions of parameters as the name's last part says them, None where it does not: 7b, 1.5B, 135m."""
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    found = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bBmM])(?![A-Za-z0-9])", name)
    if not found:
        return None
    number, unit = found[-1]
    return float(number) * (1e-3 if unit in "mM" else 1)
