"""The training loop. It knows no method and no objective by name: both come as arguments."""

from __future__ import annotations

import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from burnish.config import TrainingConfig
from burnish.errors import Interrupted, TrainingError
from burnish.models.attention import supports_prefix
from burnish.progress import Progress
from burnish.records import Json, TrainingResult
from burnish.runs import append_jsonl, read_jsonl, write_jsonl
from burnish.training.batches import collate, epoch_order, micro_batches, steps_per_epoch, total_steps
from burnish.training.checkpoints import TrainerState, load_best, load_newest, save_best, save_checkpoint
from burnish.training.encode import Encoded
from burnish.training.forward import TokenLosses
from burnish.training.guards import MovedGuard
from burnish.training.objectives.sft import sft_loss
from burnish.training.schedule import learning_rate

Metric = Callable[[], float]


class StepOutcome(NamedTuple):
    """loss: mean over the step's labelled tokens; norm: of the gradient, before clipping."""

    loss: float
    norm: float
    tokens: int
    labelled: int


def train(
    model: Any,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    *,
    settings: TrainingConfig,
    seed: int,
    device: str,
    folder: Path,
    metric: Metric | None,
    metric_name: str,
    progress: Progress,
) -> TrainingResult:
    """Train `model`'s trainable parameters on `rows` and leave the best of them in the model.

    folder: checkpoints/ and metrics.jsonl go here; a checkpoint found there is continued from, to the same
    weights as without the interruption (same machine, same threads).
    metric: the task's metric on validation examples for the model as it is, in [0, 1].
    Raises Interrupted after Ctrl-C or SIGTERM (a checkpoint is written first), TrainingError when the loss is
    not finite, when memory does not suffice for one row, or when a guard refuses.
    """
    trainer = _Trainer(model, rows, validation, settings, seed, device, folder, metric, metric_name, progress)
    with _stop_signals() as stop:
        return trainer.run(stop)


class _Trainer:
    """The state of one training, so that its steps can be functions of a few lines."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Encoded],
        validation: Sequence[Encoded],
        settings: TrainingConfig,
        seed: int,
        device: str,
        folder: Path,
        metric: Metric | None,
        metric_name: str,
        progress: Progress,
    ) -> None:
        from accelerate import Accelerator

        self.rows, self.validation, self.settings, self.seed = rows, validation, settings, seed
        self.folder, self.metric, self.metric_name, self.progress = folder, metric, metric_name, progress
        self.device = device
        self.budget = settings.tokens_per_batch
        self.lengths = [len(row.tokens) for row in rows]
        self.total = total_steps(len(rows), settings.batch_size, settings.num_epochs, settings.max_steps)
        self.per_epoch = steps_per_epoch(len(rows), settings.batch_size)
        self.eval_every = max(1, round(self.per_epoch / settings.evals_per_epoch))
        self.accelerator = Accelerator(cpu=device == "cpu")
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.token_losses = TokenLosses(self.model)
        # Rows that share a prefix would share its dropout too, which is not what separate rows do.
        self.share = supports_prefix(self.model) and settings.lora_dropout == 0
        self.metrics_file = folder / "metrics.jsonl"
        self.checkpoints = folder / "checkpoints"

    def run(self, stop: Callable[[], str | None]) -> TrainingResult:
        torch.manual_seed(self.seed)
        state = load_newest(self.checkpoints, self.model, self.optimizer.optimizer, self.progress)
        if state is None:
            state = TrainerState(threads=torch.get_num_threads())
            write_jsonl(self.metrics_file, [])
        else:
            self._continue_from(state)
        guard = MovedGuard(self.model) if state.step == 0 else None
        self.model.train()
        stopped_early = self._patience_over(state)
        began, before = time.perf_counter(), state.seconds
        order: list[list[int]] = []
        while state.step < self.total and not stopped_early:
            epoch, within = divmod(state.step, self.per_epoch)
            if within == 0 or not order:
                order = epoch_order(self.lengths, self.settings.batch_size, self.seed, epoch)
            rows = [self.rows[i] for i in order[within]]
            started = time.perf_counter()
            outcome = self._step(state.step, rows)
            seconds = time.perf_counter() - started
            state = state._replace(
                step=state.step + 1,
                tokens=state.tokens + outcome.tokens,
                labelled_tokens=state.labelled_tokens + outcome.labelled,
                seconds=before + time.perf_counter() - began,
                peak_memory_mb=max(state.peak_memory_mb, peak_memory_mb(self.device)),
            )
            if guard is not None and state.step == MovedGuard.DUE:
                guard.check()
                guard = None
            self._log_step(state, outcome, seconds)
            due = state.step % self.eval_every == 0 or state.step == self.total
            if due:
                state = self._validate(state, outcome.loss)
                state = state._replace(seconds=before + time.perf_counter() - began)
                stopped_early = self._patience_over(state) and state.step < self.total
            reason = stop()
            if due or reason or state.step % self.settings.checkpoint_steps == 0:
                self._save(state)
            if reason and state.step < self.total:
                raise Interrupted(
                    f"stopped by {reason} after step {state.step} of {self.total}; a checkpoint is saved",
                    fix="go on with `burnish run TASK --resume`",
                )
        return self._finish(state, stopped_early)

    def _continue_from(self, state: TrainerState) -> None:
        """Same threads as before (sums in another order give other bits); later log lines are taken back."""
        if state.threads and state.threads != torch.get_num_threads():
            self.progress.notice(f"using {state.threads} threads, as before the interruption")
            torch.set_num_threads(state.threads)
        lines = [line for line in read_jsonl(self.metrics_file) if line["step"] <= state.step]
        write_jsonl(self.metrics_file, lines)
        self.progress.notice(f"continuing after step {state.step} of {self.total}")

    def _patience_over(self, state: TrainerState) -> bool:
        patience = self.settings.early_stopping_patience
        return patience is not None and state.stale >= patience

    def _step(self, step: int, rows: Sequence[Encoded]) -> StepOutcome:
        """One optimizer step; when memory runs out, again with half the token budget and the same examples."""
        while True:
            try:
                return self._try_step(step, rows)
            except (RuntimeError, MemoryError) as error:
                longest = max(len(row.tokens) for row in rows)
                if not _is_out_of_memory(error):
                    raise
                self.optimizer.zero_grad(set_to_none=True)
                if self.budget <= longest:
                    raise TrainingError(
                        f"memory does not suffice for one example of {longest} tokens",
                        where="training.max_length",
                        fix="lower training.max_length or lora_r, use a smaller model, or free memory",
                    ) from error
                self.budget = max(longest, min(self.budget, longest * len(rows)) // 2)
                self.progress.notice(f"out of memory: going on with {self.budget} tokens a batch", warning=True)

    def _try_step(self, step: int, rows: Sequence[Encoded]) -> StepOutcome:
        settings = self.settings
        normaliser = sum(row.weight * row.labelled for row in rows)
        if normaliser <= 0:
            raise TrainingError("all examples of a step have weight 0", where=_places(rows), fix="give some a weight")
        loss = 0.0
        for part in micro_batches(rows, self.budget, share=self.share):
            batch = collate(part, share=self.share, device=self.device)
            share = sft_loss(self.token_losses(batch), batch.weights_N, normaliser)
            self.accelerator.backward(share)
            loss += float(share.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss or its gradient is not finite in step {step + 1}; the last checkpoint is kept",
                got=f"loss {loss}, gradient norm {norm}",
                where=_places(rows),
                fix="lower training.learning_rate, or look at the examples named here; then use --resume",
            )
        rate = learning_rate(
            step,
            self.total,
            peak=settings.learning_rate,
            warmup_ratio=settings.warmup_ratio,
            kind=settings.lr_scheduler,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepOutcome(loss, norm, sum(len(row.tokens) for row in rows), sum(row.labelled for row in rows))

    def _log_step(self, state: TrainerState, outcome: StepOutcome, seconds: float) -> None:
        rate = outcome.tokens / seconds
        left = (self.total - state.step) * state.seconds / state.step
        line: dict[str, Json] = {
            "step": state.step,
            "epoch": round(state.step / self.per_epoch, 4),
            "loss": outcome.loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": outcome.norm,
            "tokens": outcome.tokens,
            "labelled_tokens": outcome.labelled,
            "tokens_per_second": round(rate, 1),
            "memory_mb": round(state.peak_memory_mb),
            "seconds": round(state.seconds, 2),
        }
        append_jsonl(self.metrics_file, line)
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
        loss = self._validation_loss() if self.validation else train_loss
        line["validation_loss"] = loss
        score = -loss
        if self.metric is not None:
            value = self.metric()
            line["metric"] = self.metric_name
            line["validation_metric"] = value
            # The loss breaks ties between equal values of a metric on few examples.
            score = value - 1e-6 * loss if self.settings.select_by == "metric" else score
        self.model.train()
        append_jsonl(self.metrics_file, line)
        shown = f", {self.metric_name} {line['validation_metric']:.3f}" if "validation_metric" in line else ""
        self.progress.notice(f"validation after step {state.step}: loss {loss:.3f}{shown}")
        if score > state.best_score:
            save_best(self.checkpoints, state.step, self.model)
            return state._replace(best_step=state.step, best_score=score, stale=0)
        return state._replace(stale=state.stale + 1)

    @torch.no_grad()
    def _validation_loss(self) -> float:
        total = 0.0
        normaliser = sum(row.labelled for row in self.validation)
        size = self.settings.batch_size
        ordered = sorted(self.validation, key=lambda row: -len(row.tokens))
        for start in range(0, len(ordered), size):
            for part in micro_batches(ordered[start : start + size], self.budget, share=self.share):
                batch = collate(part, share=self.share, device=self.device)
                ones = torch.ones_like(batch.weights_N)
                total += float(sft_loss(self.token_losses(batch), ones, normaliser))
        return total

    def _save(self, state: TrainerState) -> None:
        keep = self.settings.keep_checkpoints
        save_checkpoint(self.checkpoints, self.model, self.optimizer.optimizer, state, keep=keep)

    def _finish(self, state: TrainerState, stopped_early: bool) -> TrainingResult:
        load_best(self.checkpoints, state.best_step, self.model)
        self.model.eval()
        history = read_jsonl(self.metrics_file)
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
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


def overfitting(history: Sequence[dict[str, Json]]) -> str | None:
    """A sentence when the losses say that the model learned its examples by heart, else None.

    Two signs: the validation loss ended 5% or more above its lowest value, or above 1.5 times the mean training
    loss of the last tenth of the steps (and by at least 0.1).
    """
    validation = [(line["step"], line["validation_loss"]) for line in history if "validation_loss" in line]
    losses = [line["loss"] for line in history if "loss" in line]
    if not validation or not losses:
        return None
    lowest_step, lowest = min(validation, key=lambda pair: pair[1])
    last = validation[-1][1]
    if last > 1.05 * lowest and last - lowest > 0.02:
        return (
            f"Over-fitting: the validation loss rose from {lowest:.3f} (step {lowest_step}) to {last:.3f}. "
            "Fewer epochs or more data would help."
        )
    tail = losses[-max(1, len(losses) // 10) :]
    mean = sum(tail) / len(tail)
    if last > 1.5 * mean and last - mean > 0.1:
        return (
            f"Over-fitting: the validation loss is {last:.3f}, the training loss {mean:.3f}. "
            "More data, fewer epochs or a lower rank would help."
        )
    return None


def peak_memory_mb(device: str) -> float:
    """Most memory used so far: of the process on CPU, of PyTorch's allocator on a GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text


def _places(rows: Sequence[Encoded]) -> str:
    places = [f"{row.source.file}:{row.source.line}" for row in rows]
    return ", ".join(places[:8]) + (f" and {len(places) - 8} more" if len(places) > 8 else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _stop_signals() -> Iterator[Callable[[], str | None]]:
    """Within, SIGINT and SIGTERM are noted instead of acted on; a second one acts at once."""
    noted: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, _: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted[0] if noted else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
