"""The whole line on families that read, attend or keep what they read in ways of their own."""

from __future__ import annotations

import json

import pytest

import burnish
from burnish.errors import ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.lora_targets import left_out
from burnish.models.text_part import beside_text
from burnish.runs import read_jsonl
from notes import Notes
from test_lifecycle import write_task
from tiny import save_tiny, tiny_model
from tiny_families import TINY


def run_with(family, folder, **training):
    save_tiny(folder / "model", TINY[family])
    settings = {"learning_rate": 0.02, "max_steps": 8, "batch_size": 8, "lora_r": 4, "eval_examples": 8}
    task = write_task(folder, training=settings | {"dtype": "float32"} | training)
    return burnish.run(task, runs_dir=folder / "runs")


@pytest.mark.parametrize("family", ["gemma3 that sees", "qwen3_5", "mixtral", "jamba"])
def test_a_run_trains_answers_and_exports(family, tmp_path):
    run = run_with(family, tmp_path)
    losses = [line["loss"] for line in read_jsonl(run.path / "metrics.jsonl") if "loss" in line]
    assert losses[-1] < losses[0]
    answers = [answer.text for answer in run.predict(["the apple number 3", "the sky number 7"])]
    assert set(answers) <= {"red", "yellow", "green", "blue"}
    run.export(tmp_path / "out")  # the merged weights answer as the adapter did, or this raises
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == TINY[family].model_type


def test_all_weights_of_a_model_that_sees_are_those_that_texts_pass_through(tmp_path):
    run = run_with("gemma3 that sees", tmp_path, method="full", learning_rate=0.003)
    before, after = (
        dict(burnish.load_model(str(folder), dtype="float32").model.named_parameters())
        for folder in (tmp_path / "model", run.adapter)
    )
    same = {name for name, weight in before.items() if weight.equal(after[name])}
    assert same == {name for name in before if "vision_tower" in name or "multi_modal_projector" in name}


def test_lora_leaves_towers_alone_and_says_what_else_it_leaves():
    seeing = tiny_model(TINY["gemma3 that sees"])
    assert all("vision" in name or "multi_modal" in name for name in beside_text(seeing))
    for targets in ("all-linear", ["q_proj", "v_proj"]):
        model = attach_adapter(tiny_model(TINY["gemma3 that sees"]), r=4, target_modules=targets)
        trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert trained
        assert not any("vision" in name for name in trained)
    assert left_out(attach_adapter(tiny_model(TINY["llama"]), r=4)) == []
    assert left_out(attach_adapter(tiny_model(TINY["gpt_oss"]), r=4)) == [
        "mlp.experts.down_proj", "mlp.experts.gate_up_proj", "mlp.router",
    ]  # fmt: skip
    assert "mlp.shared_experts.up_proj" in left_out(attach_adapter(tiny_model(TINY["glm4_moe"]), r=4))
    assert "mamba.out_proj" in left_out(attach_adapter(tiny_model(TINY["jamba"]), r=4))


def test_what_a_run_leaves_as_it_is_is_told(tmp_path):
    save_tiny(tmp_path / "model", TINY["glm4_moe"])
    settings = {"max_steps": 2, "batch_size": 4, "dtype": "float32", "eval_examples": 2, "lora_r": 4}
    told = Notes()
    burnish.run(write_task(tmp_path, training=settings), runs_dir=tmp_path / "runs", progress=told)
    assert any("leaves as they are: mlp.down_proj, mlp.gate_proj" in notice for notice in told.lines)


def test_experts_know_no_dora():
    with pytest.raises(ModelError, match="does not work with use_dora=True") as error:
        attach_adapter(tiny_model(TINY["mixtral"]), method="dora", r=4)
    assert error.value.got == "mixtral"


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss"])
def test_scores_that_pytorchs_kernels_do_not_know(family, tmp_path):
    """Capped ones, and sinks: such models could not be loaded at all."""
    save_tiny(tmp_path, TINY[family])
    assert burnish.load_model(str(tmp_path), dtype="float32").model.config._attn_implementation == "eager"
    adapted = attach_adapter(tiny_model(TINY[family]), method="prefix_tuning", virtual_tokens=3)
    assert adapted.get_base_model().config._attn_implementation == "eager"
