"""Ranges: ours, the task file's, and what a trial makes of them."""

from __future__ import annotations

from typing import get_args

import pytest

from burnish.config import Range, TaskConfig, TrainingConfig
from burnish.errors import ConfigError
from burnish.training.batches import steps_per_epoch, total_steps
from burnish.tuning.space import EVALUATIONS, search_space, space_json, trial_settings, trial_training
from burnish.tuning.study import contains


def config(search=None, **training):
    return TaskConfig.model_validate(
        {
            "name": "t",
            "kind": "generation",
            "instruction": "-",
            "data": "x.jsonl",
            "training": training,
            "tune": {"search": search or {}},
        }
    )


def test_ours_is_around_the_methods_rate_and_holds_the_tasks_own():
    space = search_space(config(learning_rate=2e-2, lora_r=12, num_epochs=1.5))
    assert list(space) == ["learning_rate", "lora_r", "num_epochs"]
    assert space["learning_rate"] == Range(5e-5, 2e-2, log=True, whole=False)
    assert space["lora_r"] == (4, 8, 12, 16, 32, 64)
    assert space["num_epochs"] == (1, 1.5, 2, 3, 5)
    assert search_space(config(method="full", learning_rate=2e-5))["learning_rate"] == Range(
        5e-6, 5e-4, log=True, whole=False
    )


@pytest.mark.parametrize("method", get_args(TrainingConfig.model_fields["method"].annotation))
def test_every_method_has_a_search(method):
    space = search_space(config(method=method))
    sizes = {"lora": "lora_r", "qlora": "lora_r", "dora": "lora_r", "bottleneck": "bottleneck_size",
             "prefix_tuning": "virtual_tokens", "prompt_tuning": "virtual_tokens"}  # fmt: skip
    size = [sizes[method]] if method in sizes else []
    assert list(space) == ["learning_rate", *size, "num_epochs"]
    assert contains(space["learning_rate"], config(method=method).training.learning_rate)
    assert space["learning_rate"].high <= 1


def test_what_has_no_say_is_left_out():
    assert list(search_space(config(method="ia3"))) == ["learning_rate", "num_epochs"]
    assert list(search_space(config(max_steps=10))) == ["learning_rate", "lora_r"]


def test_the_task_files_own_ranges_and_names():
    given = {"learning_rate": {"low": 1e-4, "high": 1e-3}, "batch_size": [2, 4]}
    space = search_space(config(given))
    assert space == {"learning_rate": Range(1e-4, 1e-3, log=False, whole=False), "batch_size": (2, 4)}
    assert list(search_space(config(given), ["batch_size", "lora_r"])) == ["batch_size", "lora_r"]
    assert search_space(config(space_json(space))) == space
    with pytest.raises(ConfigError, match="did you mean lora_r"):
        search_space(config(), ["lora_rr"])
    with pytest.raises(ConfigError, match="no range of ours"):
        search_space(config(), ["max_grad_norm"])


def test_the_scale_of_the_updates_stays():
    training = TrainingConfig(lora_r=16, lora_alpha=32)
    assert trial_settings(training, {"lora_r": 4}) == {"lora_r": 4, "lora_alpha": 8}
    assert trial_settings(training, {"lora_r": 4, "lora_alpha": 5}) == {"lora_r": 4, "lora_alpha": 5}
    stabilised = training.model_copy(update={"lora_rank_stabilised": True})
    assert trial_settings(stabilised, {"lora_r": 4}) == {"lora_r": 4}


@pytest.mark.parametrize("epochs", [0.3, 1, 2, 5])
@pytest.mark.parametrize("rows", [40, 333, 1000])
@pytest.mark.parametrize("max_steps", [None, 12])
def test_every_trial_is_validated_equally_often(epochs, rows, max_steps):
    training = trial_training(TrainingConfig(max_steps=max_steps), {"num_epochs": epochs}, rows, "loss")
    total = total_steps(rows, training.batch_size, epochs, max_steps)
    every = max(1, round(steps_per_epoch(rows, training.batch_size) / training.evals_per_epoch))
    due = [step for step in range(1, total + 1) if step % every == 0 or step == total]
    marks = {max(1, round(EVALUATIONS * step / total)) for step in due}
    if total >= 2 * EVALUATIONS:
        assert marks == set(range(1, EVALUATIONS + 1))
        assert len(due) <= 2 * EVALUATIONS
    assert training.early_stopping_patience is None
