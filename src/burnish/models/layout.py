"""How labelled token sequences lie in one forward pass.

Sequences that begin alike are packed as a tree: what several share is there once, and each sequence is a path from
the root. Gradients flow through the shared part, so the result is that of whole sequences. Where a model cannot
follow a tree, every sequence is a padded row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

LEAST_SHARED = 8  # tokens below which a node of its own costs more than it saves
LONGEST_NODE = 256  # longer ones become chains: attention looks at no more queries at a time

How = Literal["tree", "packed", "masked", "rows"]


class Span(NamedTuple):
    """Tokens first … last - 1 of a sequence are learned with this weight."""

    first: int
    last: int
    weight: float = 1.0


class Labelled(NamedTuple):
    """A token sequence and what of it is learned; every span begins at 1 or later."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]

    @property
    def labelled(self) -> int:
        """Tokens that carry a label."""
        return sum(span.last - span.first for span in self.spans)

    @property
    def labelled_weight(self) -> float:
        """The labels' weights added up."""
        return sum(span.weight * (span.last - span.first) for span in self.spans)


class Node(NamedTuple):
    """A run of tokens that one or more sequences pass through.

    start, end: where it lies among the packed tokens; parent: index of the node before it, -1 at a root, always
    smaller than its own; depth: position of its first token in every sequence that passes.
    """

    start: int
    end: int
    parent: int
    depth: int


class Tree(NamedTuple):
    """nodes: depth first, parents before children; paths: the nodes of each sequence, in order; tokens: of all."""

    nodes: tuple[Node, ...]
    paths: tuple[tuple[int, ...], ...]
    tokens: tuple[int, ...]


class Batch(NamedTuple):
    """One forward pass over S sequences.

    tokens_RT, positions_RT: one row of packed tokens, or a row for each sequence, padded on the right (causal
    attention never looks there). tree: of a packed batch, else None.
    places_N: where in the flattened tokens_RT the hidden states are that predict targets_N; weights_N: of the
    spans; sequences_N: which sequence each label belongs to. tokens: of all sequences, as if nothing were shared.
    """

    tokens_RT: Tensor
    positions_RT: Tensor
    tree: Tree | None
    places_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    sequences_N: Tensor
    sequences: int
    tokens: int


def grow_tree(sequences: Sequence[tuple[int, ...]], *, share: bool = True, least: int = LEAST_SHARED) -> Tree:
    """The tree of what the sequences begin with alike.

    A shared run of at least `least` tokens becomes a node; share=False gives every sequence its own root.
    Nodes longer than LONGEST_NODE become chains.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i]) if share else list(range(len(sequences)))
    nodes: list[Node] = []
    tokens: list[int] = []
    paths: list[tuple[int, ...]] = [()] * len(sequences)

    def add(run: tuple[int, ...], path: tuple[int, ...], depth: int) -> tuple[int, ...]:
        for cut in range(0, len(run), LONGEST_NODE):
            part = run[cut : cut + LONGEST_NODE]
            nodes.append(Node(len(tokens), len(tokens) + len(part), path[-1] if path else -1, depth + cut))
            tokens.extend(part)
            path = (*path, len(nodes) - 1)
        return path

    def leaf(row: int, path: tuple[int, ...], start: int) -> None:
        paths[row] = add(sequences[row][start:], path, start)

    if not share:
        for row in order:
            leaf(row, (), 0)
        return Tree(tuple(nodes), tuple(paths), tuple(tokens))

    # Groups of sorted rows that agree up to `agreed`, whose tokens from `start` on are not placed yet.
    pending: list[tuple[list[int], int, int, tuple[int, ...]]] = [(order, 0, 0, ())]
    while pending:
        group, agreed, start, path = pending.pop()
        if len(group) == 1:
            leaf(group[0], path, start)
            continue
        agreed = _agreement(sequences[group[0]], sequences[group[-1]], agreed)
        gain = agreed - start
        if gain >= least:
            path = add(sequences[group[0]][start:agreed], path, start)
            start = agreed
        parts: dict[int | None, list[int]] = {}
        for row in group:
            parts.setdefault(sequences[row][agreed] if len(sequences[row]) > agreed else None, []).append(row)
        for row in parts.pop(None, []):
            leaf(row, path, start)
        pending.extend((part, agreed, start, path) for part in parts.values())
    return Tree(tuple(nodes), tuple(paths), tuple(tokens))


def _agreement(a: tuple[int, ...], b: tuple[int, ...], known: int) -> int:
    """How many tokens the two begin with alike, `known` of which are known to be."""
    limit = min(len(a), len(b))
    while known < limit and a[known] == b[known]:
        known += 1
    return known


def token_budget_parts(
    items: Sequence[Sequence[Labelled]], tokens_per_batch: int, *, how: How, share: bool = True
) -> list[list[int]]:
    """Cut items of one or more sequences each into passes of at most tokens_per_batch tokens; an item stays whole.

    Returns the items' numbers. Packed, items that begin alike stand side by side and what they share counts once;
    in rows, the budget is rows times the longest. An item that exceeds the budget goes alone.
    """
    if how in ("tree", "packed") or (how == "masked" and share):
        return _packed_parts(items, tokens_per_batch, share)
    parts: list[list[int]] = []
    rows = longest = 0
    order = sorted(range(len(items)), key=lambda i: -max(len(sequence.tokens) for sequence in items[i]))
    for i in order:
        if not parts or (rows + len(items[i])) * longest > tokens_per_batch:
            parts.append([])
            rows, longest = 0, max(len(sequence.tokens) for sequence in items[i])
        parts[-1].append(i)
        rows += len(items[i])
    return parts


def _packed_parts(items: Sequence[Sequence[Labelled]], budget: int, share: bool) -> list[list[int]]:
    """Parts of about equal size, in the order of what items begin with."""
    order = sorted(range(len(items)), key=lambda i: items[i][0].tokens) if share else list(range(len(items)))

    own = [_new_tokens(items[i], share) for i in order]
    common = [0] * len(order)
    for place in range(1, len(order)) if share else ():
        agreed = _agreement(items[order[place - 1]][0].tokens, items[order[place]][0].tokens, 0)
        common[place] = agreed if agreed >= LEAST_SHARED else 0

    def cut(limit: int) -> list[list[int]]:
        parts: list[list[int]] = []
        filled = 0
        for i, size, shared in zip(order, own, common, strict=True):
            if not parts or filled + size - shared > limit:
                parts.append([])
                filled = shared
            parts[-1].append(i)
            filled += size - shared
        return parts

    parts = cut(budget)
    low, high = 1, budget
    while len(parts) > 1 and low < high:  # the smallest limit with as few parts: they come out even
        middle = (low + high) // 2
        if len(cut(middle)) <= len(parts):
            high = middle
        else:
            low = middle + 1
    return parts if len(parts) == 1 else cut(high)


def _new_tokens(item: Sequence[Labelled], share: bool) -> int:
    """Tokens of an item's own tree."""
    if not share or len(item) == 1:
        return sum(len(sequence.tokens) for sequence in item)
    return len(grow_tree([sequence.tokens for sequence in item]).tokens)


def lay_out(sequences: Sequence[Labelled], *, how: How, share: bool = True, device: str = "cpu") -> Batch:
    """Lay out one forward pass.

    how: "tree" packs always; "packed" where that has a tenth fewer tokens than padded rows, which have the quicker
    attention; "masked" where a seventh of the tokens is saved, since attention then computes every pair of tokens;
    "rows" never. share=False keeps the sequences apart, whatever they begin with.
    """
    tree: Tree | None = None
    if how in ("tree", "packed") or (how == "masked" and share):
        tree = grow_tree([sequence.tokens for sequence in sequences], share=share)
        lengths, size = [len(sequence.tokens) for sequence in sequences], len(tree.tokens)
        pays = {"packed": size * 10 <= len(lengths) * max(lengths) * 9, "masked": size * 7 <= sum(lengths) * 6}
        if not pays.get(how, True):
            tree = None
    if tree is None:
        return _rows(sequences, device)
    runs = [np.arange(node.start, node.end) for node in tree.nodes]
    where = [np.concatenate([runs[i] for i in path]) for path in tree.paths]
    tokens = np.array(tree.tokens, dtype=np.int64)[None]
    return _batch(sequences, tokens, positions_of(tree)[None], tree, where, device)


def _rows(sequences: Sequence[Labelled], device: str) -> Batch:
    width = max(len(sequence.tokens) for sequence in sequences)
    tokens = np.zeros((len(sequences), width), dtype=np.int64)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence.tokens)] = sequence.tokens
    where = [np.arange(i * width, (i + 1) * width) for i in range(len(sequences))]
    return _batch(sequences, tokens, np.arange(width, dtype=np.int64)[None], None, where, device)


def _batch(
    sequences: Sequence[Labelled],
    tokens: np.ndarray,
    positions: np.ndarray,
    tree: Tree | None,
    where: Sequence[np.ndarray],
    device: str,
) -> Batch:
    """where: for each sequence, the flat place of each of its tokens."""
    places, targets, weights, owners = [], [], [], []
    for number, (sequence, place) in enumerate(zip(sequences, where, strict=True)):
        for span in sequence.spans:
            places.append(place[span.first - 1 : span.last - 1])
            targets.append(np.array(sequence.tokens[span.first : span.last], dtype=np.int64))
            weights.append(np.full(span.last - span.first, span.weight, dtype=np.float32))
            owners.append(np.full(span.last - span.first, number, dtype=np.int64))

    def tensor(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    return Batch(
        tokens_RT=torch.from_numpy(tokens).to(device),
        positions_RT=torch.from_numpy(positions).to(device),
        tree=tree,
        places_N=tensor(places),
        targets_N=tensor(targets),
        weights_N=tensor(weights),
        sequences_N=tensor(owners),
        sequences=len(sequences),
        tokens=sum(len(sequence.tokens) for sequence in sequences),
    )


def positions_of(tree: Tree) -> np.ndarray:
    """Of each packed token, its position in every sequence that passes through it [N]."""
    return np.concatenate([np.arange(node.end - node.start) + node.depth for node in tree.nodes], dtype=np.int64)


def ranges_before(tree: Tree, node: Node) -> tuple[tuple[int, int], ...]:
    """Where the tokens lie that come before a node, depth of them in all: in order, joined where they touch."""
    ranges: list[tuple[int, int]] = []
    while node.parent >= 0:
        node = tree.nodes[node.parent]
        if ranges and ranges[-1][0] == node.end:
            ranges[-1] = (node.start, ranges[-1][1])
        else:
            ranges.append((node.start, node.end))
    return tuple(reversed(ranges))


def seen_until(tree: Tree) -> np.ndarray:
    """Of each packed token k, the end of the run of its node and all nodes below it [N].

    Nodes are packed depth first, so that is one run, and token q sees k exactly when k <= q < seen_until[k].
    """
    ends = [node.end for node in tree.nodes]
    for i in reversed(range(len(ends))):
        parent = tree.nodes[i].parent
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[i])
    return np.repeat(np.array(ends, dtype=np.int64), [node.end - node.start for node in tree.nodes])


def tree_mask(tree: Tree, like: Tensor, window: int | None = None) -> Tensor:
    """Additive mask [1, 1, N, N] of a packed tree, in the number format and on the device of `like`.

    A token sees itself and those before it on its own path; window: only the last `window` of these.
    """
    size = len(tree.tokens)
    allowed = torch.zeros(size, size, dtype=torch.bool)
    for node in tree.nodes:
        if node.parent >= 0:
            parent = tree.nodes[node.parent]
            allowed[node.start : node.end] = allowed[parent.end - 1]
        own = slice(node.start, node.end)
        allowed[own, own] = torch.ones(node.end - node.start, node.end - node.start, dtype=torch.bool).tril()
    if window is not None:
        positions = torch.from_numpy(positions_of(tree))
        allowed &= positions[:, None] - positions[None, :] < window
    mask = torch.zeros(size, size, dtype=like.dtype).masked_fill_(~allowed, float("-inf"))
    return mask.to(like.device)[None, None]
