"""Attention for a GPU, on the CPU: flex attention uncompiled, whose maths is the same, and flash attention's maths.

Whether a GPU compiles it, and what it gains there, nothing here can say.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.attention.flex_attention as flex_module
from hypothesis import given, settings
from hypothesis import strategies as st
from test_token_losses import assert_same, gradients
from torch.nn.functional import scaled_dot_product_attention

from burnish.models import attention, gpu_attention, layout
from burnish.models.attention import best_way, choose_attention, way_of
from burnish.models.gpu_attention import BLOCK, Packed, Rows, block_mask, flex_works, padded_length
from burnish.models.layout import grow_tree, lay_out, seen_until, token_budget_parts, tree_mask
from burnish.models.token_losses import TokenLosses
from burnish.models.tree_attention import plan_blocks, tree_attention
from helpers_training import lora_model, rows
from helpers_training import settings as training_settings
from tiny import tiny_model
from tiny_families import TINY

# Dynamo, by which flex attention runs, looks at what it must not touch.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")

sequences = st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=24).map(tuple), min_size=1, max_size=7)


@pytest.fixture
def eager(monkeypatch):
    """Flex attention as PyTorch runs it uncompiled; it refuses gradients on a CPU though it can compute them."""
    monkeypatch.setattr(flex_module, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(flex_module, "_warn_once", lambda *arguments, **named: None)
    monkeypatch.setattr(gpu_attention, "_flex", lambda: flex_module.flex_attention)
    flex_works.cache_clear()
    yield
    flex_works.cache_clear()


def states_of(tree, heads, kv_heads, width=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    size = padded_length(len(tree.tokens))
    states = [torch.randn(1, n, size, width, generator=generator, dtype=dtype) for n in (heads, kv_heads, kv_heads)]
    upstream = torch.randn(1, size, heads, width, generator=generator, dtype=dtype)
    upstream[:, len(tree.tokens) :] = 0
    return [state.requires_grad_() for state in states], upstream


def attend(states, upstream, plan, size, window=None):
    """Output and gradients at the places of real tokens."""
    module = torch.nn.Module().eval()
    out, _ = gpu_attention.gpu_attention(module, *states, None, 0.7, plan=plan, sliding_window=window)
    found = torch.autograd.grad(out, states, upstream)
    return [out[:, :size].detach(), *(gradient[:, :, :size] for gradient in found)]


def assert_near(found, wanted, tolerance=1e-5):
    least = 1e-2 * max(float(one.norm()) for one in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).norm()) <= tolerance * max(float(other.norm()), least)


@given(sequences, st.integers(1, 9), st.booleans(), st.integers(2, 9))
def test_a_token_is_seen_by_one_run_of_tokens(rows, least, share, longest):
    """Packing is depth first: the condition of flex attention is the tree's mask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LONGEST_NODE", longest)
        tree = grow_tree(rows, share=share, least=least)
    last, places = torch.from_numpy(seen_until(tree)), torch.arange(len(tree.tokens))
    seen = (places <= places[:, None]) & (places[:, None] < last)
    assert torch.equal(seen, tree_mask(tree, torch.zeros(1))[0, 0] == 0)


def long_rows(draw_lengths, seed):
    """Sequences of hundreds of tokens that part at random places: several blocks."""
    generator = torch.Generator().manual_seed(seed)
    stem = torch.randint(0, 50, (600,), generator=generator).tolist()
    return [(*stem[:shared], *[100 + i] * own) for i, (shared, own) in enumerate(draw_lengths)]


lengths = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 300)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(lengths, st.one_of(st.none(), st.integers(1, 700)), st.integers(0, 99))
def test_blocks_that_are_passed_over_hold_nothing_and_whole_ones_everything(drawn, window, seed):
    tree = grow_tree(long_rows(drawn, seed))
    mask = block_mask(tree, "cpu", window)
    size, full = len(tree.tokens), padded_length(len(tree.tokens))
    seen = torch.eye(full, dtype=torch.bool)
    seen[:size, :size] = tree_mask(tree, torch.zeros(1), window)[0, 0] == 0
    count = full // BLOCK
    blocks = seen.view(count, BLOCK, count, BLOCK).transpose(1, 2).flatten(2)

    def listed(numbers, indices):
        chosen = torch.zeros(count, count, dtype=torch.bool)
        for row in range(count):
            chosen[row, indices[0, 0, row, : numbers[0, 0, row]].long()] = True
        return chosen

    every = listed(mask.full_kv_num_blocks, mask.full_kv_indices)
    some = listed(mask.kv_num_blocks, mask.kv_indices)
    assert not (every & some).any()
    assert bool(blocks[every].all())
    assert not blocks[~(every | some)].any()
    if window is None:  # and no more work than there is
        assert torch.equal(every, blocks.all(-1))
        assert torch.equal(every | some, blocks.any(-1))


@pytest.mark.usefixtures("eager")
@settings(max_examples=15)
@given(lengths, st.sampled_from([(2, 2), (6, 2), (4, 1)]), st.integers(0, 99))
def test_flex_attention_equals_tree_attention_with_gradients(drawn, heads, seed):
    tree = grow_tree(long_rows(drawn, seed))
    size = len(tree.tokens)
    states, upstream = states_of(tree, *heads, seed=seed)
    found = attend(states, upstream, Packed({None: block_mask(tree, "cpu")}), size)
    short = [state.detach()[:, :, :size].requires_grad_() for state in states]
    out = tree_attention(*short, plan_blocks(tree, heads[0], short[0]), 0.7)
    assert_near(found, [out.detach(), *torch.autograd.grad(out, short, upstream[:, :size])])


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("window", [None, 1, 50, 130, 5000])
def test_flex_attention_is_each_sequences_own_attention(window):
    """Plain attention row by row, in float64."""
    given = long_rows([(300, 20), (300, 90), (150, 200), (0, 7)], 1)
    tree = grow_tree(given)
    states, upstream = states_of(tree, 4, 2, dtype=torch.float64)
    found = attend(states, upstream, Packed({window: block_mask(tree, "cpu", window)}), len(tree.tokens), window)
    wanted = [torch.zeros_like(found[0]), *(torch.zeros_like(gradient) for gradient in found[1:])]
    for path in tree.paths:
        places = torch.tensor([p for i in path for p in range(tree.nodes[i].start, tree.nodes[i].end)])
        own = [state.detach()[:, :, places].requires_grad_() for state in states]
        near = torch.ones(len(places), len(places), dtype=torch.bool).tril()
        if window is not None:
            near &= ~near.tril(-window)
        out = scaled_dot_product_attention(*own, attn_mask=near, scale=0.7, enable_gqa=True).transpose(1, 2)
        wanted[0][:, places] = out.detach()
        # Each token's upstream gradient counts in one of the sequences that pass through it.
        counts = torch.tensor(
            [
                sum(i in other for other in tree.paths)
                for i in path
                for _ in range(tree.nodes[i].start, tree.nodes[i].end)
            ]
        )
        partial = torch.autograd.grad(out, own, upstream[:, places] / counts[None, :, None, None])
        for total, part in zip(wanted[1:], partial, strict=True):
            total[:, :, places] += part
    assert_near(found, wanted, 1e-10)


@pytest.mark.parametrize("heads", [(2, 2), (6, 2)])
def test_rows_are_causal_attention(heads):
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(3, n, 11, 8, generator=generator) for n in (heads[0], heads[1], heads[1]))
    module = torch.nn.Module().eval()
    # Whatever the mask says: it is there to keep transformers from making one.
    out, _ = gpu_attention.gpu_attention(module, query, key, value, torch.zeros(1, 1, 1, 1), plan=Rows())
    group = heads[0] // heads[1]
    scores = query @ key.repeat_interleave(group, 1).transpose(2, 3) / 8**0.5
    scores += torch.full((11, 11), float("-inf")).triu(1)
    wanted = scores.softmax(-1) @ value.repeat_interleave(group, 1)
    torch.testing.assert_close(out, wanted.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.fixture
def passes(monkeypatch):
    """The plans that attention was given."""
    seen = []
    real = gpu_attention.gpu_attention

    def watched(*arguments, plan=None, **named):
        seen.append(type(plan).__name__)
        return real(*arguments, plan=plan, **named)

    monkeypatch.setattr(attention, "gpu_attention", watched)
    return seen


def other_way(model, way):
    model = copy.deepcopy(model)
    choose_attention(model.base_model.model, "cpu", way=way)
    return model


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral windowed", "smollm3", "granite"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_whole_models_have_the_same_losses_and_gradients(passes, family, checkpointing):
    """Every way to compute attention, in fused layers and in the model's own."""
    from test_fused_layers import adapted

    plain = adapted(TINY[family], "sdpa")
    _, chat = lora_model(training_settings())
    items = rows(chat, 6)
    wanted = gradients(plain, items, share=False)
    assert not passes
    for way, plans in (("flex", {"Packed"}), ("blocks", {"NoneType"} if "windowed" in family else {"Plan"})):
        model = other_way(plain, way)
        if checkpointing:
            model.activation_checkpointing_enable()
        passes.clear()
        assert_same(gradients(model, items, share=True), wanted)
        assert set(passes) - {"NoneType"} == plans - {"NoneType"}


@pytest.mark.usefixtures("eager")
def test_rows_without_padding_take_flash_attention(passes):
    model, chat = lora_model(training_settings(), attention="sdpa")
    model.train()
    items = [rows(chat, 6)[i] for i in (0, 4)]
    flex = other_way(model, "flex")
    assert_same(gradients(flex, items[:1], share=True), gradients(model, items[:1], share=False))
    assert set(passes) == {"NoneType", "Rows"}  # None: the trial passes of TokenLosses


def test_windows_that_are_longer_than_the_rows_hide_nothing(passes):
    model = tiny_model(TINY["mistral windowed"], "sdpa")
    choose_attention(model, "cpu", way="flex")
    losses = TokenLosses(model)
    passes.clear()
    row = layout.Labelled((3, 4, 5, 6), (layout.Span(1, 4),))
    long = layout.Labelled(tuple(range(3, 20)), (layout.Span(1, 17),))
    for one, plan in ((row, "Rows"), (long, "NoneType")):
        passes.clear()
        losses(lay_out([one], how="packed"))
        assert set(passes) == {plan}


@pytest.mark.usefixtures("eager")
def test_the_trial_finds_what_is_wrong(monkeypatch, caplog):
    assert flex_works("cpu", torch.float32, 4, 2, 8)
    assert flex_works("cpu", torch.bfloat16, 4, 2, 8)
    real = flex_module.flex_attention
    for wrong, words in (
        (lambda *states, scale, **rest: real(*states, scale=scale * 1.1, **rest), "off by"),
        (lambda *states, block_mask, **rest: real(*states, **rest), "off by"),
        (lambda *states, **rest: 1 / 0, "ZeroDivisionError"),
    ):
        flex_works.cache_clear()
        caplog.clear()
        monkeypatch.setattr(gpu_attention, "_flex", lambda wrong=wrong: wrong)
        assert not flex_works("cpu", torch.float32, 4, 2, 8)
        assert not flex_works("cpu", torch.float32, 4, 2, 8)
        lines = [record.message for record in caplog.records if record.name == "burnish"]
        assert [words in line for line in lines] == [True]


def test_where_flex_attention_does_not_work_packed_trees_go_in_blocks(passes, monkeypatch):
    from burnish.models import token_losses

    monkeypatch.setattr(token_losses, "flex_works", lambda *about: False)
    model, chat = lora_model(training_settings(), attention="sdpa")
    model.train()
    items = rows(chat, 6)
    assert_same(gradients(other_way(model, "flex"), items, share=True), gradients(model, items, share=False))
    assert "Plan" in passes


def test_the_way_follows_from_device_and_model():
    for family, device, way in (
        ("llama", "cpu", "grouped"),
        ("llama", "cuda", "flex"),
        ("llama", "mps", "sdpa"),
        ("mistral windowed", "cpu", "sdpa"),
        ("mistral windowed", "cuda", "flex"),
        ("gemma3", "cuda", "sdpa"),
        ("gpt2", "cpu", "sdpa"),
    ):
        assert best_way(TINY[family], device) == way
    dropping = copy.deepcopy(TINY["llama"])
    dropping.attention_dropout = 0.1
    assert best_way(dropping, "cuda") == "sdpa"
    model = tiny_model(attention="sdpa")
    assert way_of(model) == "sdpa"
    choose_attention(model, "cuda")
    assert way_of(model) == "flex"
    assert TokenLosses(model).how == "packed"


def test_packed_only_where_it_saves_a_tenth_of_the_places():
    def sequence(*tokens):
        return layout.Labelled(tokens, (layout.Span(1, len(tokens)),))

    stem = tuple(range(20))
    alike = [sequence(*stem, 100 + i) for i in range(3)]
    apart = [sequence(*[i] * 20) for i in range(3)]
    ragged = [sequence(*[i] * (20 - 6 * i)) for i in range(3)]
    assert lay_out(alike, how="packed").tree is not None
    assert lay_out(apart, how="packed").tree is None
    assert lay_out(ragged, how="packed").tree is not None
    assert lay_out(ragged, how="packed", share=False).tree is not None
    assert sum(map(len, token_budget_parts([[one] for one in alike], 40, how="packed"))) == 3
