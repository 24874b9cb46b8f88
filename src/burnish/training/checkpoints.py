"""Checkpoints: everything a resumed run needs to give the same weights as an uninterrupted one.

A checkpoint is a folder of safetensors and JSON (no pickle) with a manifest of SHA-256, committed by rename. The
newest valid one is used; a damaged one is named and passed over.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.adapters import adapter_state, restore_adapter_state
from burnish.progress import Progress
from burnish.runs import commit_folder, verify_folder


class TrainerState(NamedTuple):
    """Where training stands after `step` optimizer steps.

    best_step: step of the best adapter so far (0: none yet), with its score (higher is better);
    stale: validations since; seconds: of training, over all sittings; threads: of the matrix products.
    """

    step: int = 0
    best_step: int = 0
    best_score: float = float("-inf")
    stale: int = 0
    tokens: int = 0
    labelled_tokens: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    threads: int = 0
    first_loss: float | None = None


def step_folder(folder: Path, step: int) -> Path:
    """checkpoints/step-000100"""
    return folder / f"step-{step:06d}"


def best_folder(folder: Path, step: int) -> Path:
    """checkpoints/best-000100: the adapter alone."""
    return folder / f"best-{step:06d}"


def save_best(folder: Path, step: int, model: Any) -> None:
    """Keep the adapter of this step."""
    from safetensors.torch import save_file

    temporary = _temporary(folder)
    save_file(adapter_state(model), temporary / "adapter_model.safetensors")
    commit_folder(temporary, best_folder(folder, step))


def load_best(folder: Path, step: int, model: Any) -> None:
    """Put the adapter of `save_best` into the model."""
    from safetensors.torch import load_file

    restore_adapter_state(model, load_file(best_folder(folder, step) / "adapter_model.safetensors"))


def save_checkpoint(
    folder: Path, model: Any, optimizer: torch.optim.Optimizer, state: TrainerState, *, keep: int
) -> None:
    """Write step-<n>; then drop all but the `keep` newest checkpoints and the best adapter they name."""
    from safetensors.torch import save_file

    temporary = _temporary(folder)
    save_file(adapter_state(model), temporary / "adapter_model.safetensors")
    save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
    save_file({"torch": torch.get_rng_state()}, temporary / "rng.safetensors")
    (temporary / "state.json").write_text(json.dumps(state._asdict(), indent=2), encoding="utf-8")
    commit_folder(temporary, step_folder(folder, state.step))
    _prune(folder, keep)


def load_newest(
    folder: Path, model: Any, optimizer: torch.optim.Optimizer, progress: Progress
) -> TrainerState | None:
    """Restore the newest valid checkpoint; None when there is none. Damaged ones are reported and passed over."""
    from safetensors.torch import load_file

    for path in sorted(folder.glob("step-*"), reverse=True):
        state = _valid_state(folder, path, progress)
        if state is None:
            continue
        restore_adapter_state(model, load_file(path / "adapter_model.safetensors"))
        _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
        torch.set_rng_state(load_file(path / "rng.safetensors")["torch"])
        return state
    return None


def _valid_state(folder: Path, path: Path, progress: Progress) -> TrainerState | None:
    damaged = verify_folder(path)
    if damaged:
        progress.notice(f"{path.name} is damaged ({', '.join(damaged)}); the one before is used", warning=True)
        return None
    state = TrainerState(**json.loads((path / "state.json").read_text(encoding="utf-8")))
    if state.best_step and verify_folder(best_folder(folder, state.best_step)):
        progress.notice(f"the best adapter that {path.name} names is damaged; the one before is used", warning=True)
        return None
    return state


def _temporary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))


def _prune(folder: Path, keep: int) -> None:
    """Remove what no kept checkpoint needs, and what a killed process left half-written."""
    kept = sorted(folder.glob("step-*"))[-keep:]
    for path in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(path)
    named = {json.loads((path / "state.json").read_text(encoding="utf-8"))["best_step"] for path in kept}
    for path in folder.glob("best-*"):
        if int(path.name.removeprefix("best-")) not in named:
            shutil.rmtree(path)
    for path in folder.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors named by parameter number."""
    tensors: dict[str, Tensor] = {}
    for i, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{i:05d}.{name}"] = value.detach().cpu().contiguous()
    return tensors


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        device = "cpu" if key == "step" and parameter.device.type == "cpu" else parameter.device
        optimizer.state[parameter][key] = value.to(device)
