"""The part of a model that reads and writes text: all of most models, one of several of those that see or hear."""

from __future__ import annotations

from typing import Any

import torch


def text_config(model: Any) -> Any:
    """The settings of the part that writes text."""
    return model.config.get_text_config(decoder=True)


def context_length(model: Any) -> int:
    """The model's context in tokens; 2**31 where its config names none."""
    return int(getattr(text_config(model), "max_position_embeddings", None) or 2**31)


def beside_text(model: Any) -> dict[str, torch.nn.Module]:
    """Modules, by name, of the parts that texts do not pass through: towers for images or sound."""
    if text_config(model) is model.config:
        return {}
    modules = dict(model.named_modules())
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    inside = next(name for name, module in modules.items() if module is decoder)
    return {
        name: module
        for name, module in modules.items()
        if module is not head and not f"{inside}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{inside}.")
        if name
    }
