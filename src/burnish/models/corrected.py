"""LoRA that begins by making up for what its base lost in 4 bits.

QLoRA (Dettmers et al. 2023) begins with B = 0, so with the model that 4-bit weights have left: on a small model they
raise the loss by a fifth. Here A and B begin as the matrices of rank r which, with inputs that the layer really gets,
bring its output nearest to that of the weights in full (Zhang et al. 2024, "QERA-exact"). With the error of the
weights E = W - Q and inputs X these are B A = U Uᵀ E, where U holds the r leading left singular vectors of E Xᵀ:
inputs lie in few directions, so that a small rank repairs most of the output, though little of E. Nothing else is
new: Q is the plain 4-bit base, and what the adapter began with is in the adapter.

On weights in full that beginning would be an error of its own. What training changed is B A - B0 A0, an adapter of
twice the rank (`for_full_weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.padding import padded
from burnish.models.quantised import dequantised, is_quantised

START_FILE = "lora_start.safetensors"  # in the adapter's folder: A0 and B0
CALIBRATION_TOKENS = 1024  # of training rows that go through the model once
_SPARE = 8  # further directions of the randomised decomposition (Halko et al. 2011, section 4.3)
_LARGEST_ERROR = 0.3  # of a weight's norm: 4 bits cost a tenth; anything else was read under a wrong name
_ADAPTER = "default"


class Corrected(NamedTuple):
    """layers: how many of them were corrected, of `of`. left: of the squared error of their outputs on the rows.

    start: copies of their A and B, on the CPU, under the names that they have in the adapter's file.
    """

    layers: int
    of: int
    left: float
    start: dict[str, Tensor]


def correct_quantisation(model: Any, rows: Sequence[Sequence[int]], *, seed: int = 0) -> Corrected:
    """Set A and B of every LoRA layer on 4-bit weights, layer after layer, each on what those before it then give.

    model: of `attach_adapter`, untrained, on the device. rows: token ids of training rows; the first
    CALIBRATION_TOKENS are taken. A keeps the norm that it had, so that training takes steps of the usual size. The
    weights in full are read from the base's files, one at a time; a layer whose weight is not found there keeps its
    usual beginning.
    """
    layers = {name: module for name, module in model.named_modules() if _correctable(module)}
    errors: list[tuple[float, float]] = []
    start: dict[str, Tensor] = {}
    ids, mask = padded(_first(rows), next(model.parameters()).device)
    if not layers or not ids.numel():
        return Corrected(0, len(layers), 1.0, start)
    training = model.training
    model.eval()
    with ExitStack() as stack, torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        full = stack.enter_context(_stored_weights(Path(model.get_base_model().config._name_or_path)))
        for name, layer in layers.items():

            def correct(layer: Any, args: tuple[Any, ...], name: str = name) -> None:
                weight = full(f"{name.removeprefix('base_model.model.')}.weight")
                if (found := _correct(layer, _read(args[0], mask), weight)) is not None:
                    errors.append(found)
                    start.update(_named(name, layer))

            handle = layer.register_forward_pre_hook(correct)
            stack.callback(handle.remove)
        model(input_ids=ids, attention_mask=mask.long(), use_cache=False, logits_to_keep=1)
    model.train(training)
    before, after = (sum(each) for each in zip(*errors, strict=True)) if errors else (1.0, 1.0)
    return Corrected(len(errors), len(layers), after / before, start)


def for_full_weights(trained: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapter's tensors with what training changed alone, B A - B0 A0, at twice the rank.

    trained, start: by their names in the adapter's file. Layers that began with B = 0 get zeros.
    """
    found = {}
    for name, tensor in trained.items():
        began = start.get(name, torch.zeros_like(tensor))
        of_b = ".lora_B." in name
        found[name] = torch.cat([tensor, -began if of_b else began], dim=1 if of_b else 0).contiguous()
    return found


def _named(name: str, layer: Any) -> dict[str, Tensor]:
    """Copies of a layer's A and B, as peft names them in files."""
    return {
        f"{name}.{part}.weight": getattr(layer, part)[_ADAPTER].weight.detach().cpu().clone()
        for part in ("lora_A", "lora_B")
    }


def _correctable(module: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer) and is_quantised(module.base_layer) and _ADAPTER in module.lora_A


def _first(rows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The first CALIBRATION_TOKENS of the rows; the last of them may be cut."""
    taken: list[Sequence[int]] = []
    left = CALIBRATION_TOKENS
    for row in rows:
        if left <= 0:
            break
        taken.append(row[:left])
        left -= len(row)
    return taken


def _read(inputs: Tensor, mask: Tensor) -> Tensor:
    """The inputs of the tokens that were read, [tokens, in]; models flatten them in front of some layers.

    A layer that is given some of the tokens alone, as an expert is, has all of them counted, padding too.
    """
    flat = inputs.reshape(-1, inputs.shape[-1])
    return flat[mask.flatten()] if len(flat) == mask.numel() else flat


@contextmanager
def _stored_weights(folder: Path) -> Iterator[Callable[[str], Tensor | None]]:
    """A function from a name to the tensor of that name in a folder's safetensors files; None for no such tensor."""
    from safetensors import safe_open

    with ExitStack() as stack:
        places = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = stack.enter_context(safe_open(path, "pt"))
            places.update(dict.fromkeys(file.keys(), file))
        yield lambda name: places[name].get_tensor(name) if name in places else None


def _correct(layer: Any, inputs: Tensor, stored: Tensor | None) -> tuple[float, float] | None:
    """A and B of one layer; the squared error of its outputs before and after. None: nothing was done.

    inputs [tokens, in]; stored: the weight in full, [out, in] or, as GPT-2 keeps it, [in, out].
    """
    quantised = dequantised(layer.base_layer.weight).float()
    error = _error(stored, quantised)
    if error is None:
        return None
    a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
    rank = a.shape[0]
    wrong = error @ inputs.float().t()
    width = min(rank + _SPARE, *wrong.shape)
    directions = torch.svd_lowrank(wrong, q=width, niter=4)[0][:, :rank]
    low = directions.t() @ error
    norm = low.norm()
    if not torch.isfinite(norm) or not norm:
        return None
    scale = norm / a.float().norm()
    b.zero_()
    a[: len(low)] = low / scale
    b[:, : len(low)] = directions * (scale / layer.scaling[_ADAPTER])
    before = wrong.square().sum()
    return float(before), float(before - (directions.t() @ wrong).square().sum())


def _error(stored: Tensor | None, quantised: Tensor) -> Tensor | None:
    """What 4 bits took from a weight, [out, in]; None where the stored tensor is not this weight."""
    if stored is None:
        return None
    weight = stored.to(quantised.device).float()
    for candidate in (weight, weight.t()):
        if candidate.shape == quantised.shape:
            error = candidate - quantised
            if error.norm() < _LARGEST_ERROR * candidate.norm():
                return error
    return None
