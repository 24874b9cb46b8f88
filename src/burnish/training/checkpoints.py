"""Checkpoints: everything a resumed run needs to give the same weights as an uninterrupted one.

A checkpoint is a folder of safetensors and JSON (no pickle) with a manifest of SHA-256, committed by rename. The
newest valid one is used; a damaged one is named and passed over.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.adapters import adapter_state, restore_adapter_state
from burnish.progress import Progress
from burnish.runs import commit_folder, explained, verify_folder
from burnish.training.optimizers import optimizer_tensors, restore_optimizer
from burnish.training.parallel import ALONE, Group

ADAPTER = "adapter_model.safetensors"


class TrainerState(NamedTuple):
    """Where training stands after `step` optimizer steps.

    best_step: step of the best adapter so far (0: none yet), with its score (higher is better);
    stale: validations since; seconds: of training, over all sittings; threads: of the matrix products of each of the
    `processes` that trained together; scale, good_steps and overflows: of the loss scale (training/scaling.py),
    scale 0 where there is none.
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
    processes: int = 1
    scale: float = 0.0
    good_steps: int = 0
    overflows: int = 0


def step_folder(folder: Path, step: int) -> Path:
    """checkpoints/step-000100"""
    return folder / f"step-{step:06d}"


def best_folder(folder: Path, step: int) -> Path:
    """checkpoints/best-000100: the adapter alone."""
    return folder / f"best-{step:06d}"


def save_best(folder: Path, step: int, model: Any, group: Group = ALONE) -> None:
    """Keep the adapter of this step. All processes of a group call this, the first one writes."""
    adapter = adapter_state(model)
    if group.rank == 0:
        _commit(folder, best_folder(folder, step), {ADAPTER: adapter})


def load_best(folder: Path, step: int, model: Any) -> None:
    """Put the adapter of `save_best` into the model."""
    from safetensors.torch import load_file

    restore_adapter_state(model, load_file(best_folder(folder, step) / ADAPTER))


def save_checkpoint(
    folder: Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    state: TrainerState,
    *,
    keep: int,
    group: Group = ALONE,
) -> None:
    """Write step-<n>; then drop all but the `keep` newest checkpoints and the best adapter they name.

    All processes of a group call this together; the first one writes, the random numbers' states of all of them.
    Raises RunError when the disk is full or refuses; the checkpoints before stay as they are.
    """
    tensors = {
        ADAPTER: adapter_state(model),
        "optimizer.safetensors": optimizer_tensors(optimizer),
        "rng.safetensors": _random_states(group),
    }
    if group.rank == 0:
        _commit(folder, step_folder(folder, state.step), tensors, state)
        _prune(folder, keep, state.step)


def _commit(
    folder: Path, final: Path, files: dict[str, dict[str, Tensor]], state: TrainerState | None = None
) -> None:
    """Write the files under a temporary name, then give them their own; what cannot be finished is removed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with explained(final):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        try:
            for name, tensors in files.items():
                try:
                    save_file(tensors, temporary / name)
                except SafetensorError as error:
                    raise as_os_error(error) from error
            if state is not None:
                text = json.dumps(state._asdict(), indent=2)
                (temporary / "state.json").write_text(text, encoding="utf-8")
            commit_folder(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def as_os_error(error: Exception) -> OSError:
    """What the system said, from safetensors' message "… (os error 28)"."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number) if found else str(error))


def _random_states(group: Group) -> dict[str, Tensor]:
    """The state of every process's random numbers: "torch" of the first, "torch.1" …, and "cuda" alike."""
    states = {_named("torch", rank): row for rank, row in enumerate(group.rows(torch.get_rng_state()))}
    if group.device == "cuda":
        states |= {_named("cuda", rank): row for rank, row in enumerate(group.rows(torch.cuda.get_rng_state()))}
    return states


def _named(kind: str, rank: int) -> str:
    return f"{kind}.{rank}" if rank else kind


def _restore_random_states(states: dict[str, Tensor], group: Group) -> None:
    """Of this process, where as many trained before; another keeps the state it was seeded with."""
    own = states.get(_named("torch", group.rank))
    if own is not None:
        torch.set_rng_state(own)
    on_gpu = states.get(_named("cuda", group.rank))
    if on_gpu is not None and group.device == "cuda":
        torch.cuda.set_rng_state(on_gpu)


def load_newest(
    folder: Path, model: Any, optimizer: torch.optim.Optimizer, progress: Progress, group: Group = ALONE
) -> TrainerState | None:
    """Restore the newest valid checkpoint; None when there is none. Damaged ones are reported and passed over."""
    from safetensors.torch import load_file

    for path in sorted(folder.glob("step-*"), reverse=True):
        state = _valid_state(folder, path, progress)
        if state is None:
            continue
        restore_adapter_state(model, load_file(path / ADAPTER))
        restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
        _restore_random_states(load_file(path / "rng.safetensors"), group)
        return state
    return None


def _valid_state(folder: Path, path: Path, progress: Progress) -> TrainerState | None:
    damaged = verify_folder(path)
    if damaged:
        progress.notice(f"{path.name} is damaged ({', '.join(damaged)}); the one before is used", warning=True)
        return None
    values = json.loads((path / "state.json").read_text(encoding="utf-8"))
    state = TrainerState(**{name: value for name, value in values.items() if name in TrainerState._fields})
    if state.best_step and verify_folder(best_folder(folder, state.best_step)):
        progress.notice(f"the best adapter that {path.name} names is damaged; the one before is used", warning=True)
        return None
    return state


def _prune(folder: Path, keep: int, newest: int) -> None:
    """Remove what no kept checkpoint needs, and what a killed process left half-written.

    newest: the step just saved. Checkpoints beyond it were damaged and passed over: they must not count as kept.
    """
    steps = sorted(folder.glob("step-*"))
    valid = [path for path in steps if int(path.name.removeprefix("step-")) <= newest]
    kept = valid[-keep:]
    for path in steps:
        if path not in kept:
            shutil.rmtree(path)
    named = {_best_of(path) for path in kept}
    for path in folder.glob("best-*"):
        if int(path.name.removeprefix("best-")) not in named:
            shutil.rmtree(path)
    for path in [*folder.glob(".writing-*"), *folder.glob(".*.tmp")]:
        shutil.rmtree(path, ignore_errors=True)


def _best_of(path: Path) -> int:
    """The best step that a checkpoint names; 0 when it cannot be read."""
    try:
        return int(json.loads((path / "state.json").read_text(encoding="utf-8"))["best_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
