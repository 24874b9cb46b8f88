"""Bottleneck adapters (Houlsby et al. 2019, section 2.1): two small layers behind each part of a decoder layer.

h + W_up GELU(W_down h + b_down) + b_up, in series, behind attention and behind the feed-forward part, each in front
of its skip connection. W_up and b_up are 0 at the start, so that the model begins as its base. The paper's training
of the layer norms is left out: all of the base stays frozen. peft has no such method, so this is our own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.models.text_part import text_config

CONFIG_FILE = "bottleneck_config.json"
NAME = "bottleneck"  # the submodule's name in the modules it stands behind


class Bottleneck(nn.Module):
    """h + up(GELU(down(h))), computed and trained in float32 whatever the base's number format is."""

    def __init__(self, width: int, size: int, device: Any = None) -> None:
        super().__init__()
        self.down = nn.Linear(width, size, device=device)
        self.up = nn.Linear(size, width, device=device)
        nn.init.trunc_normal_(self.down.weight, std=0.01, a=-0.02, b=0.02)  # Houlsby et al., section 3.6
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """[B, T, D] to the same, in its number format."""
        change = self.up(nn.functional.gelu(self.down(hidden_BTD.to(self.down.weight.dtype))))
        out: Tensor = hidden_BTD + change.to(hidden_BTD.dtype)
        return out


def attach_bottleneck(model: Any, size: int) -> Any:
    """The model with adapters of `size` units behind every part of its decoder layers; all else is frozen.

    Parts are found by structure: modules of a decoder layer that hold a matrix, linear layers among them only when
    they lead to the model's width. Raises ModelError where there are no decoder layers to be found.
    """
    model.requires_grad_(False)
    width = int(text_config(model).hidden_size)
    for layer in _decoder_layers(model):
        for part in _parts(layer, width):
            device = next(part.parameters()).device
            part.add_module(NAME, Bottleneck(width, size, device).requires_grad_(True))
            part.register_forward_hook(_behind)
    model.burnish_bottleneck = size
    return model


def bottleneck_size(model: Any) -> int:
    """Units of the model's bottleneck adapters; 0 when it has none."""
    return int(getattr(model, "burnish_bottleneck", 0))


def bottleneck_tensors(model: Any) -> dict[str, nn.Parameter]:
    """The adapters' parameters by name."""
    return {name: parameter for name, parameter in model.named_parameters() if f".{NAME}." in name}


def write_config(model: Any, folder: Path, base_model: str) -> None:
    """bottleneck_config.json: what attach_bottleneck needs to build the same adapters again."""
    about = {"method": NAME, "size": bottleneck_size(model), "base_model_name_or_path": base_model}
    (folder / CONFIG_FILE).write_text(json.dumps(about, indent=2), encoding="utf-8")


def load_bottleneck(model: Any, folder: Path) -> Any:
    """The base with the saved adapters, frozen. Raises ModelError when the tensors do not fit the model."""
    from safetensors.torch import load_file

    attach_bottleneck(model, int(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["size"]))
    state, tensors = load_file(folder / "adapter_model.safetensors"), bottleneck_tensors(model)
    odd = sorted(set(state) ^ set(tensors))
    if odd:
        raise ModelError("the saved tensors do not fit the model", got=odd[0], where=str(folder))
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[name])
    return model.requires_grad_(False)


def _behind(module: Any, _: Any, output: Any) -> Any:
    """A part's output through its adapter; attention gives a tuple whose first entry is the hidden states."""
    adapter = getattr(module, NAME)
    return (adapter(output[0]), *output[1:]) if isinstance(output, tuple) else adapter(output)


def _decoder_layers(model: Any) -> nn.ModuleList:
    wanted = getattr(text_config(model), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise ModelError(
        "no decoder layers are found in this model, so bottleneck adapters have no place",
        got=type(model).__name__,
        where="training.method",
        fix="use lora",
    )


def _parts(layer: nn.Module, width: int) -> list[nn.Module]:
    return [
        part
        for part in layer.children()
        if any(parameter.dim() > 1 for parameter in part.parameters())
        and (not isinstance(part, nn.Linear) or part.out_features == width != part.in_features)
    ]
