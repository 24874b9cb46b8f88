"""The training loop. It knows no method and no objective by name: both come as arguments."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.config import TrainingConfig
from burnish.errors import Interrupted, TrainingError
from burnish.models.device import mapped_blocks
from burnish.models.quantised import parameter_count
from burnish.progress import Progress
from burnish.records import Json, TrainingResult
from burnish.runs import append_jsonl, read_jsonl, write_jsonl
from burnish.training.batches import epoch_order, steps_per_epoch, total_steps
from burnish.training.checkpoints import TrainerState, load_best, load_newest, save_best, save_checkpoint
from burnish.training.guards import MovedGuard, check_same
from burnish.training.objectives.base import Item, Objective
from burnish.training.objectives.sft import sft
from burnish.training.optimizers import make_optimizer
from burnish.training.overfitting import overfitting
from burnish.training.parallel import ALONE, Group
from burnish.training.reference import with_reference
from burnish.training.scaling import LossScale, scale_for
from burnish.training.schedule import learning_rate
from burnish.training.sharding import settle, shard
from burnish.training.step import StepOutcome, Stepper
from burnish.training.stopping import stop_signals

Metric = Callable[[], float]
Epoch = Callable[[int], Sequence[int]]
OnLog = Callable[[Mapping[str, Json]], None]


def train(
    model: Any,
    rows: Sequence[Item],
    validation: Sequence[Item],
    *,
    settings: TrainingConfig,
    seed: int,
    device: str,
    folder: Path,
    metric: Metric | None,
    metric_name: str,
    progress: Progress,
    objective: Objective | None = None,
    on_log: OnLog | None = None,
    group: Group = ALONE,
    epoch: Epoch | None = None,
    on_best: Callable[[], None] | None = None,
) -> TrainingResult:
    """Train `model`'s trainable parameters on `rows` and leave the best of them in the model.

    folder: checkpoints/ and metrics.jsonl go here; a checkpoint found there is continued from, to the same
    weights as without the interruption (same machine, same threads).
    metric: the task's metric on validation examples for the model as it is, in [0, 1].
    objective: what is minimised (default: sft); its items are in rows and validation.
    on_log: is given every line of metrics.jsonl; an exception of its own ends training, a checkpoint stays.
    group: the processes that train together, each with all rows; rank 0 alone writes and measures.
    epoch: places in rows of what epoch 0, 1, … holds, the same number each time (default: every row once).
    on_best: called by rank 0 when the validation just made, `metric` included, is the best so far.
    Raises Interrupted after Ctrl-C or SIGTERM (a checkpoint is written first), TrainingError when the loss is
    not finite, when memory does not suffice for one row, or when a guard refuses.
    """
    objective = objective or sft()
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable(every_n_layers=int(settings.gradient_checkpointing))
    if group.sharded:
        shard(model, device, whole=settings.sharding == "shard_grad_op")
    if objective.needs_reference:
        parts = [rows, validation] if validation else [rows]
        together = with_reference(
            [item for part in parts for item in part],
            model,
            folder / "reference.json",
            tokens_per_batch=settings.tokens_per_batch,
            share=_may_share(settings),
            group=group,
            progress=progress,
        )
        rows, validation = together[: len(rows)], together[len(rows) :]
    if group.sharded:  # a pass leaves the outermost weights whole, and the optimizer must see this process's part
        settle(model)
    trainer = _Trainer(
        model,
        rows,
        validation,
        settings,
        seed,
        device,
        folder,
        metric,
        metric_name,
        progress,
        objective,
        on_log,
        group,
        epoch or (lambda _: range(len(rows))),
        on_best,
    )
    frugal = settings.gradient_checkpointing and device == "cpu"
    with stop_signals() as stop, mapped_blocks() if frugal else contextlib.nullcontext():
        return trainer.run(stop)


def _may_share(settings: TrainingConfig) -> bool:
    """Rows that share a prefix would share its dropout too, which is not what separate rows do."""
    return settings.lora_dropout == 0 and settings.shared_prefix == "auto"


class _Trainer:
    """The state of one training, so that its steps can be functions of a few lines."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Item],
        validation: Sequence[Item],
        settings: TrainingConfig,
        seed: int,
        device: str,
        folder: Path,
        metric: Metric | None,
        metric_name: str,
        progress: Progress,
        objective: Objective,
        on_log: OnLog | None,
        group: Group,
        epoch: Epoch,
        on_best: Callable[[], None] | None,
    ) -> None:
        self.rows, self.validation, self.settings, self.seed = rows, validation, settings, seed
        self.folder, self.metric, self.metric_name, self.progress = folder, metric, metric_name, progress
        self.device, self.group, self.on_log, self.on_best = device, group, on_log, on_best
        self.lengths = [row.tokens for row in rows]
        self.places, size = epoch, len(epoch(0))
        self.total = total_steps(size, settings.batch_size, settings.num_epochs, settings.max_steps)
        self.per_epoch = steps_per_epoch(size, settings.batch_size)
        self.eval_every = max(1, round(self.per_epoch / settings.evals_per_epoch))
        optimizer = make_optimizer(
            model.named_parameters(),
            kind=settings.optimizer,
            rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            b_ratio=settings.loraplus_lr_ratio,
        )
        self.model, self.optimizer = model, optimizer
        if group.size == 1:
            from accelerate import Accelerator

            self.model, prepared = Accelerator(cpu=device == "cpu").prepare(model, optimizer)
            self.optimizer = prepared.optimizer
        self.stepper = Stepper(
            self.model,
            self.optimizer,
            objective,
            budget=settings.tokens_per_batch,
            max_grad_norm=settings.max_grad_norm,
            share=_may_share(settings),
            device=device,
            group=group,
            progress=progress,
            scale=scale_for(model),
        )
        self.metrics_file = folder / "metrics.jsonl"
        self.checkpoints = folder / "checkpoints"

    def run(self, stop: Callable[[], str | None]) -> TrainingResult:
        torch.manual_seed(self.seed + self.group.rank)  # rows of different processes drop out differently
        self._settle()
        state = load_newest(self.checkpoints, self.model, self.optimizer, self.progress, self.group)
        self._refuse_other_place(state)
        if state is None:
            state = TrainerState(threads=torch.get_num_threads(), processes=self.group.size)
            if self.group.rank == 0:
                write_jsonl(self.metrics_file, [])
        else:
            state = self._continue_from(state)
            if self.stepper.scale is not None and state.scale:
                self.stepper.scale = LossScale(state.scale, state.good_steps, state.skipped_steps)
        check_same(self.model, self.group)
        guard = MovedGuard(self.model) if state.step == 0 else None
        self.model.train()
        stopped_early = self._patience_over(state)
        began, before = time.perf_counter(), state.seconds
        order: list[list[int]] = []
        while state.step < self.total and not stopped_early:
            epoch, within = divmod(state.step, self.per_epoch)
            if within == 0 or not order:
                order = self._order(epoch)
            rows = [self.rows[i] for i in order[within]]
            started = time.perf_counter()
            outcome = self._step(state.step, rows)
            if self.settings.sharding == "shard_grad_op":  # the weights in use are those before the step
                self._settle()
            seconds = time.perf_counter() - started
            state = state._replace(
                step=state.step + 1,
                tokens=state.tokens + outcome.tokens,
                labelled_tokens=state.labelled_tokens + outcome.labelled,
                seconds=before + time.perf_counter() - began,
                peak_memory_mb=max(state.peak_memory_mb, peak_memory_mb(self.device)),
            )
            if (scale := self.stepper.scale) is not None:
                state = state._replace(scale=scale.factor, good_steps=scale.good, skipped_steps=scale.skipped)
            if guard is not None and state.step - state.skipped_steps == MovedGuard.DUE:
                self._settle()
                guard.check()
                guard = None
                check_same(self.model, self.group)
            self._log_step(state, outcome, seconds)
            due = state.step % self.eval_every == 0 or state.step == self.total
            if due:
                state = self._validate(state, outcome.loss)
                state = state._replace(seconds=before + time.perf_counter() - began)
                stopped_early = self._patience_over(state) and state.step < self.total
            reason = self._stop_reason(stop())
            if due or reason or state.step % self.settings.checkpoint_steps == 0:
                self._save(state)
            if reason and state.step < self.total:
                raise Interrupted(
                    f"stopped by {reason} after step {state.step} of {self.total}; a checkpoint is saved",
                    fix="go on with `burnish run TASK --resume`",
                )
        return self._finish(state, stopped_early)

    def _order(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch, as places in rows."""
        places = self.places(epoch)
        lengths = [self.lengths[place] for place in places]
        drawn = epoch_order(lengths, self.settings.batch_size, self.seed, epoch)
        return [[places[i] for i in step] for step in drawn]

    def _continue_from(self, state: TrainerState) -> TrainerState:
        """Same threads as before (sums in another order give other bits); later log lines are taken back."""
        if state.processes != self.group.size:
            self.progress.notice(
                f"{state.processes} processes trained before, {self.group.size} now: the same losses up to rounding"
            )
            state = state._replace(processes=self.group.size, threads=torch.get_num_threads())
        elif state.threads and state.threads != torch.get_num_threads():
            self.progress.notice(f"using {state.threads} threads, as before the interruption")
            torch.set_num_threads(state.threads)
        if self.group.rank == 0:
            lines = [line for line in read_jsonl(self.metrics_file) if line["step"] <= state.step]
            write_jsonl(self.metrics_file, lines)
        self.progress.notice(f"continuing after step {state.step} of {self.total}")
        return state

    def _refuse_other_place(self, state: TrainerState | None) -> None:
        """Processes on several machines must find the same checkpoint."""
        if not self.group.agree(0 if state is None else state.step + 1):
            raise TrainingError(
                "the processes do not find the same checkpoints",
                got=f"process {self.group.rank}: " + ("none" if state is None else f"step {state.step}"),
                where=str(self.checkpoints),
                fix="put the runs' folder (--runs-dir) on a disk that all machines share",
            )

    def _settle(self) -> None:
        if self.group.sharded:
            settle(self.model)

    def _stop_reason(self, own: str | None) -> str | None:
        """Why to stop, when any process was told to."""
        told = self.group.sums([float(own is not None)])[0] > 0
        return own or "another process" if told else None

    def _patience_over(self, state: TrainerState) -> bool:
        patience = self.settings.early_stopping_patience
        return patience is not None and state.stale >= patience

    def _step(self, step: int, rows: Sequence[Item]) -> StepOutcome:
        settings = self.settings
        rate = learning_rate(
            step,
            self.total,
            peak=settings.learning_rate,
            warmup_ratio=settings.warmup_ratio,
            kind=settings.lr_scheduler,
        )
        return self.stepper.step(step, rows, rate)

    def _log(self, line: dict[str, Json]) -> None:
        if self.group.rank == 0:
            append_jsonl(self.metrics_file, line)
        if self.on_log is not None:
            self.on_log(line)

    def _log_step(self, state: TrainerState, outcome: StepOutcome, seconds: float) -> None:
        rate = outcome.tokens / seconds
        left = (self.total - state.step) * state.seconds / state.step
        line: dict[str, Json] = {
            "step": state.step,
            "epoch": round(state.step / self.per_epoch, 4),
            "loss": outcome.loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "tokens": outcome.tokens,
            "labelled_tokens": outcome.labelled,
            "tokens_per_second": round(rate, 1),
            "memory_mb": round(state.peak_memory_mb),
            "seconds": round(state.seconds, 2),
        } | outcome.numbers
        if outcome.norm is not None:
            line["gradient_norm"] = outcome.norm
        if state.scale:
            line |= {"loss_scale": state.scale, "skipped_steps": state.skipped_steps}
        self._log(line)
        facts = {
            "loss": f"{outcome.loss:.3f}",
            "tokens/s": f"{rate:,.0f}",
            "memory": f"{state.peak_memory_mb / 1024:.1f} GB",
            "left": _clock(left),
        }
        self.progress.advance("training steps", state.step, self.total, facts)

    def _validate(self, state: TrainerState, train_loss: float) -> TrainerState:
        """Loss and metric on the validation part; the best adapter so far is kept."""
        line: dict[str, Json] = {"step": state.step, "epoch": round(state.step / self.per_epoch, 4)}
        self.model.eval()
        loss = train_loss
        if self.validation:
            loss, numbers = self.stepper.loss(self.validation, self.settings.batch_size)
            line |= {f"validation_{name}": value for name, value in numbers.items()}
        line["validation_loss"] = loss
        score = -loss
        if self.metric is not None:
            # Sharded, all answer together: none of them could alone.
            answers = self.group.rank == 0 or self.group.sharded
            value = self.group.from_first(self.metric() if answers else 0.0)
            line["metric"] = self.metric_name
            line["validation_metric"] = value
            # The loss breaks ties between equal values of a metric on few examples.
            score = value - 1e-6 * loss if self.settings.select_by == "metric" else score
        self.model.train()
        self._log(line)
        shown = f", {self.metric_name} {line['validation_metric']:.3f}" if "validation_metric" in line else ""
        self.progress.notice(f"validation after step {state.step}: loss {loss:.3f}{shown}")
        if score > state.best_score:
            self._settle()
            if self.on_best is not None and self.group.rank == 0:
                self.on_best()
            save_best(self.checkpoints, state.step, self.model, self.group)
            return state._replace(best_step=state.step, best_score=score, stale=0)
        return state._replace(stale=state.stale + 1)

    def _save(self, state: TrainerState) -> None:
        self._settle()
        keep = self.settings.keep_checkpoints
        save_checkpoint(self.checkpoints, self.model, self.optimizer, state, keep=keep, group=self.group)
        self.group.wait()

    def _finish(self, state: TrainerState, stopped_early: bool) -> TrainingResult:
        self._settle()
        load_best(self.checkpoints, state.best_step, self.model)
        self.model.eval()
        history = read_jsonl(self.metrics_file)
        counts = [(parameter_count(parameter), parameter.requires_grad) for parameter in self.model.parameters()]
        return TrainingResult(
            adapter_dir="",
            steps=state.step,
            best_step=state.best_step,
            train_tokens=state.tokens,
            labelled_tokens=state.labelled_tokens,
            seconds=state.seconds,
            peak_memory_mb=state.peak_memory_mb,
            trainable_parameters=sum(count for count, trained in counts if trained),
            total_parameters=sum(count for count, _ in counts),
            stopped_early=stopped_early,
            overfit=overfitting(history),
            history=tuple(history),
        )


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
