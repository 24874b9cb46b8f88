"""Which layers of a model all-linear means, and which weights it leaves as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from burnish.models.quantised import is_quantised
from burnish.models.text_part import beside_text

# Families in which peft refuses LoRA on what leads out of a Mamba block; and the layers of such blocks whose weights
# kernels read without calling them.
_MAMBA = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
_READ_BY_KERNELS = frozenset({"x_proj", "dt_proj", "out_proj"})


def not_for_lora(model: Any, targets: Sequence[str] | Literal["all-linear"]) -> list[str] | None:
    """Names of linear layers that are left out although they are targets, None for none.

    All in towers for images or sound. And where targets are all-linear, routers that return more than their product
    (Llama 4, Phi-3.5-MoE), and layers whose weights are read without calling them, where LoRA has no effect: found
    out by trying (Gemma 3n, Jamba), and those that Mamba's kernels read.
    """
    others, modules = beside_text(model), dict(model.named_modules())
    linear = {name: module for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    if targets != "all-linear":
        return [name for name in linear if name in others and name.rpartition(".")[2] in targets] or None
    mamba = getattr(model.config, "model_type", None) in _MAMBA
    called = _called(model, linear)

    def unfit(name: str, module: torch.nn.Linear) -> bool:
        parent, _, leaf = name.rpartition(".")
        if leaf in _READ_BY_KERNELS and (mamba or "Mamba" in type(modules[parent]).__name__):
            return True
        return name not in called or (type(module) is not torch.nn.Linear and not is_quantised(module))

    return [name for name, module in linear.items() if name in others or unfit(name, module)] or None


@torch.no_grad()
def _called(model: Any, linear: Mapping[str, torch.nn.Linear]) -> set[str]:
    """Those that a text passes through, and all experts, of which a text passes some."""
    found = {name for name in linear if "expert" in name}
    hooks = [
        module.register_forward_pre_hook(lambda _, __, name=name: found.add(name)) for name, module in linear.items()
    ]
    try:
        model(input_ids=torch.arange(2, device=model.get_input_embeddings().weight.device)[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def left_out(model: Any) -> list[str]:
    """Kinds of weights that multiply tokens and that a model's adapter does not change: places in a layer, the output
    head aside. Of models with experts peft adapts some parts and not others, without a word."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = model.get_base_model()
    head, others = base.get_output_embeddings(), set(map(id, beside_text(base).values()))
    adapted = tuple(name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))
    within = tuple(f"{name}." for name in adapted)
    found = set()
    for name, module in model.named_modules():
        if module is head or id(module) in others or isinstance(module, (torch.nn.Embedding, torch.nn.Conv1d)):
            continue
        if name in adapted or name.startswith(within):
            continue
        for leaf, tensor in module.named_parameters(recurse=False):
            if tensor.dim() > 2 or (tensor.dim() == 2 and leaf == "weight"):
                found.add(_place(f"{name}.{leaf}".removesuffix(".weight")))
    return sorted(found)


def _place(name: str) -> str:
    """Where in its layer a weight is: what follows the layer's number, without those of experts."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    inner = parts[numbers[0] + 1 :] if numbers else parts[-1:]
    return ".".join(part for part in inner if not part.isdigit())
