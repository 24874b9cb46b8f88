"""The training loop. It knows no method and no objective by name: both come as arguments."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from burnish.config import TrainingConfig
from burnish.errors import Interrupted, TrainingError
from burnish.models.device import mapped_blocks
from burnish.models.quantised import parameter_count
from burnish.progress import Progress
from burnish.records import Json, TrainingResult
from burnish.training.checkpoints import TrainerState, load_best, load_newest, save_best, save_checkpoint
from burnish.training.guards import MovedGuard, check_same
from burnish.training.journal import Journal, OnLog, peak_memory_mb
from burnish.training.objectives.base import Item, Objective
from burnish.training.objectives.sft import sft
from burnish.training.optimizers import make_optimizer
from burnish.training.overfitting import overfitting
from burnish.training.parallel import ALONE, Group
from burnish.training.plan import Epoch, Plan
from burnish.training.reference import with_reference
from burnish.training.scaling import LossScale, scale_for
from burnish.training.sharding import settle, shard
from burnish.training.step import Stepper
from burnish.training.stopping import stop_signals

Metric = Callable[[], float]


class Selection(NamedTuple):
    """What tells which weights are the best: rows for the loss, the task's metric, and whom to tell.

    measure: the metric on validation examples for the model as it is, in [0, 1]; metric: its name.
    on_best: called by rank 0 when the validation just made, `measure` included, is the best so far.
    """

    rows: Sequence[Item]
    measure: Metric | None
    metric: str
    on_best: Callable[[], None] | None


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
            share=settings.shared_prefix == "auto",
            group=group,
            progress=progress,
        )
        rows, validation = together[: len(rows)], together[len(rows) :]
    if group.sharded:  # a pass leaves the outermost weights whole, and the optimizer must see this process's part
        settle(model)
    optimizer = make_optimizer(
        model.named_parameters(),
        kind=settings.optimizer,
        rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        b_ratio=settings.loraplus_lr_ratio,
    )
    stepper = Stepper(
        model,
        optimizer,
        objective,
        budget=settings.tokens_per_batch,
        max_grad_norm=settings.max_grad_norm,
        share=settings.shared_prefix == "auto",
        device=device,
        group=group,
        progress=progress,
        scale=scale_for(model),
    )
    plan = Plan(rows, epoch or (lambda _: range(len(rows))), settings, seed)
    journal = Journal(folder / "metrics.jsonl", plan, progress, group, on_log)
    selection = Selection(validation, metric, metric_name, on_best)
    trainer = _Trainer(stepper, plan, journal, selection, settings, folder / "checkpoints", progress)
    torch.manual_seed(seed + group.rank)  # rows of different processes drop out differently
    frugal = settings.gradient_checkpointing and device == "cpu"
    with stop_signals() as stop, mapped_blocks() if frugal else contextlib.nullcontext():
        return trainer.run(stop)


class _Trainer:
    """The state of one training, so that its steps can be functions of a few lines."""

    def __init__(
        self,
        stepper: Stepper,
        plan: Plan,
        journal: Journal,
        selection: Selection,
        settings: TrainingConfig,
        checkpoints: Path,
        progress: Progress,
    ) -> None:
        self.stepper, self.plan, self.journal, self.selection = stepper, plan, journal, selection
        self.settings, self.checkpoints, self.progress = settings, checkpoints, progress
        self.model, self.optimizer, self.group = stepper.model, stepper.optimizer, stepper.group

    def run(self, stop: Callable[[], str | None]) -> TrainingResult:
        self._settle()
        state = self._begin()
        check_same(self.model, self.group)
        guard = MovedGuard(self.model, self.optimizer) if state.step == 0 else None
        self.model.train()
        stopped_early = self._patience_over(state)
        began, before = time.perf_counter(), state.seconds
        while state.step < self.plan.total and not stopped_early:
            started = time.perf_counter()
            outcome = self.stepper.step(state.step, self.plan.rows(state.step), self.plan.rate(state.step))
            if self.settings.sharding == "shard_grad_op":  # the weights in use are those before the step
                self._settle()
            seconds = time.perf_counter() - started
            state = state._replace(
                step=state.step + 1,
                tokens=state.tokens + outcome.tokens,
                labelled_tokens=state.labelled_tokens + outcome.labelled,
                seconds=before + time.perf_counter() - began,
                peak_memory_mb=max(state.peak_memory_mb, peak_memory_mb(self.stepper.device)),
            )
            if (scale := self.stepper.scale) is not None:
                state = state._replace(scale=scale.factor, good_steps=scale.good, overflows=scale.overflows)
            if guard is not None and state.step == MovedGuard.DUE:
                self._settle()
                guard.check()
                guard = None
                check_same(self.model, self.group)
            self.journal.step(state, outcome, self.optimizer.param_groups[0]["lr"], seconds)
            due = self.plan.validates_after(state.step)
            if due:
                state = self._validate(state, outcome.loss)
                state = state._replace(seconds=before + time.perf_counter() - began)
                stopped_early = self._patience_over(state) and state.step < self.plan.total
            reason = self._stop_reason(stop())
            if due or reason or state.step % self.settings.checkpoint_steps == 0:
                self._save(state)
            if reason and state.step < self.plan.total:
                raise Interrupted(
                    f"stopped by {reason} after step {state.step} of {self.plan.total}; a checkpoint is saved",
                    fix="go on with `burnish run TASK --resume`",
                )
        return self._finish(state, stopped_early)

    def _begin(self) -> TrainerState:
        """Where the newest checkpoint stands, or the very beginning."""
        found = load_newest(self.checkpoints, self.model, self.optimizer, self.progress, self.group)
        self._refuse_other_place(found)
        state = found or TrainerState(threads=torch.get_num_threads(), processes=self.group.size)
        self.journal.begin(state.step)
        if found is None:
            return state
        if self.stepper.scale is not None and state.scale:
            self.stepper.scale = LossScale(state.scale, state.good_steps, state.overflows)
        return self._continue_from(state)

    def _continue_from(self, state: TrainerState) -> TrainerState:
        """Same threads as before: sums in another order give other bits."""
        if state.processes != self.group.size:
            self.progress.notice(
                f"{state.processes} processes trained before, {self.group.size} now: the same losses up to rounding"
            )
            state = state._replace(processes=self.group.size, threads=torch.get_num_threads())
        elif state.threads and state.threads != torch.get_num_threads():
            self.progress.notice(f"using {state.threads} threads, as before the interruption")
            torch.set_num_threads(state.threads)
        self.progress.notice(f"continuing after step {state.step} of {self.plan.total}")
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

    def _validate(self, state: TrainerState, train_loss: float) -> TrainerState:
        """Loss and metric on the validation part; the best adapter so far is kept."""
        rows, measure, metric, on_best = self.selection
        line: dict[str, Json] = {}
        self.model.eval()
        loss = train_loss
        if rows:
            loss, numbers = self.stepper.loss(rows, self.settings.batch_size)
            line |= {f"validation_{name}": value for name, value in numbers.items()}
        line["validation_loss"] = loss
        score, shown = -loss, ""
        if measure is not None:
            # Sharded, all answer together: none of them could alone.
            answers = self.group.rank == 0 or self.group.sharded
            value = self.group.from_first(measure() if answers else 0.0)
            line |= {"metric": metric, "validation_metric": value}
            shown = f", {metric} {value:.3f}"
            # The loss breaks ties between equal values of a metric on few examples.
            score = value - 1e-6 * loss if self.settings.select_by == "metric" else score
        self.model.train()
        self.journal.write(state.step, line)
        self.progress.notice(f"validation after step {state.step}: loss {loss:.3f}{shown}")
        if score > state.best_score:
            self._settle()
            if on_best is not None and self.group.rank == 0:
                on_best()
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
        history = self.journal.lines()
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
            history=history,
        )
