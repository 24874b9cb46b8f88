"""Attention on a GPU: flash attention over padded rows, flex attention over a packed tree.

A tree is packed depth first, so the tokens that lie on paths through a node are one run. With last[k] the end of the
run of k's node, query q sees key k exactly when k <= q < last[k]; in a layer with a sliding window also when
position[q] - position[k] < window. Flex attention (Dong et al. 2024) makes one kernel of that condition and passes
over the blocks of 128 x 128 pairs in which it never holds.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from burnish.errors import first_line
from burnish.models.layout import Tree, grow_tree, positions_of, seen_until, tree_mask
from burnish.models.tree_attention import Plan, tree_attention

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # tokens of a block of queries and of keys; packed tokens are padded to a multiple
LEAST = 2 * BLOCK  # a length of one block would be compiled by itself
Window = int | None


class Rows(NamedTuple):
    """A plan for padded rows: every token sees those before it."""


class Packed(NamedTuple):
    """A plan for a packed tree: what may see what, for each sliding window that a layer of the model has."""

    masks: dict[Window, BlockMask]


def gpu_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    plan: Rows | Packed | Plan | None = None,
    sliding_window: Window = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """query [B, H, T, D]; key, value [B, K, S, D] with H a multiple of K. Returns [B, T, H, D] and None.

    plan: how tokens see each other, whatever attention_mask says; without one, transformers' way with that mask.
    """
    if plan is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return found
    assert dropout == 0 or not module.training, "plans know no dropout of attention weights"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(plan, Plan):
        return tree_attention(query, key, value, plan, scale), None
    grouped = query.shape[1] != key.shape[1]
    if isinstance(plan, Packed):
        out = _flex()(query, key, value, block_mask=plan.masks[sliding_window], scale=scale, enable_gqa=grouped)
    else:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=grouped
        )
    return out.transpose(1, 2), None


@functools.cache
def _flex() -> Any:
    """Flex attention, compiled: uncompiled it would hold all scores in memory. One kernel for a first length, one for
    all others; fullgraph, so that PyTorch raises where it would go on uncompiled."""
    from torch.nn.attention.flex_attention import flex_attention

    settings: Any = torch._dynamo.config
    settings.recompile_limit = max(settings.recompile_limit, 64)  # each kind of model has kernels of its own
    return torch.compile(flex_attention, fullgraph=True)


def padded_length(tokens: int) -> int:
    """Packed tokens that flex attention is given: the next multiple of a block."""
    return max(LEAST, -(-tokens // BLOCK) * BLOCK)


def block_mask(tree: Tree, device: str, window: Window = None) -> BlockMask:
    """The condition above for a packed tree, padded to padded_length; padding sees itself alone."""
    from torch.nn.attention.flex_attention import BlockMask

    size, length = len(tree.tokens), padded_length(len(tree.tokens))
    last = np.arange(1, length + 1)
    last[:size] = seen_until(tree)
    positions = np.zeros(length, dtype=np.int64)
    positions[:size] = positions_of(tree)
    some, every = _blocks(last, positions, window)
    width = 0 if window is None else window
    last_N, positions_N = (torch.from_numpy(array).to(device, torch.int32) for array in (last, positions))

    def on_path(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < last_N[k])

    def on_path_and_near(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < last_N[k]) & (positions_N[q] - positions_N[k] < width)

    return BlockMask.from_kv_blocks(
        *_listed(some & ~every, device),
        *_listed(every, device),
        BLOCK_SIZE=BLOCK,
        mask_mod=on_path if window is None else on_path_and_near,
    )


def _blocks(last: np.ndarray, positions: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Whether some pair of a block may be seen, and whether every pair is; [blocks of queries, blocks of keys]."""
    ends, places = last.reshape(-1, BLOCK), positions.reshape(-1, BLOCK)
    first = np.arange(len(ends))[:, None] * BLOCK  # of a block's queries
    before, at = np.tri(len(ends), k=-1, dtype=bool), np.eye(len(ends), dtype=bool)
    # A node's run reaches into a later block of queries from its first one on.
    some = at | (before & (ends.max(1) > first))
    every = before & (ends.min(1) >= first + BLOCK)
    if window is not None:
        some &= places.min(1)[:, None] - places.max(1) < window
        every &= places.max(1)[:, None] - places.min(1) < window
    return some, every


def _listed(chosen: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """How many blocks of keys are chosen for each block of queries [1, 1, n], and which, these first [1, 1, n, n]."""
    order = np.argsort(~chosen, axis=1, kind="stable")
    numbers = torch.from_numpy(chosen.sum(1).astype(np.int32)), torch.from_numpy(order.astype(np.int32))
    return numbers[0][None, None].to(device), numbers[1][None, None].to(device)


@functools.cache
def flex_works(device: str, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> bool:
    """Whether flex attention can be compiled here for such heads, and gives what plain attention gives.

    Tried forward and backward on random states of two lengths, so that both of its kernels are made. Where it does
    not, a line of the log says why, once.
    """
    try:
        errors = [_error(length, device, dtype, heads, kv_heads, head_dim) for length in (LEAST - 40, 3 * LEAST - 40)]
    except Exception as error:
        _log().warning("flex attention cannot be used here (%s: %s)", type(error).__name__, first_line(error))
        return False
    good = max(errors) <= (1e-3 if dtype in (torch.float32, torch.float64) else 3e-2)
    if not good:
        _log().warning("flex attention is not used: its result is off by %.1g", max(errors))
    return good


def _log() -> logging.Logger:
    return logging.getLogger("burnish")


@torch.enable_grad()
def _error(length: int, device: str, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> float:
    """Of output and gradients against attention with a mask over all pairs, relative, the largest."""
    stem = tuple(range(length // 2))
    tree = grow_tree([(*stem, *[-1 - i] * (length // 4)) for i in range(2)])
    full = padded_length(len(tree.tokens))
    generator = torch.Generator().manual_seed(0)
    states = [
        torch.randn(1, count, full, head_dim, generator=generator).to(device, dtype).requires_grad_()
        for count in (heads, kv_heads, kv_heads)
    ]
    upstream = torch.randn(1, heads, full, head_dim, generator=generator).to(device, dtype)
    upstream[:, :, len(tree.tokens) :] = 0
    scale, grouped = head_dim**-0.5, heads != kv_heads
    query, key, value = states
    found = _flex()(query, key, value, block_mask=block_mask(tree, device), scale=scale, enable_gqa=grouped)
    mask = torch.full((1, 1, full, full), float("-inf"), dtype=dtype, device=device)
    mask[0, 0].fill_diagonal_(0)
    mask[..., : len(tree.tokens), : len(tree.tokens)] = tree_mask(tree, upstream)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped
    )
    pairs = [tuple(out.detach()[:, :, : len(tree.tokens)] for out in (found, wanted))]
    gradients = [torch.autograd.grad(out, states, upstream) for out in (found, wanted)]
    pairs += zip(*gradients, strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)
