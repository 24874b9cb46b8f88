"""Rows and settings for training tests on a tiny model."""

from __future__ import annotations

from typing import Any

import torch

from burnish.config import TrainingConfig
from burnish.models.adapters import attach_adapter
from burnish.models.layout import Labelled, Span
from burnish.progress import Silent
from burnish.records import Message, Source
from burnish.training.encode import tail_item
from burnish.training.loop import train
from burnish.training.objectives.base import Item
from tiny import tiny_for

SYSTEM = "the assistant sat on the mat and ran to the user"


def rows(chat: Any, count: int = 24, system: str = SYSTEM) -> list[Item]:
    """Prompts of varied length that share their system turn."""
    made = []
    for i in range(count):
        messages = [Message("system", system), Message("user", f"{i} " + "the cat ran " * (i % 4))]
        rendered = chat.render(messages, Message("assistant", f"dog {i % 5}" + " sat" * (i % 3)))
        made.append(tail_item(rendered.tokens, rendered.prompt_length, 1.0, Source("rows.jsonl", i + 1)))
    return made


def pairs(chat: Any, count: int = 16) -> list[Item]:
    """Pairs whose chosen answer says cat and whose rejected one says dog, with the prompts of `rows`."""
    made = []
    answers = [[*chat.answer(text), chat.end_of_turn] for text in (" the cat sat", " a dog ran off")]
    for item in rows(chat, count):
        (tokens, (span,)) = item.sequences[0]
        prompt = tokens[: span.first]
        both = tuple(
            Labelled((*prompt, *answer), (Span(len(prompt), len(prompt) + len(answer)),)) for answer in answers
        )
        made.append(Item(both, 1.0, item.source))
    return made


def settings(**changes: Any) -> TrainingConfig:
    values: dict[str, Any] = {
        "learning_rate": 1e-2, "num_epochs": 2, "batch_size": 4, "checkpoint_steps": 3, "lora_r": 4,
        "early_stopping_patience": None,
    }  # fmt: skip
    return TrainingConfig.model_validate(values | changes)


def lora_model(config: TrainingConfig, **options: Any) -> tuple[Any, Any]:
    """A tiny model with what the settings train, and its chat template."""
    loaded, chat = tiny_for(config.method, **options)
    if config.dtype in ("bfloat16", "float16"):
        loaded.model.to(getattr(torch, config.dtype))
    model = attach_adapter(
        loaded.model,
        method=config.method,
        r=config.lora_r,
        alpha=config.lora_alpha,
        bottleneck=config.bottleneck_size,
        virtual_tokens=config.virtual_tokens,
        dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        rank_stabilised=config.lora_rank_stabilised,
        seed=1,
    )
    return model, chat


def run_training(
    folder: Any,
    config: TrainingConfig,
    *,
    metric: Any = None,
    progress: Any = None,
    data: Any = None,
    **options: Any,
) -> Any:
    """Train a fresh tiny model in `folder`; the model and the result."""
    model, chat = lora_model(config)
    made = data or rows(chat)
    result = train(
        model,
        made[:20],
        made[20:],
        settings=config,
        seed=3,
        device="cpu",
        folder=folder,
        metric=metric,
        metric_name="accuracy",
        progress=progress or Silent(),
        **options,
    )
    return model, result
