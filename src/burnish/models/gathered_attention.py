"""Attention over a packed tree of short sequences: each node with copies of the keys that it sees.

Short nodes cost more in operations than in arithmetic. Where the keys of all nodes, copied to each, are not many more
than the tokens, all nodes are one batch: keys before a node and its own are multiplied together, whatever its depth.
The maths is that of tree_attention.py, and so is what is kept for the backward pass: queries, keys and values alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.layout import Node, Tree, ranges_before
from burnish.models.padding import rounded_size
from burnish.models.softmax import attention_weights

MOST_COPIES = 2.0  # keys that all nodes see, over the tokens there are; above, blocks that share them are faster
LEAST_FILLED = 0.7  # share of a group's scores that are of tokens


class Heads(NamedTuple):
    """What a gathering of K key heads with G query heads each reads and writes.

    queries [K·B·G·T], keys [K·B·S]: rows of states that are flattened with heads outermost, and the same with tokens
    outermost (`*_by_token`). put [K·B·G·T]: where queries' results go with tokens outermost; N·K·G: nowhere.
    mask [K·B, G·T, S]: additive.
    """

    queries: Tensor
    queries_by_token: Tensor
    keys: Tensor
    keys_by_token: Tensor
    put: Tensor
    mask: Tensor


class Gathering:
    """B nodes, padded on the right to T queries and S keys.

    take [B, T], seen [B, S]: packed places of queries and of the keys that they may see, the first of the node where
    padded; real [B, T]: which queries are tokens, and padded [B, 1, T, 1]: which are not, None when all are;
    may [B, T, S]: which keys each query sees. N: packed tokens, padding included.
    """

    def __init__(self, nodes: Sequence[Node], tree: Tree, like: Tensor, size: int) -> None:
        self.B, self.N = len(nodes), size
        self.T = rounded_size(max(node.end - node.start for node in nodes))
        self.S = rounded_size(max(node.depth + node.end - node.start for node in nodes))
        take = [[*range(n.start, n.end), *[n.start] * (self.T - n.end + n.start)] for n in nodes]
        ranges = [(*ranges_before(tree, n), (n.start, n.end)) for n in nodes]
        seen = [[place for start, end in row for place in range(start, end)] for row in ranges]
        lengths = torch.tensor([n.end - n.start for n in nodes])[:, None]
        before = torch.tensor([n.depth for n in nodes])[:, None, None]
        self.take = torch.tensor(take)
        self.seen = torch.tensor([[*row, *row[-1:] * (self.S - len(row))] for row in seen])
        self.real = torch.arange(self.T) < lengths
        self.padded = None if bool(self.real.all()) else ~self.real[:, None, :, None].to(like.device)
        keys = torch.arange(self.S)
        own = keys - before
        self.may = (own <= torch.arange(self.T)[:, None]) & (keys < before + lengths[..., None])
        self._like = like
        self._heads: dict[tuple[int, int], Heads] = {}

    def heads(self, K: int, G: int) -> Heads:
        """The places and the mask for so many heads, made once."""
        if (K, G) not in self._heads:
            self._heads[K, G] = self._for_heads(K, G)
        return self._heads[K, G]

    def _for_heads(self, K: int, G: int) -> Heads:
        device, N, H = self._like.device, self.N, K * G
        head = torch.arange(H).view(K, 1, G, 1)
        group = torch.arange(K).view(K, 1, 1)
        take, real = self.take[None, :, None], self.real[None, :, None]
        mask = torch.zeros(self.may.shape, dtype=self._like.dtype).masked_fill_(~self.may, float("-inf"))
        mask = mask[None, :, None].expand(K, -1, G, -1, -1).reshape(K * self.B, G * self.T, self.S)

        def flat(places: Tensor) -> Tensor:
            return places.reshape(-1).to(device)

        return Heads(
            queries=flat(head * N + take),
            queries_by_token=flat(take * H + head),
            keys=flat(group * N + self.seen),
            keys_by_token=flat(self.seen * K + group),
            put=flat(torch.where(real, take * H + head, N * H)),
            mask=mask.to(device),
        )


def gather(tree: Tree, like: Tensor, most: int, size: int) -> tuple[Gathering, ...]:
    """The gatherings of a tree; none where copying keys would not pay.

    most: scores of a gathering, for one head. size: packed tokens, padding included. Masks get the number format and
    device of `like`.
    """
    copies = sum(node.depth + node.end - node.start for node in tree.nodes)
    if copies > MOST_COPIES * len(tree.tokens):
        return ()
    return tuple(Gathering(group, tree, like, size) for group in grouped_nodes(tree.nodes, most))


def grouped_nodes(nodes: Sequence[Node], most: int) -> list[list[Node]]:
    """Cut nodes into groups that are computed together, padded to their most queries and their most keys.

    Of a group's scores, LEAST_FILLED at least are of tokens; for one head they are at most `most`, or one node's.
    """
    groups: list[list[Node]] = []
    T = S = filled = 0
    for node in sorted(nodes, key=lambda node: (node.start - node.end, -node.depth)):
        own_T = node.end - node.start
        own_S = node.depth + own_T
        rows, wide = (len(groups[-1]) + 1, max(S, own_S)) if groups else (1, own_S)
        scores = rows * T * wide
        if groups and filled + own_T * own_S >= LEAST_FILLED * scores and scores <= most:
            groups[-1].append(node)
            S, filled = wide, filled + own_T * own_S
        else:
            groups.append([node])
            T, S, filled = own_T, own_S, own_T * own_S
    return groups


def gathered_attention(
    query: Tensor, key: Tensor, value: Tensor, gatherings: tuple[Gathering, ...], tokens: int, scaling: float
) -> Tensor:
    """query [1, H, N, D]; key, value [1, K, N, D] with H a multiple of K; returns [1, N, H, D].

    What lies behind the first `tokens` is padding: 0 in the result.
    """
    out: Tensor = _GatheredAttention.apply(query, key, value, gatherings, tokens, scaling)  # type: ignore[no-untyped-call]
    return out


class _GatheredAttention(torch.autograd.Function):
    """S = scaling · Q Kᵀ + mask, P = softmax(S), O = P V, with copies of K and V for each node."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        gatherings: tuple[Gathering, ...],
        tokens: int,
        scaling: float,
    ) -> Tensor:
        _, H, N, D = query.shape
        K = key.shape[1]
        out = _room(query, tokens)
        for each in gatherings:
            heads = each.heads(K, H // K)
            queries, keys, values = _gathered(query, key, value, each, heads)
            weights = _weights(queries, keys, heads.mask, scaling)
            out.index_copy_(0, heads.put, torch.bmm(weights, values).view(-1, D))
        ctx.save_for_backward(query, key, value)
        ctx.gatherings, ctx.tokens, ctx.scaling = gatherings, tokens, scaling
        return out[:-1].view(1, N, H, D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        _, H, N, D = query.shape
        K = key.shape[1]
        upstream_NH = gradients[0].transpose(1, 2)  # [1, H, N, D]
        query_gradient = _room(query, ctx.tokens)
        # Sums over all nodes that see a key: in float32 or wider, rounded once.
        wide = torch.promote_types(query.dtype, torch.float32)
        key_gradient, value_gradient = (query.new_zeros(K, N, D, dtype=wide) for _ in range(2))
        for each in ctx.gatherings:
            heads = each.heads(K, H // K)
            queries, keys, values = _gathered(query, key, value, each, heads)
            upstream = _rows(upstream_NH, heads.queries, heads.queries_by_token)
            if each.padded is not None:
                upstream.view(K, each.B, -1, each.T, D).masked_fill_(each.padded, 0)
            upstream = upstream.view(queries.shape)
            weights = _weights(queries, keys, heads.mask, ctx.scaling)
            scores = torch._softmax_backward_data(
                torch.bmm(upstream, values.transpose(1, 2)), weights, -1, weights.dtype
            )
            places = each.seen.view(-1).to(query.device)
            _add(value_gradient, torch.bmm(weights.transpose(1, 2), upstream), places)
            _add(key_gradient, _scaled(scores.transpose(1, 2), queries, ctx.scaling), places)
            query_gradient.index_copy_(0, heads.put, _scaled(scores, keys, ctx.scaling).view(-1, D))
        by_token = query_gradient[:-1].view(1, N, H, D).transpose(1, 2)
        return by_token, key_gradient[None].to(key.dtype), value_gradient[None].to(value.dtype), None, None, None


def _room(query: Tensor, tokens: int) -> Tensor:
    """A row for each query of each token, tokens outermost, and one for what goes nowhere; 0 where it is padding."""
    _, H, N, D = query.shape
    out = query.new_empty(N * H + 1, D)
    out[tokens * H :] = 0
    return out


def _gathered(
    query: Tensor, key: Tensor, value: Tensor, each: Gathering, heads: Heads
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [K·B, G·T, D], keys and values [K·B, S, D] of a gathering."""
    D = query.shape[-1]
    queries = _rows(query, heads.queries, heads.queries_by_token).view(heads.mask.shape[0], -1, D)
    keys, values = (
        _rows(states, heads.keys, heads.keys_by_token).view(heads.mask.shape[0], each.S, D) for states in (key, value)
    )
    return queries, keys, values


def _rows(states: Tensor, places: Tensor, by_token: Tensor) -> Tensor:
    """Rows of states [1, heads, N, D], as they lie in memory."""
    turned = states.transpose(1, 2)
    if turned.is_contiguous():
        return turned.view(-1, states.shape[-1]).index_select(0, by_token)
    return states.reshape(-1, states.shape[-1]).index_select(0, places)


def _weights(queries: Tensor, keys: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Attention weights [K·B, G·T, S]."""
    return attention_weights(torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scaling))


def _scaled(left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """scaling · left right, batched."""
    out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    return out.baddbmm_(left, right, beta=0, alpha=scaling)


def _add(total: Tensor, rows: Tensor, places: Tensor) -> None:
    """Add rows [K·B, S, D] to total [K, N, D] at places [B·S]."""
    K, _, D = total.shape
    total.index_add_(1, places, rows.view(K, -1, D).to(total.dtype))
