"""Caches of keys and values for generation and for shared prefixes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from burnish.models.attention import KeyValues


class _BufferLayer(DynamicLayer):
    """Keys and values written into room set aside at the start, so that a step copies nothing."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._filled = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        added = key_states.shape[2]
        if self._buffers is None or self._filled + added > self._buffers[0].shape[2]:
            self._grow(key_states, added)
        assert self._buffers is not None
        keys, values = self._buffers
        end = self._filled + added
        keys[:, :, self._filled : end] = key_states
        values[:, :, self._filled : end] = value_states
        self._filled = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        self.is_initialized = True
        return self.keys, self.values

    def _grow(self, like: Tensor, added: int) -> None:
        rows, heads, _, width = like.shape
        room = max(self._capacity, 2 * (self._filled + added) if self._filled else added)
        fresh = (like.new_empty(rows, heads, room, width), like.new_empty(rows, heads, room, width))
        if self._buffers is not None:
            for new, old in zip(fresh, self._buffers, strict=True):
                new[:, :, : self._filled] = old[:, :, : self._filled]
        self._buffers = fresh

    def batch_select_indices(self, indices: Tensor) -> None:
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = (keys[indices], values[indices])
            self.keys = self._buffers[0][:, :, : self._filled]
            self.values = self._buffers[1][:, :, : self._filled]


class BufferCache(Cache):
    """A cache with room for `capacity` tokens a layer (it grows when that is not enough)."""

    def __init__(self, config: Any, capacity: int) -> None:
        super().__init__(layers=[_BufferLayer(capacity) for _ in range(int(config.num_hidden_layers))])


def key_values(cache: Any) -> KeyValues:
    """Keys and values of a cache, a pair of [rows, kv_heads, tokens, head_dim] for each layer."""
    return [(layer.keys, layer.values) for layer in cache.layers]
