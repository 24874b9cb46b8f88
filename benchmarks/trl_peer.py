"""TRL's trainers on our token sequences, for benchmarks and oracles: same batches, settings and masks as ours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import SequentialSampler

from burnish.training.objectives.base import Item


def sft_rows(items: Sequence[Item]) -> list[dict[str, list[int]]]:
    """Items of one sequence as TRL takes them already tokenised; its first label to its last is one span."""
    sequences = [item.sequences[0] for item in items]
    return [
        {"input_ids": list(tokens), "labels": [-100] * spans[0].first + list(tokens[spans[0].first :])}
        for tokens, spans in sequences
    ]


def dpo_rows(items: Sequence[Item]) -> list[dict[str, list[int]]]:
    """Pairs as TRL has them after tokenising: prompt, chosen, rejected."""
    rows = []
    for item in items:
        chosen, rejected = item.sequences
        first = chosen.spans[0].first
        rows.append(
            {
                "prompt_ids": list(chosen.tokens[:first]),
                "chosen_ids": list(chosen.tokens[first:]),
                "rejected_ids": list(rejected.tokens[first:]),
            }
        )
    return rows


def trl_trainer(
    objective: str,
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    *,
    folder: str,
    batch: int,
    accumulate: int,
    steps: int,
    rate: float,
    in_order: bool = False,
    callbacks: Sequence[Any] = (),
    peft_config: Any = None,
    bf16: bool = False,
    **options: Any,
) -> Any:
    """An SFTTrainer or DPOTrainer that has not begun. batch: examples a forward pass; in_order: of the items.
    bf16: passes are cast, as autocast does it.

    Losses of each call of its training_step are kept in `losses`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

        base: Any = SFTTrainer if objective == "sft" else DPOTrainer
        config: Any = SFTConfig if objective == "sft" else DPOConfig

        class Peer(base):  # type: ignore[misc]
            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

            def _get_train_sampler(self, dataset: Any = None) -> Any:
                if in_order:
                    return SequentialSampler(dataset if dataset is not None else self.train_dataset)
                return super()._get_train_sampler(dataset)

            def training_step(self, *arguments: Any, **given: Any) -> Any:
                loss = super().training_step(*arguments, **given)
                self.losses.append(float(loss))
                return loss

        settings = config(
            output_dir=folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulate,
            max_steps=steps,
            learning_rate=rate,
            lr_scheduler_type="cosine",
            bf16=bf16,
            activation_checkpointing=False,
            max_length=None,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            **({"dataset_kwargs": {"skip_prepare_dataset": True}} if objective == "sft" else {}),
            **options,
        )
        trainer = Peer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(sft_rows(items) if objective == "sft" else dpo_rows(items)),
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=list(callbacks),
        )
    trainer.losses = []
    return trainer
