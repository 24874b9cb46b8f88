"""What accelerate's variables say about sharding, and what a task makes of it."""

from __future__ import annotations

import json
import os

import pytest

from burnish.cluster.asked import Asked, asked_sharding, taken_over
from burnish.config import task_from, with_sharding
from burnish.errors import ConfigError, RunError

FSDP = {"ACCELERATE_USE_FSDP": "true"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true"}
FILE = "ACCELERATE_DEEPSPEED_CONFIG_FILE"


@pytest.mark.parametrize(
    ("environment", "sharding"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false"}, None),
        ({**FSDP, "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}, "fsdp"),
        ({**FSDP, "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "false"}, "shard_grad_op"),
        # Version 1 says it in another variable, and the default of the other one means nothing.
        ({**FSDP, "FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP", "FSDP_RESHARD_AFTER_FORWARD": "true"}, "shard_grad_op"),
        ({**FSDP, "FSDP_VERSION": "1", "FSDP_SHARDING_STRATEGY": "1"}, "fsdp"),
        ({**FSDP, "FSDP_VERSION": "1", "FSDP_SHARDING_STRATEGY": "NO_SHARD"}, "none"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "0"}, "none"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, "shard_grad_op"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", FILE: "none"}, "fsdp"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none"}, "shard_grad_op"),
    ],
    ids=str,
)
def test_the_variables_of_accelerate(environment, sharding):
    asked = asked_sharding(environment)
    assert (None if asked is None else asked.sharding) == sharding


@pytest.mark.parametrize(
    ("content", "sharding"),
    [
        ({"zero_optimization": {"stage": 3}, "train_batch_size": "auto"}, "fsdp"),
        ({"zero_optimization": {"stage": 1, "offload_optimizer": {"device": "none"}}}, "shard_grad_op"),
        ({"zero_optimization": {}}, "none"),
        ({"bf16": {"enabled": True}}, "none"),
    ],
    ids=str,
)
def test_a_file_of_deepspeed_counts_in_place_of_the_stage(tmp_path, content, sharding):
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(content))
    asked = asked_sharding({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", FILE: str(file)})
    assert asked is not None
    assert asked.sharding == sharding


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({**FSDP, "FSDP_OFFLOAD_PARAMS": "true"}, "FSDP_OFFLOAD_PARAMS=true"),
        ({**FSDP, "FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, "FSDP_SHARDING_STRATEGY=HYBRID_SHARD"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "4"}, "ACCELERATE_DEEPSPEED_ZERO_STAGE=4"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}, "OFFLOAD_OPTIMIZER_DEVICE=cpu"),
        ({**ZERO, FILE: "missing.json"}, "missing.json"),
    ],
    ids=str,
)
def test_what_is_not_done_is_refused(environment, named):
    with pytest.raises(RunError) as caught:
        asked_sharding(environment)
    assert named in str(caught.value)
    assert "training.sharding" in str(caught.value.fix)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"zero_optimization": 3}', '{"zero_optimization": {"offload_param": {"device": "nvme"}}}']
)
def test_bad_files_of_deepspeed_are_errors(tmp_path, content):
    file = tmp_path / "ds.json"
    file.write_text(content)
    with pytest.raises(RunError) as caught:
        asked_sharding({**ZERO, FILE: str(file)})
    assert "nvme" in content or str(file) in str(caught.value)


def test_libraries_do_not_see_that_anyone_asked(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with taken_over() as asked:
        assert asked == Asked("fsdp", "FSDP 2")
        assert "ACCELERATE_USE_FSDP" not in os.environ
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"


def test_a_task_that_cannot_be_cut_names_who_asked(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "red", "output": "yes"}\n')
    task = {"kind": "classification", "instruction": "?", "labels": ["yes", "no"], "data": {"train": str(rows)}}
    loaded = task_from({"name": "t", **task, "training": {"method": "qlora"}})
    with pytest.raises(ConfigError) as caught:
        with_sharding(loaded, "fsdp", "accelerate's configuration (FSDP 2)")
    assert "accelerate's configuration (FSDP 2)" in str(caught.value)
    lora = task_from({"name": "t", **task})
    assert with_sharding(lora, "fsdp", "").config.training.sharding == "fsdp"
    assert lora.config.training.sharding == "none"
