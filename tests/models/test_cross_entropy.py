"""Losses from hidden states against PyTorch's cross-entropy over all scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from burnish.models import cross_entropy
from burnish.models.cross_entropy import linear_cross_entropy
from burnish.models.packed import PackedWeight
from burnish.models.padding import rounded_size


def oracle(hidden, weight, targets):
    return torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="none")


def made(rows, vocabulary, seed, width=5):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    upstream = torch.randn(rows, generator=generator)
    return hidden.float(), weight.float(), targets, upstream


@given(
    rows=st.integers(1, 40),
    vocabulary=st.integers(2, 30),
    chunk=st.integers(1, 400),
    trained=st.sampled_from([(True, False), (True, True), (False, True)]),
    seed=st.integers(0, 1000),
)
def test_oracle_losses_and_gradients(rows, vocabulary, chunk, trained, seed):
    """Whatever the size of a chunk, and whichever of hidden states and head is trained."""
    hidden, weight, targets, upstream = made(rows, vocabulary, seed)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "CHUNK_ELEMENTS", chunk)
        for function in (linear_cross_entropy, oracle):
            h, w = (t.clone().requires_grad_(on) for t, on in zip((hidden, weight), trained, strict=True))
            losses = function(h, w, targets)
            (losses * upstream).sum().backward()
            found.append((losses.detach(), h.grad, w.grad))
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_large_scores_do_not_overflow():
    hidden, weight, targets, _ = made(4, 9, 0)
    losses = linear_cross_entropy(hidden * 1e4, weight, targets)
    torch.testing.assert_close(losses, oracle(hidden * 1e4, weight, targets))
    assert bool(losses.isfinite().all())


def test_without_gradients_nothing_is_prepared_for_them():
    hidden, weight, targets, _ = made(4, 9, 0)
    with torch.no_grad():
        losses = linear_cross_entropy(hidden, weight, targets)
    assert losses.grad_fn is None
    torch.testing.assert_close(losses, oracle(hidden, weight, targets))


def test_bfloat16_takes_its_sums_in_float32():
    hidden, weight, targets, _ = made(8, 3000, 0)
    half = hidden.bfloat16().requires_grad_()
    losses = linear_cross_entropy(half, weight.bfloat16(), targets)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    expected = oracle(hidden.bfloat16().float(), weight.bfloat16().float(), targets)
    torch.testing.assert_close(losses, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("rows", [1, 8, 37, 100])
def test_frozen_heads_multiply_parts_of_few_sizes(rows, monkeypatch):
    """Rows are added for it that no loss and no gradient shows."""
    hidden, weight, targets, upstream = made(rows, 1100, 0, width=64)
    monkeypatch.setattr(cross_entropy, "CHUNK_ELEMENTS", 44 * 1100)
    sizes = []

    class Watched(PackedWeight):
        def times(self, rows, *rest):
            sizes.append(len(rows))
            return super().times(rows, *rest)

    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    losses = linear_cross_entropy(ours, weight, targets, Watched())
    (losses * upstream).sum().backward()
    expected = oracle(theirs, weight, targets)
    (expected * upstream).sum().backward()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    assert len(set(sizes)) == 1
    assert rounded_size(sizes[0]) == sizes[0]
    assert sum(sizes) < rows + 8 * len(sizes)


@given(st.integers(0, 10**6))
def test_rounded_sizes_are_few_and_near(rows):
    size = rounded_size(rows)
    assert rounded_size(size) == size
    assert rows <= size <= max(rows + 7, rows * 17 / 16)
    assert rounded_size(rows + 1) >= size


def test_sixteen_sizes_between_powers_of_two():
    assert len({rounded_size(rows) for rows in range(513, 1025)}) == 16
