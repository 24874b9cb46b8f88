"""The same model, data, settings and order of batches: the losses of TRL's SFTTrainer, step by step."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import SequentialSampler

from burnish.models.adapters import adapter_state
from burnish.progress import Silent
from burnish.runs import read_jsonl
from burnish.training.batches import epoch_order
from burnish.training.loop import train
from helpers_training import lora_model, rows, settings

STEPS = 20
BATCH = 4


def trl_losses(model, chat, made, config, folder, accumulate):
    """Loss of each step with TRL, on batches in the order of the rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

    losses = []

    class Sequential(SFTTrainer):
        def _get_train_sampler(self, dataset=None):
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def training_step(self, *arguments, **options):
            loss = super().training_step(*arguments, **options)
            losses.append(float(loss))
            return loss

    sequences = [row.sequences[0] for row in made]
    data = Dataset.from_list(
        [
            {"input_ids": list(tokens), "labels": [-100] * span.first + list(tokens[span.first :])}
            for tokens, (span,) in sequences
        ]
    )
    options = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH // accumulate,
        gradient_accumulation_steps=accumulate,
        max_steps=STEPS,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=False,
        activation_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Sequential(model=model, args=options, train_dataset=data, processing_class=chat.tokenizer)
        trainer.train()
    # With accumulation a call gives its part of the step's loss.
    return [sum(losses[i : i + accumulate]) for i in range(0, len(losses), accumulate)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_oracle_trl_sft_losses(tmp_path, accumulate):
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
    made = rows(chat, BATCH * STEPS)
    train(
        ours, made, [], settings=config, seed=3, device="cpu", folder=tmp_path / "ours",
        metric=None, metric_name="", progress=Silent(),
    )  # fmt: skip
    found = [line["loss"] for line in read_jsonl(tmp_path / "ours" / "metrics.jsonl") if "loss" in line]
    order = [made[i] for step in epoch_order([row.tokens for row in made], BATCH, 3, 0) for i in step]
    theirs, _ = lora_model(config, attention="sdpa")
    for module in theirs.modules():
        module.__dict__.pop("forward", None)  # peft's own layers
    expected = trl_losses(theirs, chat, order, config, tmp_path / "theirs", accumulate)
    assert len(expected) == STEPS
    assert found == pytest.approx(expected, rel=1e-4)
    left, right = adapter_state(ours), adapter_state(theirs)
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-2, atol=1e-4)
