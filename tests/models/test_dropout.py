"""Dropout of LoRA in fused layers: the masks themselves, and with a given mask what peft computes with it."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from burnish.models import dropout as dropout_module
from burnish.models.adapters import attach_adapter
from burnish.models.dropout import drawn, probability, without
from burnish.models.quantised import is_quantised
from tiny import tiny_for, tiny_model
from tiny_families import TINY

TOKENS = torch.randint(3, 304, (2, 19), generator=torch.Generator().manual_seed(2))
P = 0.25


def mask(rows, p):
    """The same for every tensor of a shape."""
    draw = torch.Generator().manual_seed(rows.shape[-1])
    return (torch.rand(rows.shape, generator=draw) >= p).to(torch.int8)


class Given(torch.nn.Module):
    """Dropout by the mask above, for peft's own layers."""

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        return (rows * mask(rows, P) / (1 - P)).view(x.shape)


def adapted(method="lora", family="llama"):
    model = tiny_for("qlora")[0].model if method == "qlora" else tiny_model(TINY[family], "eager")
    model = attach_adapter(model, method=method, r=4, alpha=8, seed=1, dropout=P)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


def by_peft(model):
    """As peft computes it, with the given masks."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "lora_dropout") or not is_quantised(module):  # those are as bitsandbytes should have them
            module.__dict__.pop("forward", None)
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = Given()
    return model


def outcome(model):
    model.zero_grad(set_to_none=True)
    logits = model(TOKENS).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS.flatten()).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("method", "family"), [("lora", "llama"), ("lora", "qwen3"), ("lora", "phi3"), ("qlora", "")]
)
def test_oracle_peft_with_the_same_masks(monkeypatch, method, family, checkpointing):
    model = adapted(method, family)
    assert any("forward" in vars(module) for module in model.modules() if hasattr(module, "lora_dropout"))
    wanted = outcome(by_peft(model))
    for module in ("lora_linear", "quantised"):
        monkeypatch.setattr(f"burnish.models.{module}.drawn", mask)
    if checkpointing:
        model.activation_checkpointing_enable()
    found = outcome(model)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_nothing_is_left_out_unless_the_model_trains(method):
    model = adapted(method)
    first, second = (model(TOKENS).logits for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)
    model.eval()
    plain = by_peft(model)
    for module in plain.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = torch.nn.Identity()
    torch.testing.assert_close(model(TOKENS).logits, plain(TOKENS).logits, rtol=1e-5, atol=1e-5)
    model.train()
    assert not torch.allclose(model(TOKENS).logits, plain(TOKENS).logits, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_recomputed_layers_leave_out_what_they_left_out(method):
    model = adapted(method)
    torch.manual_seed(3)
    wanted = outcome(model)
    model.activation_checkpointing_enable()
    torch.manual_seed(3)
    found = outcome(model)
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_each_number_is_left_out_with_its_probability_and_by_itself(p):
    torch.manual_seed(0)
    kept = drawn(torch.empty(400, 1000), p).double()
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    off = 4 * (p * (1 - p)) ** 0.5  # four standard errors of one number
    left = 1 - kept
    assert abs(left.mean() - p) < off / left.numel() ** 0.5
    assert (left.mean(0) - p).abs().max() < 1.5 * off / 400**0.5
    flat = (left - p).flatten()
    for lag in (1, 2, 3, 4, 1000):
        together = (flat[:-lag] * flat[lag:]).mean() / (p * (1 - p))
        assert abs(together) < 4 / len(flat) ** 0.5, lag
    torch.manual_seed(0)
    assert torch.equal(drawn(torch.empty(400, 1000), p).double(), kept)


@given(st.integers(0, 9), st.integers(1, 9), st.floats(0.01, 0.99))
def test_masks_of_any_shape(rows, width, p):
    states = torch.ones(rows, width)
    kept = drawn(states, p)
    assert (kept.shape, kept.dtype) == (states.shape, torch.int8)
    assert torch.equal(without(states, kept), kept.float())
    assert without(states, None) is states


def test_what_stands_in_dropouts_place():
    class Layer:
        def __init__(self, module):
            self.lora_dropout = {"default": module}

    modules = [torch.nn.Identity(), torch.nn.Dropout(0.25), torch.nn.AlphaDropout(0.25)]
    modules += [torch.nn.Dropout(1.0), torch.nn.Dropout(1 - 1e-9), torch.nn.Dropout(1e-9)]
    assert [probability(Layer(module), "default") for module in modules] == [0.0, 0.25, None, None, None, 0.0]
    assert dropout_module._STEPS * probability(Layer(torch.nn.Dropout(0.1)), "default") % 1 == 0
