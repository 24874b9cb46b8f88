"""Attention over a packed tree of sequences, as grouped matrix products with a backward pass by hand.

A node's tokens see all of the nodes before it on the path, and those before them in the node itself: exactly what the
whole sequence would see (Vaswani et al. 2017, equation 1). Siblings of similar length are computed together. Keys and
values of grouped-query models are never repeated, and no weights are kept for the backward pass: they are computed
again from queries and keys, as in FlashAttention (Dao et al. 2022, section 3.1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from burnish.models.gathered_attention import Gathering, gather, gathered_attention, grouped_nodes
from burnish.models.layout import Node, Tree, ranges_before
from burnish.models.softmax import attention_weights

MOST_SCORES = 2**22  # of one block: 16 MB in float32, which a processor's cache holds
MOST_SCORES_GPU = 2**27  # 256 MB in bfloat16: few blocks, since each is a dozen kernels to launch


class Block(NamedTuple):
    """B sibling nodes, padded on the right to T tokens.

    before: ranges of packed tokens that all of them see, P in all. take [B·T]: packed place of each token (of the
    node's first where padded); keep: which of these are tokens, and padded [B, 1, T, 1]: which are not; None when
    all are. start: of the first token when the places are one run, else None. mask [T, T]: additive, causal.
    """

    B: int
    T: int
    P: int
    before: tuple[tuple[int, int], ...]
    take: Tensor
    keep: Tensor | None
    padded: Tensor | None
    start: int | None
    mask: Tensor


class Plan(NamedTuple):
    """The blocks of a tree, for a number of query heads and a device; or, where its nodes are short, gatherings.

    tokens: of the tree. What is packed behind them is padding, which nothing sees.
    """

    blocks: tuple[Block, ...]
    tokens: int
    gatherings: tuple[Gathering, ...] = ()


def plan_blocks(tree: Tree, heads: int, like: Tensor, size: int | None = None) -> Plan:
    """Group the nodes of a tree into blocks; masks get the number format and device of `like`.

    size: packed tokens, padding behind the tree's included; None: there is none.
    """
    children: dict[int, list[Node]] = {}
    for node in tree.nodes:
        children.setdefault(node.parent, []).append(node)
    masks: dict[int, Tensor] = {}
    blocks: list[Block] = []
    on_cpu = like.device.type == "cpu"
    most = (MOST_SCORES if on_cpu else MOST_SCORES_GPU) // heads
    gatherings = gather(tree, like, most, size or len(tree.tokens)) if on_cpu else ()
    if gatherings:
        return Plan((), len(tree.tokens), gatherings)
    for siblings in children.values():
        before = ranges_before(tree, siblings[0])
        blocks.extend(_block(group, before, masks, like) for group in grouped_nodes(siblings, most))
    return Plan(tuple(blocks), len(tree.tokens))


def _block(group: list[Node], before: tuple[tuple[int, int], ...], masks: dict[int, Tensor], like: Tensor) -> Block:
    group = sorted(group, key=lambda node: node.start)
    T = max(node.end - node.start for node in group)
    if T not in masks:
        masks[T] = torch.full((T, T), float("-inf"), dtype=like.dtype, device=like.device).triu(1)
    take: list[int] = []
    kept: list[int] = []
    for number, node in enumerate(group):
        size = node.end - node.start
        take += [*range(node.start, node.end), *[node.start] * (T - size)]
        kept += range(number * T, number * T + size)
    whole = len(kept) == len(take)
    padded = torch.ones(len(take), dtype=torch.bool).index_fill_(0, torch.tensor(kept), False)
    run = whole and take == list(range(take[0], take[0] + len(take)))
    return Block(
        B=len(group),
        T=T,
        P=group[0].depth,
        before=before,
        take=torch.tensor(take, device=like.device),
        keep=None if whole else torch.tensor(kept, device=like.device),
        padded=None if whole else padded.view(len(group), 1, T, 1).to(like.device),
        start=take[0] if run else None,
        mask=masks[T],
    )


def tree_attention(query: Tensor, key: Tensor, value: Tensor, plan: Plan, scaling: float) -> Tensor:
    """query [1, H, N, D]; key, value [1, K, N, D] with H a multiple of K; returns [1, N, H, D]."""
    if plan.gatherings:
        return gathered_attention(query, key, value, plan.gatherings, plan.tokens, scaling)
    out: Tensor = _TreeAttention.apply(query, key, value, plan, scaling)  # type: ignore[no-untyped-call]
    return out


class _TreeAttention(torch.autograd.Function):
    """S = scaling · Q Kᵀ + mask, P = softmax(S), O = P V over each token's path."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: Plan, scaling: float) -> Tensor:
        _, H, N, D = query.shape
        keys, values = key[0].contiguous(), value[0].contiguous()
        out = query.new_empty(N, H, D)
        out[plan.tokens :] = 0
        for block in plan.blocks:
            rows = _queries(query[0], block, len(keys), scaling)
            weights = _weights(rows, keys, block)
            _put_heads(out, _times(weights, values, block), block)
        ctx.save_for_backward(query, keys, values)
        ctx.plan, ctx.scaling = plan, scaling
        return out[None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, values = ctx.saved_tensors
        plan: Plan = ctx.plan
        out_gradient = gradients[0][0].transpose(0, 1)  # [H, N, D]
        query_gradient = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
        query_gradient[plan.tokens :] = 0
        key_gradient, value_gradient = torch.zeros_like(keys), torch.zeros_like(values)
        for block in plan.blocks:
            rows = _queries(query[0], block, len(keys), ctx.scaling)
            upstream = _queries(out_gradient, block, len(keys), 1.0)
            weights = _weights(rows, keys, block)
            _add_keys(value_gradient, weights, upstream, block)
            scores_gradient = torch._softmax_backward_data(
                _scores(upstream, values, block), weights, -1, weights.dtype
            )
            _add_keys(key_gradient, scores_gradient, rows, block)
            _put_heads(query_gradient, _times(scores_gradient, keys, block).mul_(ctx.scaling), block)
        return query_gradient.transpose(0, 1)[None], key_gradient[None], value_gradient[None], None, None


def _queries(states: Tensor, block: Block, kv_heads: int, factor: float) -> Tensor:
    """A block's rows of states [H, N, D] as [K, B, G·T, D], times factor; padded places are 0."""
    H, _, D = states.shape
    if block.start is not None:
        taken = states[:, block.start : block.start + block.B * block.T]
    else:
        taken = states.index_select(1, block.take)
    grouped = taken.reshape(kv_heads, H // kv_heads, block.B, block.T, D).transpose(1, 2)
    rows = grouped.clone(memory_format=torch.contiguous_format)
    if factor != 1.0:
        rows.mul_(factor)
    if block.padded is not None:
        rows.masked_fill_(block.padded, 0)
    return rows.view(kv_heads, block.B, -1, D)


def _own(states: Tensor, block: Block) -> Tensor:
    """A block's own keys or values of states [K, N, D], as [K·B, T, D]."""
    if block.start is not None:
        taken = states[:, block.start : block.start + block.B * block.T]
    else:
        taken = states.index_select(1, block.take)
    return taken.reshape(len(states) * block.B, block.T, states.shape[2])


def _before(states: Tensor, block: Block) -> Tensor:
    """Keys or values that the whole block sees, [K, P, D]."""
    if len(block.before) == 1:
        start, end = block.before[0]
        return states[:, start:end]
    return torch.cat([states[:, start:end] for start, end in block.before], dim=1)


def _scores(rows: Tensor, keys: Tensor, block: Block) -> Tensor:
    """rows [K, B, G·T, D] times the keys they may see: [K, B, G·T, P + T], what is before the block first."""
    K, B, R, D = rows.shape
    own = (rows.view(K * B, R, D) @ _own(keys, block).transpose(1, 2)).view(K, B, R, block.T)
    if not block.P:
        return own
    before = rows.view(K, B * R, D) @ _before(keys, block).transpose(1, 2)
    return torch.cat([before.view(K, B, R, block.P), own], dim=-1)


def _weights(rows: Tensor, keys: Tensor, block: Block) -> Tensor:
    """Attention weights, [K, B, G·T, P + T]."""
    scores = _scores(rows, keys, block)
    K, B, R, _ = rows.shape
    # In place: a slice of the columns with the rows' heads and tokens apart.
    scores.view(K, B, R // block.T, block.T, -1)[..., block.P :] += block.mask
    return attention_weights(scores)


def _times(weights: Tensor, values: Tensor, block: Block) -> Tensor:
    """weights [K, B, G·T, P + T] times the values they belong to: [K, B, G·T, D]."""
    K, B, R, _ = weights.shape
    D = values.shape[2]
    own = weights[..., block.P :].reshape(K * B, R, block.T) @ _own(values, block)
    if not block.P:
        return own.view(K, B, R, D)
    before = weights[..., : block.P].reshape(K, B * R, block.P)
    return torch.baddbmm(own.view(K, B * R, D), before, _before(values, block)).view(K, B, R, D)


def _add_keys(total: Tensor, weights: Tensor, rows: Tensor, block: Block) -> None:
    """Add weightsᵀ rows to the keys' or values' gradient `total` [K, N, D]."""
    K, B, R, D = rows.shape
    own = weights[..., block.P :].reshape(K * B, R, block.T).transpose(1, 2) @ rows.view(K * B, R, D)
    own = own.view(K, B * block.T, D)
    if block.start is not None:
        total[:, block.start : block.start + B * block.T] += own
    elif block.keep is None:
        total.index_add_(1, block.take, own)
    else:
        total.index_add_(1, block.take[block.keep], own[:, block.keep])
    if block.P:
        # rowsᵀ weights: the weights, the larger factor, would be copied to be transposed.
        first = rows.view(K, B * R, D).transpose(1, 2) @ weights[..., : block.P].reshape(K, B * R, block.P)
        at = 0
        for start, end in block.before:
            total[:, start:end] += first[..., at : at + end - start].transpose(1, 2)
            at += end - start


def _put_heads(out: Tensor, rows: Tensor, block: Block) -> None:
    """Write a block's rows [K, B, G·T, D] to their places in out [N, H, D]."""
    K, B, R, D = rows.shape
    heads = rows.view(K, B, R // block.T, block.T, D).permute(1, 3, 0, 2, 4).reshape(B * block.T, -1, D)
    if block.start is not None:
        out[block.start : block.start + B * block.T] = heads
    elif block.keep is None:
        out.index_copy_(0, block.take, heads)
    else:
        out.index_copy_(0, block.take[block.keep], heads[block.keep])
