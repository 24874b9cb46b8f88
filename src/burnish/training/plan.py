"""The steps of a training: how many there are, which rows each holds, and where validation is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from burnish.config import TrainingConfig
from burnish.training.batches import epoch_order, steps_per_epoch, total_steps
from burnish.training.objectives.base import Item
from burnish.training.schedule import learning_rate

Epoch = Callable[[int], Sequence[int]]


class Plan:
    """Follows from rows, settings and seed alone, so that a resumed training has the same one.

    epoch: places in rows of what epoch 0, 1, … holds, the same number each time. total, per_epoch: steps.
    """

    def __init__(self, rows: Sequence[Item], epoch: Epoch, settings: TrainingConfig, seed: int) -> None:
        size = len(epoch(0))
        self.total = total_steps(size, settings.batch_size, settings.num_epochs, settings.max_steps)
        self.per_epoch = steps_per_epoch(size, settings.batch_size)
        self._eval_every = max(1, round(self.per_epoch / settings.evals_per_epoch))
        self._rows, self._epoch, self._settings, self._seed = rows, epoch, settings, seed
        self._drawn = -1  # the epoch whose steps are in _steps, as places in rows
        self._steps: list[list[int]] = []

    def rows(self, step: int) -> list[Item]:
        """What `step` (from 0) trains on."""
        epoch, within = divmod(step, self.per_epoch)
        if epoch != self._drawn:
            places = self._epoch(epoch)
            lengths = [self._rows[place].tokens for place in places]
            drawn = epoch_order(lengths, self._settings.batch_size, self._seed, epoch)
            self._steps, self._drawn = [[places[i] for i in some] for some in drawn], epoch
        return [self._rows[place] for place in self._steps[within]]

    def rate(self, step: int) -> float:
        """The learning rate of `step` (from 0)."""
        settings = self._settings
        return learning_rate(
            step,
            self.total,
            peak=settings.learning_rate,
            warmup_ratio=settings.warmup_ratio,
            kind=settings.lr_scheduler,
        )

    def validates_after(self, steps: int) -> bool:
        """Whether validation is due once so many steps are taken."""
        return steps % self._eval_every == 0 or steps == self.total

    def epochs(self, steps: int) -> float:
        """So many steps, in epochs."""
        return round(steps / self.per_epoch, 4)
