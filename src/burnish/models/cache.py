"""Caches of keys and values for generation and for shared prefixes."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from burnish.models.attention import KeyValues


class _BufferLayer(DynamicLayer):
    """Keys and values written into room set aside at the start, so that a step copies nothing.

    part: the rows, and the column of their first token, that are being filled by themselves; None: all rows.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._buffers = keys, values
        self._filled = 0
        self.part: tuple[slice, int] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows, start = self.part or (slice(None), self._filled)
        end = start + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._grow(2 * end)
        keys, values = self._buffers
        keys[rows, :, start:end] = key_states
        values[rows, :, start:end] = value_states
        if self.part is not None:
            return keys[rows, :, start:end], values[rows, :, start:end]
        self.fill(end)
        return self.keys, self.values

    def fill(self, end: int) -> None:
        """All rows hold tokens up to this column."""
        keys, values = self._buffers
        self._filled = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Columns in front of the tokens that are read next."""
        return 0 if self.part is not None else self._filled

    def _grow(self, capacity: int) -> None:
        rows, heads, _, width = self._buffers[0].shape
        fresh = tuple(old.new_zeros(rows, heads, capacity, width) for old in self._buffers)
        for new, old in zip(fresh, self._buffers, strict=True):
            new[:, :, : old.shape[2]] = old
        self._buffers = fresh[0], fresh[1]

    def batch_select_indices(self, indices: Tensor) -> None:
        keys, values = self._buffers
        self._buffers = keys[indices], values[indices]
        self.fill(self._filled)


class BufferCache(Cache):
    """A cache for a number of rows with room for `capacity` tokens a layer (it grows when that is not enough)."""

    def __init__(self, config: Any, rows: int, capacity: int, like: Tensor) -> None:
        """like: a tensor of the keys' number format on their device.

        All room is taken before the first token is read: taken layer by layer, it would fill the holes that the
        activations leave, and these would need fresh memory in every layer. It is zeroed, since padded columns of a
        part are never written, and 0 x NaN is NaN.
        """
        heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
        width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        shape = (rows, heads, capacity, width)
        layers = [_BufferLayer(like.new_zeros(shape), like.new_zeros(shape)) for _ in range(config.num_hidden_layers)]
        super().__init__(layers=layers)

    def begin_part(self, rows: slice, column: int) -> None:
        """The next tokens belong to these rows alone, the first of them in this column; they see only each other."""
        for layer in self.layers:
            layer.part = (rows, column)

    def end_parts(self, end: int) -> None:
        """All rows have been filled up to column `end`, and are read together from here on."""
        for layer in self.layers:
            layer.part = None
            layer.fill(end)


def key_values(cache: Any) -> KeyValues:
    """Keys and values of a cache, a pair of [rows, kv_heads, tokens, head_dim] for each layer."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def keeps_state(model: Any) -> bool:
    """Whether layers keep more than keys and values of what was read, or the model has a cache of its own kind."""
    from transformers import DynamicCache

    if getattr(_plain(model), "_is_stateful", False) or cache_name(model) != "past_key_values":
        return True
    layers = DynamicCache(config=model.config).layers
    return any(not isinstance(layer, DynamicLayer) or hasattr(layer, "update_conv_state") for layer in layers)


def cache_name(model: Any) -> str:
    """The argument by which a model is given its cache."""
    arguments = inspect.signature(_plain(model).forward).parameters
    return "cache_params" if "cache_params" in arguments else "past_key_values"


def _plain(model: Any) -> Any:
    """The model without peft's around it, which takes any arguments."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
