"""What a candidate takes to train is estimated with the settings of the task, all of them."""

from __future__ import annotations

import pytest

from burnish.advising.models import _memory
from burnish.config import TrainingConfig
from burnish.records import DataReport

REPORT = DataReport(400, (), {"tokens": {"p99": 300}})


def memory(**settings: object) -> int:
    found = _memory(TrainingConfig.model_validate(settings), REPORT, "smollm2-135m-instruct", None)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"lora_target_modules": ["q_proj", "v_proj"], "lora_r": 256}, {"lora_r": 256}),
        ({"method": "full", "optimizer": "adamw_8bit"}, {"method": "full"}),
        ({"gradient_checkpointing": True, "batch_size": 32}, {"batch_size": 32}),
    ],
)
def test_memory_follows_every_setting(less: dict[str, object], more: dict[str, object]) -> None:
    assert memory(**less) < 0.97 * memory(**more)


def test_no_sizes_no_memory() -> None:
    assert _memory(TrainingConfig(), REPORT, "someone/unheard-of", None) is None
