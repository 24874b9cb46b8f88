"""Prefix and prompt tuning give what peft's own forward gives, and can go on from a cache."""

from __future__ import annotations

import pytest
import torch

from burnish.errors import ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.attention import supports_prefix
from burnish.models.generate import Engine, Request
from burnish.models.layout import Labelled, Span, lay_out
from burnish.models.token_losses import TokenLosses
from burnish.models.virtual_tokens import virtual_tokens
from tiny import tiny_loaded, tiny_model
from tiny_families import TINY

METHODS = ("prefix_tuning", "prompt_tuning")
VIRTUAL = 5
ROWS = torch.stack([torch.arange(5, 25), torch.arange(40, 60)])


def attached(method, model=None):
    return attach_adapter(model or tiny_model(), method=method, virtual_tokens=VIRTUAL, seed=2)


def by_peft(model, tokens):
    """peft's own forward: the scores of the real tokens."""
    ours = vars(model).pop("forward")
    try:
        return model(tokens).logits[:, -tokens.shape[1] :]
    finally:
        model.forward = ours


def with_gradient(model, scores):
    model.zero_grad()
    scores.square().mean().backward()
    [(_, parameter)] = [pair for pair in model.named_parameters() if pair[1].requires_grad]
    return scores.detach(), parameter.grad.clone()


@pytest.mark.parametrize("method", METHODS)
def test_scores_and_gradients_are_those_of_peft(method):
    model = attached(method)
    expected, gradient = with_gradient(model, by_peft(model, ROWS))
    ours, our_gradient = with_gradient(model, model(ROWS, use_cache=False).logits)
    assert ours.shape == (2, 20, 304)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(our_gradient, gradient)
    assert not torch.allclose(ours, tiny_model()(ROWS).logits, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_positions_from_outside_begin_at_zero(method):
    model = attached(method)
    expected = by_peft(model, ROWS)
    places = torch.arange(20)[None]
    torch.testing.assert_close(model(ROWS, position_ids=places, use_cache=False).logits, expected)
    later = model(ROWS, position_ids=places + 1, use_cache=False).logits
    assert not torch.allclose(later, expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_a_row_can_be_read_in_parts_and_padded_on_the_left(method):
    from transformers import DynamicCache

    model = attached(method)
    expected = by_peft(model, ROWS[:1])
    cache = DynamicCache(config=model.config)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ROWS[:1, :12]], dim=1)
    mask = torch.tensor([[0] * 3 + [1] * 12])
    places = torch.tensor([[0] * 3 + list(range(12))])
    first = model(padded, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
    mask = torch.cat([mask, torch.ones(1, 8, dtype=torch.long)], dim=1)
    places = torch.arange(12, 20)[None]
    second = model(ROWS[:1, 12:], attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
    torch.testing.assert_close(first.logits[:, 3:], expected[:, :12])
    torch.testing.assert_close(second.logits, expected[:, 12:])


def as_rows_and_packed(model, losses, items):
    """Losses and gradient of rows, which must be those of the packed tree."""
    by_row, packed = (losses(lay_out(items, how=how, device="cpu")) for how in ("rows", "masked"))
    left, right = (with_gradient(model, found)[1] for found in (by_row, packed))
    torch.testing.assert_close(packed.sort().values, by_row.sort().values)
    torch.testing.assert_close(right, left)
    return by_row, left


@pytest.mark.parametrize("method", METHODS)
def test_a_packed_tree_gives_what_rows_give(method):
    model = attached(method)
    losses = TokenLosses(model)
    assert losses.how == "masked"
    shared = tuple(range(60, 72))
    items = [Labelled((*shared, *range(5, 5 + n)), (Span(12, 12 + n),)) for n in (3, 9, 6)]
    by_row, _ = as_rows_and_packed(model, losses, items)
    expected = []
    for item in items:
        logprobs = by_peft(model, torch.tensor([item.tokens]))[0].log_softmax(-1).detach()
        expected += [-float(logprobs[i - 1, item.tokens[i]]) for i in range(12, len(item.tokens))]
    torch.testing.assert_close(by_row.detach().sort().values, torch.tensor(sorted(expected)))


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_the_engine_answers_as_a_loop_over_peft_does(method):
    loaded, chat = tiny_loaded()
    model = attached(method, loaded.model)
    engine = Engine(loaded._replace(model=model), chat)
    assert not supports_prefix(model)
    assert engine.context == 512 - VIRTUAL
    shared = tuple(range(60, 72))
    prompts = [(*shared, *range(5, 5 + n)) for n in (3, 9, 6)]
    answers = engine.generate([Request(prompt, 8) for prompt in prompts])
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = list(prompt)
        for token in answer.tokens:
            tokens.append(int(by_peft(model, torch.tensor([tokens]))[0, -1].argmax()))
            assert tokens[-1] == token


@pytest.mark.parametrize("family", ["mistral windowed", "gemma3"])
@pytest.mark.parametrize("method", METHODS)
def test_beyond_a_window_too_every_token_sees_the_virtual_ones(method, family):
    """Rows of 21 to 27 tokens in windows of 7 and 9: as rows, packed, and answered from a cache, it is the same."""
    loaded, chat = tiny_loaded(config=TINY[family])
    model = attached(method, loaded.model)
    losses = TokenLosses(model)
    shared = tuple(range(60, 78))
    items = [Labelled((*shared, *range(5, 5 + n)), (Span(18, 18 + n),)) for n in (3, 9, 6)]
    _, gradient = as_rows_and_packed(model, losses, items)
    assert gradient.abs().min(dim=1).values.min() > 0  # each of the virtual tokens is seen
    with torch.no_grad():
        for item, answer in zip(items, answers_of(loaded, model, chat, items), strict=True):
            tokens = list(item.tokens)
            for token in answer.tokens:
                tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
                assert tokens[-1] == token


def answers_of(loaded, model, chat, items):
    return Engine(loaded._replace(model=model), chat).generate([Request(item.tokens, 8) for item in items])


@pytest.mark.parametrize("method", METHODS)
def test_states_have_no_place_for_them(method):
    with pytest.raises(ModelError, match="virtual tokens have no place") as error:
        attached(method, tiny_model(TINY["qwen3_5"]))
    assert error.value.got == "qwen3_5_text"


@torch.no_grad()
def test_a_prefix_begins_as_words_in_front_of_the_row():
    model = attached("prefix_tuning")
    # Which words they are is read off the first layer's values.
    first = model.get_prompt(batch_size=1).layers[0].values[0].transpose(0, 1).flatten(1)
    base = tiny_model()
    layer = base.model.layers[0]
    values = layer.self_attn.v_proj(layer.input_layernorm(base.model.embed_tokens.weight))
    words = torch.stack([((values - row) ** 2).sum(-1).argmin() for row in first])[None]
    expected = base(torch.cat([words, ROWS[:1]], dim=1)).logits[:, VIRTUAL:]
    torch.testing.assert_close(model(ROWS[:1]).logits, expected)


@torch.no_grad()
def test_a_prompt_begins_as_words_in_front_of_the_row():
    model = attached("prompt_tuning")
    base = tiny_model()
    table = base.model.embed_tokens.weight
    words = torch.stack([((table - row) ** 2).sum(-1).argmin() for row in model.get_prompt(batch_size=1)[0]])[None]
    expected = base(torch.cat([words, ROWS[:1]], dim=1)).logits[:, VIRTUAL:]
    torch.testing.assert_close(model(ROWS[:1]).logits, expected)


def test_other_methods_have_none():
    assert virtual_tokens(tiny_model()) == 0
    assert virtual_tokens(attach_adapter(tiny_model(), r=4)) == 0
