"""What a training says about itself: lines of metrics.jsonl, for the listener, and the progress bar."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from burnish.progress import Progress
from burnish.records import Json
from burnish.runs import append_jsonl, read_jsonl, write_jsonl
from burnish.training.checkpoints import TrainerState
from burnish.training.parallel import Group
from burnish.training.plan import Plan
from burnish.training.step import StepOutcome

OnLog = Callable[[Mapping[str, Json]], None]


class Journal:
    """Rank 0 alone writes; on_log is given every line in each process that has one."""

    def __init__(self, file: Path, plan: Plan, progress: Progress, group: Group, on_log: OnLog | None) -> None:
        self._file, self._plan, self._progress, self._group, self._on_log = file, plan, progress, group, on_log

    def begin(self, after: int) -> None:
        """Lines of steps later than `after` are taken back: they will be trained again."""
        if self._group.rank == 0:
            lines = read_jsonl(self._file) if after else []
            write_jsonl(self._file, [line for line in lines if line["step"] <= after])

    def lines(self) -> tuple[dict[str, Json], ...]:
        """All that was written."""
        return tuple(read_jsonl(self._file))

    def step(self, state: TrainerState, outcome: StepOutcome, rate: float, seconds: float) -> None:
        """The step that led to `state`, taken in so many seconds at this learning rate."""
        speed = outcome.tokens / seconds
        line: dict[str, Json] = {
            "loss": outcome.loss,
            "learning_rate": rate,
            "tokens": outcome.tokens,
            "labelled_tokens": outcome.labelled,
            "tokens_per_second": round(speed, 1),
            "memory_mb": round(state.peak_memory_mb),
            "seconds": round(state.seconds, 2),
            "gradient_norm": outcome.norm,
        } | outcome.numbers
        if state.scale:
            line |= {"loss_scale": state.scale, "overflows": state.overflows}
        self.write(state.step, line)
        total = self._plan.total
        facts = {
            "loss": f"{outcome.loss:.3f}",
            "tokens/s": f"{speed:,.0f}",
            "memory": f"{state.peak_memory_mb / 1024:.1f} GB",
            "left": _clock((total - state.step) * state.seconds / state.step),
        }
        self._progress.advance("training steps", state.step, total, facts)

    def write(self, step: int, facts: Mapping[str, Json]) -> None:
        """A line about the training after `step` steps."""
        line = {"step": step, "epoch": self._plan.epochs(step), **facts}
        if self._group.rank == 0:
            append_jsonl(self._file, line)
        if self._on_log is not None:
            self._on_log(line)


def peak_memory_mb(device: str) -> float:
    """Most memory used so far: of the process on CPU, of PyTorch's allocator on a GPU.

    Linux's getrusage counts the process that started this one, too, as long as that was the larger one; its status
    file does not.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:", 1)[1].split(None, 1)[0]) / 2**10
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
