"""One batch of rows while they are answered: what was read of each, padding, masks, and the forward call.

Rows are left-padded at every step, so the last column holds each row's newest token. Columns are not positions then:
where a model sees windows, the columns of padding between a row's tokens would push others out of its window. So a
model that follows masks gets one made from positions, in a cache that drops nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from burnish.errors import ModelError
from burnish.models.attention import is_windowed, mask_by_distance, masks_of_kinds, supports_prefix
from burnish.models.cache import BufferCache, cache_name, keeps_state, key_values
from burnish.models.token_losses import TokenLosses
from burnish.models.whole import computing

# Tokens that cost as much time as a pass does by itself: a small model's on a CPU (docs/log.md), a guess for GPUs.
PASS_TOKENS, PASS_TOKENS_GPU = 16, 256
PREFILL_TOKENS = 2048  # prompt tokens read at a time: their activations stay small enough to be used again
NOWHERE = 2**30  # the position of padding: behind every token, which so never sees it
Lengths = Sequence[tuple[int, int]]  # of each row: tokens to read now, and tokens that may be answered

# grouped: our attention, which reads a prefix once for all rows. masked: a mask of positions. plain: which columns
# are real, in transformers' way. even: as many tokens of every row, without padding; for models that keep a state of
# what they read (linear attention, convolutions), through which padding would run.
HowRead = Literal["grouped", "masked", "plain", "even"]


def how_to_read(model: Any) -> HowRead:
    """How rows of several lengths are read together; found out by trying where the model's attention is not ours.

    Raises ModelError where the model does not go on from what it has read as if it read everything again.
    """
    if supports_prefix(model):
        return "grouped"
    if not keeps_state(model):
        if TokenLosses(model).how != "rows":
            return "masked"
        if not is_windowed(model.config):
            return "plain"
    _require_going_on(model)
    return "even"


@torch.no_grad()
def _require_going_on(model: Any) -> None:
    """Read four and then three tokens, and all seven at once: the same scores."""
    tokens, device = [1, 2, 3, 4, 3, 2, 1], str(model.get_output_embeddings().weight.device)
    try:
        whole = begin_batch(model, "even", None, 0, [(7, 0)], device).step([tokens], [0])
        state = begin_batch(model, "even", read_prefix(model, "even", tokens[:4], device), 4, [(3, 0)], device)
        apart = state.step([tokens[4:]], [4])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        apart = None
    if apart is None or not float((apart - whole).norm()) <= 0.05 * float(whole.norm()):
        raise ModelError(
            "the model cannot go on from what it has read, which answering needs",
            got=model.config.model_type,
            where="model",
            fix="use another model; one whose cache transformers passes from call to call",
        )


def read_prefix(model: Any, how: HowRead, tokens: Sequence[int], device: str) -> Any:
    """The model's cache after tokens that all rows begin with, of one row."""
    state = begin_batch(model, how, None, 0, [(len(tokens), 0)], device)
    state.step([list(tokens)], [0])
    return state.cache


def begin_batch(model: Any, how: HowRead, prefix: Any, shared: int, lengths: Lengths, device: str) -> BatchState:
    """A batch that has read nothing but the prefix, if any: the cache of its `shared` tokens."""
    kinds = {"grouped": _Grouped, "masked": _Masked, "plain": _Plain, "even": _Even}
    state: BatchState = kinds[how](model, prefix, shared, lengths, device)
    return state


class BatchState:
    """cache: what was read of each row, in the model's form."""

    cache: Any

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        # An index, since a slice is not contiguous, and PyTorch then copies the head's weight once for every row.
        self._last = torch.tensor([-1], device=device)

    def width(self, pending: Sequence[int]) -> int:
        """Tokens of a row that the next step should read, given how many each row has to read (all, at the start)."""
        raise NotImplementedError

    def step(self, pending: list[list[int]], positions: list[int]) -> Tensor:
        """Read each row's pending tokens (at least one), the first of them at its position; logits behind the last of
        them [rows, vocabulary]."""
        raise NotImplementedError

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        raise NotImplementedError

    def _read(self, ids: Tensor, position: Tensor, mask: Any, **extra: Any) -> Any:
        return self._model(
            input_ids=ids.to(self._device),
            attention_mask=mask,
            position_ids=position.to(self._device),
            use_cache=True,
            logits_to_keep=self._last,
            **extra,
        )


class _Padded(BatchState):
    """Rows padded on the left. columns: what masks are made from, of everything that was read [rows, columns]."""

    def __init__(self, model: Any, cache: Any, columns: Tensor, device: str) -> None:
        super().__init__(model, device)
        self.cache = cache
        self._columns = columns
        self._start = columns.shape[1]

    def width(self, pending: Sequence[int]) -> int:
        return read_width(pending, self._device) if self._columns.shape[1] > self._start else max(pending)

    def keep(self, rows: list[int]) -> None:
        if rows:
            index = torch.tensor(rows, device=self._device)
            self.cache.batch_select_indices(index)
            self._columns = self._columns[index]


class _Plain(_Padded):
    """Columns: 1 where they are real."""

    def __init__(self, model: Any, prefix: Any, shared: int, lengths: Lengths, device: str) -> None:
        from transformers import DynamicCache

        cache = DynamicCache(config=model.config) if prefix is None else _repeated(prefix, len(lengths))
        super().__init__(model, cache, torch.ones(len(lengths), shared, dtype=torch.long, device=device), device)

    def step(self, pending: list[list[int]], positions: list[int]) -> Tensor:
        ids, real, position = _left_padded(pending, positions)
        self._columns = torch.cat([self._columns, real.to(self._device)], dim=1)
        return _scores(self._read(ids, position, self._columns, past_key_values=self.cache))


class _Masked(_Padded):
    """Columns: their positions. Padding is seen by padding alone, which so stays finite."""

    def __init__(self, model: Any, prefix: Any, shared: int, lengths: Lengths, device: str) -> None:
        from transformers import DynamicCache

        cache = DynamicCache() if prefix is None else _repeated(prefix, len(lengths))
        super().__init__(model, cache, torch.arange(shared, device=device).expand(len(lengths), -1), device)

    def step(self, pending: list[list[int]], positions: list[int]) -> Tensor:
        ids, real, position = _left_padded(pending, positions)
        queries = position.masked_fill(real == 0, NOWHERE).to(self._device)
        self._columns = torch.cat([self._columns, queries], dim=1)
        behind = queries[:, :, None] - self._columns[:, None, :]
        masks = masks_of_kinds(self._model.config, partial(mask_by_distance, behind, computing(self._model)))
        return _scores(self._read(ids, position, masks, past_key_values=self.cache))


class _Grouped(_Padded):
    """Our attention: a prefix stands beside the rows, and at the start rows are read a part at a time.

    Columns: 1 where they are real.
    """

    def __init__(self, model: Any, prefix: Any, shared: int, lengths: Lengths, device: str) -> None:
        capacity = max(now for now, _ in lengths) + max(later for _, later in lengths) + 1
        cache = BufferCache(model.config, len(lengths), capacity, computing(model))
        super().__init__(model, cache, torch.zeros(len(lengths), 0, dtype=torch.long, device=device), device)
        self._prefix = {"shared_prefix": key_values(prefix)} if prefix is not None else {}

    def step(self, pending: list[list[int]], positions: list[int]) -> Tensor:
        width = max(len(tokens) for tokens in pending)
        parts = self._parts([len(tokens) for tokens in pending])
        columns = torch.zeros(len(pending), width, dtype=torch.long, device=self._device)
        scores = []
        for part in parts:
            ids, real, position = _left_padded(pending[part], positions[part])
            own = real.shape[1]
            columns[part, width - own :] = real.to(self._device)
            if len(parts) > 1:
                self.cache.begin_part(part, width - own)
                seen = columns[part, width - own :]
            else:
                seen = torch.cat([self._columns, columns], dim=1)
            scores.append(_scores(self._read(ids, position, seen, past_key_values=self.cache, **self._prefix)))
        if len(parts) > 1:
            self.cache.end_parts(width)
        self._columns = torch.cat([self._columns, columns], dim=1)
        return torch.cat(scores)

    def _parts(self, lengths: list[int]) -> list[slice]:
        """Rows that are read together: all of them, but at the start PREFILL_TOKENS at a time."""
        if self._columns.shape[1]:
            return [slice(0, len(lengths))]
        parts = [slice(0, 0)]
        for row, _ in enumerate(lengths):
            start = parts[-1].start
            if row > start and (row + 1 - start) * max(lengths[start : row + 1]) > PREFILL_TOKENS:
                parts.append(slice(row, row))
            parts[-1] = slice(parts[-1].start, row + 1)
        return parts


class _Even(BatchState):
    """As many tokens of every row, and whatever the model makes of them."""

    def __init__(self, model: Any, prefix: Any, shared: int, lengths: Lengths, device: str) -> None:
        super().__init__(model, device)
        self._name = cache_name(model)
        self._rows = len(lengths)
        self.cache = prefix
        if prefix is not None:
            self.cache = of_rows(copy.deepcopy(prefix), torch.zeros(self._rows, dtype=torch.long, device=device), 1)

    def width(self, pending: Sequence[int]) -> int:
        return min(pending)

    def step(self, pending: list[list[int]], positions: list[int]) -> Tensor:
        ids, _, position = _left_padded(pending, positions)
        out = self._read(ids, position, None, **{self._name: self.cache})
        self.cache = out[self._name]
        return _scores(out)

    def keep(self, rows: list[int]) -> None:
        if rows:
            self.cache = of_rows(self.cache, torch.tensor(rows, device=self._device), self._rows)
            self._rows = len(rows)


def _repeated(prefix: Any, rows: int) -> Any:
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(rows)
    return cache


def _scores(out: Any) -> Tensor:
    """Logits behind the last column [rows, vocabulary]."""
    logits: Tensor = out.logits[:, -1]
    return logits


def of_rows(held: Any, index: Tensor, rows: int) -> Any:
    """A cache of some of its rows, repeated where index repeats them; changed in place. rows: how many it has.

    transformers' own methods know keys and values alone: every tensor that begins with an axis of rows is cut here.
    """
    if isinstance(held, Tensor):
        return held.index_select(0, index) if held.dim() and len(held) == rows else held
    if isinstance(held, dict):
        return {key: of_rows(value, index, rows) for key, value in held.items()}
    if isinstance(held, (list, tuple)):
        return type(held)(of_rows(value, index, rows) for value in held)
    if type(held).__module__.startswith("transformers."):
        for name, value in vars(held).items():
            setattr(held, name, of_rows(value, index, rows))
    return held


def read_width(pending: Sequence[int], device: str) -> int:
    """Tokens of a row that the next pass reads, given how many each row has to read.

    At least what the shortest has, since no row is padded for that; more as far as padding the others costs less than
    the pass that it may save.
    """
    if not pending:
        return 1
    least = max(1, min(pending))
    return min(max(pending), least + (PASS_TOKENS if device == "cpu" else PASS_TOKENS_GPU) // len(pending))


def _left_padded(pending: list[list[int]], positions: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, which of them are real, and their positions, each [rows, longest]."""
    width = max(len(tokens) for tokens in pending)
    ids, real, position = (torch.zeros(len(pending), width, dtype=torch.long) for _ in range(3))
    for i, (tokens, first) in enumerate(zip(pending, positions, strict=True)):
        ids[i, width - len(tokens) :] = torch.tensor(tokens)
        real[i, width - len(tokens) :] = 1
        position[i, width - len(tokens) :] = torch.arange(first, first + len(tokens))
    return ids, real, position
