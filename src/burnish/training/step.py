"""One optimizer step, cut into as many forward passes as memory asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from burnish.errors import TrainingError
from burnish.models.layout import Labelled
from burnish.models.score import sequence_logprobs
from burnish.models.token_losses import TokenLosses
from burnish.models.whole import whole
from burnish.progress import Progress
from burnish.training.batches import collate, micro_batches
from burnish.training.objectives.base import Item, Loss, Objective
from burnish.training.optimizers import set_rate
from burnish.training.parallel import Group
from burnish.training.scaling import LEAST, LossScale, after, unscale
from burnish.training.split_weights import add_up_in_float32, take_step


class StepOutcome(NamedTuple):
    """loss: of the whole step; norm: of its gradient, before clipping; numbers: the objective's, a mean an item."""

    loss: float
    norm: float
    tokens: int
    labelled: int
    numbers: dict[str, float]


class Stepper:
    """Computes the loss of items, and takes optimizer steps on it.

    budget: tokens of one forward pass; halved when memory runs out, with the same items a step.
    share: whether what sequences share may be computed once. scale: of the loss, where the weights are float16.
    """

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        *,
        budget: int,
        max_grad_norm: float,
        share: bool,
        device: str,
        group: Group,
        progress: Progress,
        scale: LossScale | None = None,
    ) -> None:
        self.model = model
        self.scale = scale
        self.optimizer = optimizer
        self.objective = objective
        self.budget = budget
        self.share = share
        self.group = group
        self._max_grad_norm = max_grad_norm
        self.device = device
        self._progress = progress
        # Before the trial passes, which leave the outermost weights of a sharded model whole.
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._token_losses = TokenLosses(model)

    def step(self, number: int, items: Sequence[Item], rate: float) -> StepOutcome:
        """Step `number` (from 0) at learning rate `rate`; when memory runs out, again with half the token budget.

        Raises TrainingError when the loss is not finite or one item alone does not fit.
        """
        loss, norm, numbers = self._gradients(items)
        while self.scale is not None and math.isfinite(loss):
            overflowed = not math.isfinite(norm)
            self._rescale(number, items, overflowed=overflowed)
            if not overflowed:
                break
            self.optimizer.zero_grad(set_to_none=True)
            loss, norm, numbers = self._gradients(items)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss or its gradient is not finite in step {number + 1}; the last checkpoint is kept",
                got=f"loss {loss}, gradient norm {norm}",
                where=_places(items),
                fix="lower training.learning_rate, or look at the examples named here; then use --resume",
            )
        set_rate(self.optimizer, rate)
        take_step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        tokens, labelled = sum(item.tokens for item in items), sum(item.labelled for item in items)
        return StepOutcome(loss, norm, tokens, labelled, numbers)

    def _gradients(self, items: Sequence[Item]) -> tuple[float, float, dict[str, float]]:
        """The loss, the norm of its gradient, which is clipped then, and the objective's numbers."""
        loss, numbers = self._pass(items, backward=True)
        self.group.add_gradients(self._parameters)
        if self.scale is not None:
            unscale(self._parameters, self.scale)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)))
        return loss, norm, numbers

    def _rescale(self, number: int, items: Sequence[Item], *, overflowed: bool) -> None:
        """The scale of the next step. Raises TrainingError when there is none left that the gradients would fit."""
        assert self.scale is not None
        before, self.scale = self.scale, after(self.scale, overflowed=overflowed)
        if not overflowed:
            return
        if self.scale.factor < LEAST:
            raise TrainingError(
                f"the gradients of step {number + 1} do not fit float16 at any scale; the last checkpoint is kept",
                got=f"loss scale {before.factor:g}",
                where=_places(items),
                fix="use training.dtype: bfloat16 or float32, or lower training.learning_rate",
            )
        self._progress.notice(
            f"the gradients of step {number + 1} overflowed float16: "
            f"they are computed again with a loss scale of {self.scale.factor:g}"
        )

    @torch.no_grad()
    def loss(self, items: Sequence[Item], size: int) -> tuple[float, dict[str, float]]:
        """Mean loss of items without gradients, and the objective's numbers; the examples' weights do not count.

        size: items looked at together.
        """
        alike = [item._replace(weight=1.0) for item in sorted(items, key=lambda item: -item.tokens)]
        normaliser = sum(self.objective.share(item) for item in alike)
        total = 0.0
        sums: dict[str, float] = {}
        for start in range(0, len(alike), size):
            some = alike[start : start + size]
            loss, numbers = self._pass(some, backward=False, normaliser=normaliser)
            total += loss
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value * len(some)
        return total, {name: value / len(alike) for name, value in sums.items()}

    def _pass(
        self, items: Sequence[Item], *, backward: bool, normaliser: float | None = None
    ) -> tuple[float, dict[str, float]]:
        """Loss over all processes and the objective's means; each computes its share of the items.

        Where memory runs out in any process, all begin anew with half the budget.
        """
        objective = self.objective
        if normaliser is None:
            normaliser = sum(objective.share(item) for item in items)
        if normaliser <= 0:
            where = _places(items)
            raise TrainingError("all examples of a step have weight 0", where=where, fix="give some a weight")
        while True:
            failure: BaseException | None = None
            loss, sums = 0.0, dict[str, float]()
            try:
                shared = objective.before_step(items, self._score) if objective.before_step else 0.0
                loss, sums = self._own_share(items, backward=backward, normaliser=normaliser, shared=shared)
            except (RuntimeError, MemoryError) as error:
                # Sharded, the others wait in the middle of a layer and cannot be told.
                if not _is_out_of_memory(error) or self.group.sharded:
                    raise
                failure = error
            if not self.group.any(failure is not None):
                break
            if backward:
                self.optimizer.zero_grad(set_to_none=True)
            self._lower_budget(items, failure)
        names = self.group.names(list(sums))
        loss, *rest = self.group.sums([loss, *(sums.get(name, 0.0) for name in names)])
        weight = sum(item.weight for item in items)
        return loss, {name: value / weight for name, value in zip(names, rest, strict=True)}

    def _own_share(
        self, items: Sequence[Item], *, backward: bool, normaliser: float, shared: float
    ) -> tuple[float, dict[str, float]]:
        """This process's part of the loss and of the objective's sums."""
        own = self.group.share(items)
        parts = self._parts(own) if own else []
        if backward:
            add_up_in_float32(self._parameters, max(1, len(parts)) * self.group.size)
        found_all: list[Loss] = []
        for part, counts in self._together(parts, items):
            batch = collate(
                part,
                trained=self.objective.trained,
                how=self._token_losses.how,
                share=self.share,
                device=self.device,
            )
            found = self.objective.loss(self._token_losses(batch), batch, part, normaliser=normaliser, shared=shared)
            if backward:
                value = found.value if self.scale is None else found.value * self.scale.factor
                (value if counts else value * 0).backward()  # type: ignore[no-untyped-call]
            if counts:
                found_all.append(Loss(found.value.detach(), found.sums))
        return _added_up(found_all)

    def _together(self, parts: list[list[Item]], items: Sequence[Item]) -> list[tuple[list[Item], bool]]:
        """The parts, each of which counts; where weights are sharded, as many passes as the process with the most."""
        counted = [(part, True) for part in parts]
        if not self.group.sharded:
            return counted
        shortest = min(items, key=lambda item: item.tokens)
        return counted + [([shortest], False)] * (self.group.most(len(parts)) - len(parts))

    def _parts(self, items: Sequence[Item]) -> list[list[Item]]:
        return micro_batches(
            items, self.budget, trained=self.objective.trained, how=self._token_losses.how, share=self.share
        )

    def _score(self, sequences: Sequence[Labelled]) -> list[float]:
        """Log-probabilities; each process computes its share, or all where weights are sharded."""
        options: dict[str, Any] = {"tokens_per_batch": self.budget, "share": self.share}
        if self.group.size == 1 or self.group.sharded:
            return sequence_logprobs(self.model, sequences, **options)
        found = [0.0] * len(sequences)
        found[self.group.rank :: self.group.size] = sequence_logprobs(
            self.model, self.group.share(sequences), **options
        )
        return self.group.sums(found)

    def _lower_budget(self, items: Sequence[Item], error: BaseException | None) -> None:
        longest = max(item.tokens for item in items)
        if self.budget <= longest:
            raise TrainingError(
                f"memory does not suffice for one example of {longest} tokens",
                where="training.max_length",
                fix="lower training.max_length or lora_r, use a smaller model, or free memory",
            ) from error
        largest = self.group.largest_share([item.tokens for item in items])
        self.budget = max(longest, min(self.budget, largest) // 2)
        self._progress.notice(f"out of memory: going on with {self.budget} tokens a batch", warning=True)


@torch.no_grad()
def _added_up(losses: Sequence[Loss]) -> tuple[float, dict[str, float]]:
    """Values and sums of several passes, read at once: each reading makes the host wait for the GPU."""
    if not losses:
        return 0.0, {}
    places: list[tuple[str | None, torch.Tensor]] = [(None, loss.value) for loss in losses]
    places += [(name, value) for loss in losses for name, value in loss.sums.items()]
    total, sums = 0.0, dict[str, float]()
    for (name, _), value in zip(places, torch.stack([value.double() for _, value in places]).tolist(), strict=True):
        if name is None:
            total += value
        else:
            sums[name] = sums.get(name, 0.0) + value
    return total, sums


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text


def _places(items: Sequence[Item]) -> str:
    places = [f"{item.source.file}:{item.source.line}" for item in items]
    return ", ".join(places[:8]) + (f" and {len(places) - 8} more" if len(places) > 8 else "")
