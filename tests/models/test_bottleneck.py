"""Bottleneck adapters stand behind attention and feed-forward of every decoder layer, in any family."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from burnish.errors import ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.bottleneck import NAME, Bottleneck, bottleneck_tensors
from burnish.models.generate import Engine, Request
from tiny import tiny_loaded, tiny_model
from tiny_families import TINY

TOKENS = torch.arange(5, 25)[None]
PLACES = {
    "llama": {"self_attn", "mlp"},
    "gpt2": {"attn", "mlp"},
    "gpt_neox": {"attention", "mlp"},
    "opt": {"self_attn", "fc2"},
}


def moved(model):
    """The adapters' weights away from their start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bottleneck_tensors(model).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("family", PLACES)
def test_every_part_of_every_layer_gets_one(family):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(TINY[family]).eval()
    before = model(TOKENS).logits.detach()
    attach_adapter(model, method="bottleneck", bottleneck=8)
    found = [name.split(".")[-2] for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    assert set(found) == PLACES[family]
    assert len(found) == 2 * 3
    torch.testing.assert_close(model(TOKENS).logits, before)
    assert not torch.allclose(moved(model)(TOKENS).logits, before, atol=1e-3)


def test_it_is_in_series_and_in_front_of_the_skip_connection():
    """One Llama layer written out."""
    model = moved(attach_adapter(tiny_model(attention="eager"), method="bottleneck", bottleneck=8))
    layer = model.model.layers[0]
    hidden = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1))
    angles = model.model.rotary_emb(hidden, torch.arange(6)[None])
    attention, adapter = layer.self_attn, getattr(layer.self_attn, NAME)

    def adapted(adapter, h):
        return h + adapter.up(torch.nn.functional.gelu(adapter.down(h)))

    inner = layer.input_layernorm(hidden)
    bare = type(attention).forward(attention, inner, position_embeddings=angles, attention_mask=None)[0]
    middle = hidden + adapted(adapter, bare)
    wide = type(layer.mlp).forward(layer.mlp, layer.post_attention_layernorm(middle))
    expected = middle + adapted(getattr(layer.mlp, NAME), wide)
    found = layer(hidden, position_embeddings=angles, attention_mask=None)
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected)


def test_a_bfloat16_base_has_float32_adapters():
    model = attach_adapter(tiny_model(dtype=torch.bfloat16), method="bottleneck", bottleneck=8)
    assert {parameter.dtype for parameter in bottleneck_tensors(model).values()} == {torch.float32}
    assert model(TOKENS).logits.dtype == torch.bfloat16


@torch.no_grad()
def test_the_engine_answers_as_a_plain_loop_does():
    loaded, chat = tiny_loaded()
    model = moved(attach_adapter(loaded.model, method="bottleneck", bottleneck=8))
    prompt = tuple(range(60, 72))
    requests = [Request((*prompt, *range(5, 5 + n)), 6) for n in (3, 5)]
    for request, answer in zip(requests, Engine(loaded, chat).generate(requests), strict=True):
        tokens = list(request.tokens)
        for token in answer.tokens:
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            assert tokens[-1] == token


def test_a_model_without_decoder_layers_is_refused():
    model = tiny_model()
    model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="no decoder layers"):
        attach_adapter(model, method="bottleneck")
