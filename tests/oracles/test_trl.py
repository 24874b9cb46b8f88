"""The same model, data, settings and order of batches: the losses of TRL's trainers, step by step."""

from __future__ import annotations

import warnings

import pytest
import torch
from trl_peer import trl_trainer

from burnish.models.adapters import adapter_state
from burnish.progress import Silent
from burnish.runs import read_jsonl
from burnish.training.batches import epoch_order
from burnish.training.loop import train
from burnish.training.objectives.make import make_objective
from helpers_training import lora_model, pairs, rows, settings

STEPS = 20
BATCH = 4


def ours_and_theirs(folder, name, make, *, accumulate=1, objective=None, **options):
    """Losses of each step here and with TRL, and both adapters."""
    config = settings(
        learning_rate=5e-3,
        batch_size=BATCH,
        num_epochs=1,
        max_steps=STEPS,
        evals_per_epoch=1e-3,
        lr_scheduler="cosine",
        tokens_per_batch=64 if accumulate > 1 else 4096,
        weight_decay=0.01,
        warmup_ratio=0,  # TRL's first warm-up step has rate 0, ours has not
    )
    ours, chat = lora_model(config)
    made = make(chat, BATCH * STEPS)
    train(
        ours, made, [], settings=config, seed=3, device="cpu", folder=folder / "ours", metric=None, metric_name="",
        progress=Silent(), objective=objective,
    )  # fmt: skip
    found = [line["loss"] for line in read_jsonl(folder / "ours" / "metrics.jsonl") if "loss" in line]
    order = [made[i] for step in epoch_order([item.tokens for item in made], BATCH, 3, 0) for i in step]
    theirs, _ = lora_model(config, attention="sdpa")
    for module in theirs.modules():
        module.__dict__.pop("forward", None)  # peft's own layers
    trainer = trl_trainer(
        name,
        theirs,
        chat.tokenizer,
        order,
        folder=str(folder / "theirs"),
        batch=BATCH // accumulate,
        accumulate=accumulate,
        steps=STEPS,
        rate=config.learning_rate,
        in_order=True,
        warmup_steps=0,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    # With accumulation a call gives its part of the step's loss.
    losses = [sum(trainer.losses[i : i + accumulate]) for i in range(0, len(trainer.losses), accumulate)]
    return (found, losses), (adapter_state(ours), adapter_state(theirs))


def assert_same(losses, adapters):
    found, expected = losses
    assert len(expected) == STEPS
    assert found == pytest.approx(expected, rel=1e-4)
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(tensor, adapters[1][name], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_oracle_trl_sft_losses(tmp_path, accumulate):
    assert_same(*ours_and_theirs(tmp_path, "sft", rows, accumulate=accumulate))


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_oracle_trl_dpo_losses(tmp_path, kind):
    objective = make_objective("dpo", beta=0.2, dpo_loss=kind)
    assert_same(*ours_and_theirs(tmp_path, "dpo", pairs, objective=objective, loss_type=[kind], beta=0.2))
