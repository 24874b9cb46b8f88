"""Grouped attention is eager attention, with and without a shared prefix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.models import attention
from burnish.models.attention import grouped_attention, supports_prefix
from burnish.models.softmax import attention_weights
from tiny import tiny_model
from tiny_families import TINY


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    group=st.sampled_from([1, 2, 4]),
    length=st.integers(1, 6),
    prefix=st.integers(0, 5),
    seed=st.integers(0, 99),
    tile=st.integers(1, 400),
    gradients=st.booleans(),
    own_masks=st.booleans(),
)
def test_equals_plain_softmax_over_prefix_and_own(
    batch, kv_heads, group, length, prefix, seed, tile, gradients, own_masks
):
    """With gradients at once, without them in tiles of any size; one mask for all rows, or one each."""
    generator = torch.Generator().manual_seed(seed)
    heads, width = kv_heads * group, 8
    query = torch.randn(batch, heads, length, width, generator=generator)
    key, value = (torch.randn(batch, kv_heads, length, width, generator=generator) for _ in range(2))
    before = [torch.randn(1, kv_heads, prefix, width, generator=generator) for _ in range(2)]
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
    if own_masks:
        mask = mask.repeat(batch, 1, 1, 1)
        mask[0, :, 1:, 0] = float("-inf")  # a padded slot that the later tokens do not see
    module = torch.nn.Module()
    module.layer_idx = 0
    module.eval()
    with torch.set_grad_enabled(gradients), pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "TILE", tile)
        ours, _ = grouped_attention(
            module, query, key, value, mask, shared_prefix=[tuple(before)] if prefix else None
        )  # fmt: skip
    keys = torch.cat([before[0].expand(batch, -1, -1, -1), key], 2).repeat_interleave(group, 1)
    values = torch.cat([before[1].expand(batch, -1, -1, -1), value], 2).repeat_interleave(group, 1)
    full = torch.cat([torch.zeros(len(mask), 1, length, prefix), mask], -1)
    plain = torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=full)
    torch.testing.assert_close(ours, plain.transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral"])
def test_whole_model_equals_sdpa(family):
    ours, theirs = tiny_model(TINY[family]), tiny_model(TINY[family], attention="sdpa")
    assert supports_prefix(ours)
    assert not supports_prefix(theirs)
    tokens = torch.arange(3, 33).view(2, 15)
    mask = torch.ones_like(tokens)
    mask[1, 10:] = 0
    a, b = (model(tokens, attention_mask=mask).logits for model in (ours, theirs))
    torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(a[1, :10], b[1, :10], rtol=1e-4, atol=1e-5)


def test_sliding_windows_keep_the_fused_kernels():
    model = tiny_model(TINY["mistral windowed"])
    assert not supports_prefix(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 31, 32, 56, 64, 399, 400, 401])
def test_weights_are_rounded_once_in_any_width(dtype, width):
    scores = torch.randn(5, 7, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    scores[..., width // 2 :: 3] = float("-inf")
    scores[..., 0] = 1.0
    expected = torch.softmax(scores.double(), dim=-1)
    found = attention_weights(scores)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-7)
