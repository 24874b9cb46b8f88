"""A task that a tiny model trains on in seconds, for the searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny import save_tiny

LABELS = ("cat", "dog", "mat")


def make_task(folder: Path, **changes: Any) -> dict[str, Any]:
    """A mapping of the task file's shape; its data and model are written to `folder`."""
    save_tiny(folder / "model")
    rows = [{"text": f"{i} the {LABELS[i % 3]} sat", "label": LABELS[i % 3]} for i in range(48)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    training = {"learning_rate": 5e-3, "lora_r": 4, "lora_alpha": 8, "num_epochs": 1, "batch_size": 8}
    return {
        "name": "letters",
        "kind": "classification",
        "instruction": "name the animal",
        "data": str(folder / "rows.jsonl"),
        "model": str(folder / "model"),
        "split": {"validation": 12, "test": 12},
        "baselines": ["majority"],
        "training": training | changes.pop("training", {}),
        "tune": {"search": {"learning_rate": {"low": 1e-3, "high": 2e-2, "log": True}, "lora_r": [2, 4, 8]}},
    } | changes
