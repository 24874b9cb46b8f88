"""Which rows make a step, and how they are laid out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.records import Source
from burnish.training.batches import collate, epoch_order, micro_batches, steps_per_epoch, total_steps
from burnish.training.encode import tail_item
from burnish.training.objectives.base import Item

lengths = st.lists(st.integers(2, 200), min_size=1, max_size=120)


def row(tokens: list[int], prompt: int, weight: float = 1.0) -> Item:
    return tail_item(tokens, prompt, weight, Source("f", 1))


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


@given(lengths, st.integers(64, 600), st.integers(0, 40), st.sampled_from(["tree", "rows"]), st.booleans())
def test_micro_batches_respect_the_budget(sizes, budget, common, how, share):
    """Nothing is lost, and no pass but that of a single row computes more tokens than allowed."""
    items = [row([9] * common + [i] + [5] * size, common + 1) for i, size in enumerate(sizes)]
    parts = micro_batches(items, budget, how=how, share=share)
    assert sorted(item.tokens for part in parts for item in part) == sorted(common + 1 + size for size in sizes)
    for part in parts:
        assert len(part) == 1 or collate(part, how=how, share=share).tokens_RT.numel() <= budget


def test_packed_passes_of_a_step_come_out_even():
    items = [row([i] * 50, 10) for i in range(12)]
    assert [len(part) for part in micro_batches(items, 550, how="tree")] == [6, 6]


def test_an_items_sequences_stay_together():
    items = [
        Item(row([1] * 20 + [i], 5).sequences + row([1] * 20 + [i + 50], 5).sequences, 1.0, Source("f", i))
        for i in range(9)
    ]
    parts = micro_batches(items, 60, trained=2, how="rows")
    assert sum(len(part) for part in parts) == 9
    assert max(len(part) for part in parts) == 1
    batch = collate(items[:2], trained=2, how="tree")
    assert batch.sequences == 4
    assert collate(items[:2], trained=1, how="tree").sequences == 2


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
