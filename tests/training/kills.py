"""Trainings that are killed, run apart from pytest: `python kills.py FOLDER`.

The interpreter loads torch once; every training is a forked process that ends itself by a real SIGKILL.
FOLDER/found.json holds what the tests look at.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from burnish.models.adapters import adapter_state
from burnish.progress import Silent
from burnish.training import checkpoints, loop
from helpers_training import lora_model, run_training, settings

KILLS = 50
CONFIG = settings(max_steps=6, evals_per_epoch=2, checkpoint_steps=2, lora_dropout=0.1, keep_checkpoints=2)
WATCHED = ("burnish/training/", "burnish/runs/")


class Lines:
    """Counts the lines of training/ and runs/ that are executed; kills this process before the last one allowed."""

    def __init__(self, allowed: int | None = None) -> None:
        self.count = 0
        self.allowed = allowed

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            return self if any(part in frame.f_code.co_filename for part in WATCHED) else None
        if event == "line":
            self.count += 1
            if self.count == self.allowed:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def forked(work: Callable[[], None]) -> int:
    """Do the work in a process of its own; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    if status:
        sys.exit("a training failed")
    return 0


def training(folder: Path, allowed: int | None = None) -> Callable[[], None]:
    """Train in the folder, or go on; leaves lines.json, and final.safetensors at the end."""

    def work() -> None:
        lines = Lines(allowed)
        sys.settrace(lines)
        model, _ = run_training(folder, CONFIG)
        sys.settrace(None)
        from safetensors.torch import save_file

        save_file(adapter_state(model), folder / "final.safetensors")
        (folder / "lines.json").write_text(json.dumps(lines.count))

    return work


def killed_at_random(folder: Path) -> dict[str, Any]:
    """50 kills at random lines, each training taken up again until it is done."""
    forked(training(folder / "whole"))
    whole = (folder / "whole" / "final.safetensors").read_bytes()
    total = json.loads((folder / "whole" / "lines.json").read_text())
    rng = random.Random(5)
    kills, finished, same = 0, 0, 0
    while kills < KILLS:
        cut = folder / f"cut-{finished}"
        while True:
            allowed = rng.randrange(1, total) if kills < KILLS else None
            if not forked(training(cut, allowed)):
                break
            kills += 1
        finished += 1
        same += (cut / "final.safetensors").read_bytes() == whole
        shutil.rmtree(cut)
    return {"kills": kills, "finished": finished, "same": same, "lines": total}


def killed_in_a_save(folder: Path) -> dict[str, Any]:
    """Kill a save before each of its file operations; what would be resumed from then."""
    source = folder / "source"
    forked(lambda: run_training(source, CONFIG.model_copy(update={"keep_checkpoints": 9})) and None)
    kept = source / "checkpoints"
    model, _ = lora_model(CONFIG)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    known = {}
    for step in (2, 4, 6):
        whole = checkpoints.step_folder(kept, step)
        known[step] = {file.name: file.read_bytes() for file in whole.iterdir()}

    def saving(target: Path, operations: int) -> None:
        state = checkpoints.load_newest(only(kept, folder / "third", 6), model, optimizer, Silent())
        assert state is not None
        assert state.step == 6
        state = state._replace(best_step=6)
        seen = 0

        def hook(event: str, _: Any) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate"):
                seen += 1
                if seen == operations:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        checkpoints.save_best(target, 6, model)
        checkpoints.save_checkpoint(target, model, optimizer, state, keep=2)

    found = []
    operations = 0
    while True:
        operations += 1
        target = folder / "target"
        shutil.rmtree(target, ignore_errors=True)
        only(kept, target, 2, 4)
        ended = forked(lambda target=target, k=operations: saving(target, k))
        resumed = checkpoints.load_newest(target, model, optimizer, Silent())
        step = resumed.step if resumed else 0
        tensors = {name: data for name, data in known.get(step, {}).items() if name.endswith(".safetensors")}
        intact = bool(tensors) and all(
            (checkpoints.step_folder(target, step) / name).read_bytes() == data for name, data in tensors.items()
        )
        # What was left half-written must not stand in the way of the next save.
        forked(lambda target=target: saving(target, 0))
        again = checkpoints.load_newest(target, model, optimizer, Silent())
        left = [path.name for path in target.iterdir() if path.name.startswith(".")]
        found.append({"step": step, "intact": intact, "again": again.step if again else 0, "left": left})
        if not ended:
            return {"saves": found}


def only(source: Path, target: Path, *steps: int) -> Path:
    """A folder with some checkpoints of another and the best adapters that they name."""
    for step in steps:
        shutil.copytree(source / f"step-{step:06d}", target / f"step-{step:06d}", dirs_exist_ok=True)
        best = json.loads((source / f"step-{step:06d}" / "state.json").read_text())["best_step"]
        if best:
            shutil.copytree(source / f"best-{best:06d}", target / f"best-{best:06d}", dirs_exist_ok=True)
    return target


def main() -> None:
    import transformers  # noqa: F401 - loaded once, before the forks

    torch.set_num_threads(1)
    assert loop.train
    folder = Path(sys.argv[1])
    found = killed_in_a_save(folder / "saves") | killed_at_random(folder / "random")
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
