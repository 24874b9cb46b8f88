"""Packed trees: every sequence sees what it would see alone, and gradients say the same."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from burnish.models import gathered_attention, layout, tree_attention
from burnish.models.gathered_attention import LEAST_FILLED, grouped_nodes
from burnish.models.layout import (
    Labelled,
    Span,
    grow_tree,
    lay_out,
    ranges_before,
    token_budget_parts,
    tree_mask,
)
from burnish.models.tree_attention import plan_blocks

# Few different tokens, so that much is shared at many depths.
sequences = st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=24).map(tuple), min_size=1, max_size=7)


def path_tokens(tree, path):
    return tuple(token for i in path for token in tree.tokens[tree.nodes[i].start : tree.nodes[i].end])


@given(sequences, st.integers(1, 9), st.booleans(), st.integers(2, 9))
def test_paths_spell_the_sequences(rows, least, share, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LONGEST_NODE", longest)
        tree = grow_tree(rows, share=share, least=least)
    assert [path_tokens(tree, path) for path in tree.paths] == rows
    assert sum(node.end - node.start for node in tree.nodes) == len(tree.tokens)
    for i, node in enumerate(tree.nodes):
        assert node.parent < i
        assert 0 < node.end - node.start <= longest
        parent = tree.nodes[node.parent] if node.parent >= 0 else None
        assert node.depth == (parent.depth + parent.end - parent.start if parent else 0)
    if not share:
        assert len(tree.tokens) == sum(map(len, rows))


@given(sequences, st.integers(1, 9), st.integers(2, 9), st.integers(1, 60))
def test_nodes_are_grouped_within_their_limits(rows, least, longest, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LONGEST_NODE", longest)
        tree = grow_tree(rows, least=least)
    groups = grouped_nodes(tree.nodes, most)
    assert sorted(node for group in groups for node in group) == sorted(tree.nodes)
    for group in groups:
        queries = [node.end - node.start for node in group]
        keys = [node.depth + own for node, own in zip(group, queries, strict=True)]
        scores = len(group) * max(queries) * max(keys)
        assert len(group) == 1 or scores <= most
        assert sum(own * seen for own, seen in zip(queries, keys, strict=True)) >= LEAST_FILLED * scores


@given(sequences, st.integers(1, 9), st.integers(2, 9))
def test_ranges_before_a_node_are_those_of_its_path(rows, least, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LONGEST_NODE", longest)
        tree = grow_tree(rows, least=least)
    for path in tree.paths:
        for number, i in enumerate(path):
            ranges = ranges_before(tree, tree.nodes[i])
            nodes = [tree.nodes[j] for j in path[:number]]
            wanted = [place for node in nodes for place in range(node.start, node.end)]
            assert [place for start, end in ranges for place in range(start, end)] == wanted
            assert len(wanted) == tree.nodes[i].depth
            assert all(left[1] < right[0] for left, right in pairwise(ranges))


@given(sequences)
def test_everything_shared_at_least_one_token_deep_is_there_once(rows):
    """With least = 1 the tree is the trie of the sequences: as many tokens as different prefixes."""
    tree = grow_tree(rows, least=1)
    assert len(tree.tokens) == len({row[:length] for row in rows for length in range(1, len(row) + 1)}) + 0


def test_sharing_at_two_depths():
    system, documents = (9,) * 40, ((1,) * 30, (2,) * 30)
    rows = [system + document + (question,) * 5 for document in documents for question in (3, 4, 5)]
    tree = grow_tree(rows)
    assert len(tree.tokens) == 40 + 2 * 30 + 6 * 5
    assert len(tree.nodes) == 1 + 2 + 6


@contextlib.contextmanager
def uninitialised_memory_is_nan():
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@settings(max_examples=60, deadline=None)
@given(
    rows=sequences,
    least=st.integers(1, 6),
    kv_heads=st.integers(1, 2),
    group=st.sampled_from([1, 3]),
    longest=st.integers(2, 30),
    most=st.sampled_from([1, 200, 2**22]),
    copies=st.sampled_from([0.0, 2.0, 1e9]),
    by_token=st.booleans(),
    padding=st.sampled_from([0, 1, 9]),
    seed=st.integers(0, 99),
)
def test_equals_masked_attention_with_gradients(
    rows, least, kv_heads, group, longest, most, copies, by_token, padding, seed
):
    """In blocks that share the keys before them and in gatherings that copy them, however the states lie.

    What is packed behind the tree gives 0 and gets 0, whatever lay in the memory before.
    """
    with pytest.MonkeyPatch.context() as patch, uninitialised_memory_is_nan():
        patch.setattr(gathered_attention, "MOST_COPIES", copies)
        patch.setattr(layout, "LONGEST_NODE", longest)
        patch.setattr(tree_attention, "MOST_SCORES", most)
        tree = grow_tree(rows, least=least)
        width, size, heads = 4, len(tree.tokens), kv_heads * group
        full = size + padding
        generator = torch.Generator().manual_seed(seed)
        states = [
            torch.randn(1, count, full, width, generator=generator, requires_grad=True)
            if not by_token
            else torch.randn(1, full, count, width, generator=generator).transpose(1, 2).requires_grad_()
            for count in (heads, kv_heads, kv_heads)
        ]
        upstream = torch.randn(1, full, heads, width, generator=generator)
        plan = plan_blocks(tree, heads, states[0], full)
        assert copies < 1e9 or plan.gatherings
        assert copies > 0 or plan.blocks
        ours = tree_attention.tree_attention(*states, plan, 0.7)
        found = torch.autograd.grad(ours, states, upstream)
        assert not bool(ours[:, size:].any())
        query, key, value = (each[:, :, :size] for each in states)
        plain = scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            attn_mask=tree_mask(tree, query),
            scale=0.7,
        ).transpose(1, 2)
        expected = torch.autograd.grad(plain, states, upstream[:, :size])
    torch.testing.assert_close(ours[:, :size], plain, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@given(sequences)
def test_mask_is_each_sequences_own_causal_mask(rows):
    tree = grow_tree(rows, least=1)
    mask = tree_mask(tree, torch.zeros(1))[0, 0]
    for path in tree.paths:
        places = [place for i in path for place in range(tree.nodes[i].start, tree.nodes[i].end)]
        seen = mask[places]
        for position in range(len(places)):
            assert torch.nonzero(seen[position] == 0).flatten().tolist() == sorted(places[: position + 1])


def test_a_window_hides_what_is_far_back_on_the_path():
    tree = grow_tree([(9,) * 12 + (1,), (9,) * 12 + (2,)])
    mask = tree_mask(tree, torch.zeros(1), window=3)[0, 0]
    assert [(row == 0).sum().item() for row in mask] == [1, 2, *[3] * 12]
    assert mask[13, 12] == float("-inf")


def test_labels_point_at_the_position_before_them():
    a = Labelled((1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22), (Span(10, 12, 2.0),))
    b = Labelled((1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 31), (Span(10, 11),))
    for how in ("tree", "rows"):
        batch = lay_out([a, b], how=how)
        assert batch.targets_N.tolist() == [21, 22, 31]
        assert batch.weights_N.tolist() == [2.0, 2.0, 1.0]
        assert batch.sequences_N.tolist() == [0, 0, 1]
        assert batch.tokens_RT.flatten()[batch.places_N].tolist() == [20, 21, 30]
        assert batch.tokens == 23
        assert batch.tokens_RT.numel() == (9 + 3 + 2 if how == "tree" else 24)


def test_a_label_may_follow_a_shared_token():
    """Both answers begin right behind the shared prompt: its last token predicts both."""
    pair = [Labelled((5,) * 10 + (answer,), (Span(10, 11),)) for answer in (1, 2)]
    batch = lay_out(pair, how="tree")
    assert batch.places_N.tolist() == [9, 9]
    assert batch.targets_N.tolist() == [1, 2]


@given(sequences, st.integers(1, 60))
def test_parts_hold_every_item_once(rows, budget):
    items = [[Labelled(row, (Span(1, len(row)),))] for row in rows]
    for how in ("tree", "masked", "rows"):
        parts = token_budget_parts(items, budget, how=how)
        assert sorted(i for part in parts for i in part) == list(range(len(rows)))
