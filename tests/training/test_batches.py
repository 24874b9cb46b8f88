"""Which rows make a step, and how they are laid out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.records import Source
from burnish.training.batches import collate, epoch_order, micro_batches, shared_prefix, steps_per_epoch, total_steps
from burnish.training.encode import Encoded

lengths = st.lists(st.integers(2, 200), min_size=1, max_size=120)


def row(tokens: list[int], prompt: int, weight: float = 1.0) -> Encoded:
    return Encoded(tuple(tokens), prompt, weight, Source("f", 1))


@given(lengths, st.integers(1, 20), st.integers(0, 9), st.integers(0, 3))
def test_every_example_once_an_epoch(sizes, batch_size, seed, epoch):
    steps = epoch_order(sizes, batch_size, seed, epoch)
    assert sorted(i for step in steps for i in step) == list(range(len(sizes)))
    assert len(steps) == steps_per_epoch(len(sizes), batch_size)
    assert all(1 <= len(step) <= batch_size for step in steps)
    assert steps == epoch_order(sizes, batch_size, seed, epoch)


def test_order_depends_on_seed_and_epoch():
    sizes = list(range(10, 110))
    orders = [epoch_order(sizes, 8, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_similar_lengths_come_together():
    sizes = [10, 200] * 64
    steps = epoch_order(sizes, 8, 0, 0)
    assert all(len({sizes[i] for i in step}) == 1 for step in steps)


@given(lengths, st.integers(64, 600), st.integers(0, 40), st.booleans())
def test_micro_batches_respect_the_budget(sizes, budget, common, share):
    """A prefix that is computed once counts once."""
    rows = [row([9] * common + [i] + [5] * size, common + 1) for i, size in enumerate(sizes)]
    parts = micro_batches(rows, budget, share=share)
    assert sorted(len(r.tokens) for part in parts for r in part) == sorted(common + 1 + size for size in sizes)
    for part in parts:
        prefix = collate(part, share=share, device="cpu").prefix_P
        once = 0 if prefix is None else len(prefix)
        assert len(part) == 1 or once + len(part) * max(len(r.tokens) - once for r in part) <= budget


@given(st.lists(st.lists(st.integers(1, 3), min_size=0, max_size=12), min_size=2, max_size=6), st.integers(0, 30))
def test_shared_prefix_is_shared_and_leaves_a_prompt_token(tails, common):
    rows = [row([9] * common + [4] * 1 + tail + [7], common + 1 + len(tail)) for tail in tails]
    prefix = shared_prefix(rows)
    assert all(r.tokens[:prefix] == rows[0].tokens[:prefix] for r in rows)
    assert prefix < min(r.prompt_length for r in rows)
    if common >= 8:
        assert prefix >= common


def test_collate_points_at_the_position_before_each_label():
    a, b = row([1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22], 10, 2.0), row([1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 31], 10)
    for share in (False, True):
        batch = collate([a, b], share=share, device="cpu")
        start = 9 if share else 0
        assert (batch.prefix_P is None) is not share
        assert batch.targets_N.tolist() == [21, 22, 31]
        assert batch.weights_N.tolist() == [2.0, 2.0, 1.0]
        assert batch.rows_N.tolist() == [0, 0, 1]
        assert (batch.columns_N + start).tolist() == [9, 10, 9]
        assert batch.tokens == 23
        assert batch.tokens_BT.shape == (2, 12 - start)


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "limit", "wanted"),
    [
        (100, 10, 2, None, 20),
        (101, 10, 1, None, 11),
        (100, 10, 0.5, None, 5),
        (100, 10, 3, 7, 7),
        (3, 10, 0.1, None, 1),
    ],
)
def test_total_steps(examples, batch, epochs, limit, wanted):
    assert total_steps(examples, batch, epochs, limit) == wanted
