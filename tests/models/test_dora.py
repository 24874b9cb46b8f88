"""DoRA as one operation against peft's own, and the norms that it divides by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from test_fused_layers import TOKENS, outcome, unfused

from burnish.models import dora as dora_module
from burnish.models.adapters import attach_adapter
from burnish.models.dora import RowNorms, scaled
from burnish.models.lora_linear import fuse_lora
from tiny import tiny_model
from tiny_families import TINY


def adapted(family="llama", dtype=torch.float32, **options):
    """A model whose matrices and magnitudes are away from their beginning."""
    model = attach_adapter(
        tiny_model(TINY[family], "eager", dtype=dtype), method="dora", r=4, alpha=8, seed=1, **options
    )
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=draw)
            if "magnitude" in name:
                parameter.mul_(torch.empty_like(parameter).uniform_(0.5, 1.5, generator=draw))
            if "bias" in name:
                parameter.normal_(generator=draw)
    return model.train()


def far(found, wanted):
    """Distance of all gradients together, relative to the wanted ones'."""
    assert found.keys() == wanted.keys()
    apart = sum(float((found[name].double() - grad.double()).square().sum()) for name, grad in wanted.items())
    return (apart / sum(float(grad.double().square().sum()) for grad in wanted.values())) ** 0.5


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "llama with biases", "qwen3", "phi3", "gemma3"])
def test_oracle_peft(family, checkpointing):
    model = adapted(family)
    if checkpointing:
        model.activation_checkpointing_enable()
    found, wanted = outcome(model), outcome(unfused(model))
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert far(found[1], wanted[1]) < 1e-5
    assert sum("magnitude" in name for name in wanted[1]) >= 3 * 4


def test_bfloat16_is_as_near_to_exact_numbers_as_peft_which_computes_in_float32():
    ours = theirs = 0.0
    for family in ("llama", "llama with biases", "qwen3"):
        model = adapted(family, torch.bfloat16)
        exact = outcome(unfused(model).double())
        for name, each in (("ours", model), ("theirs", unfused(model))):
            logits, gradients = outcome(each)
            error = float((logits.double() - exact[0]).norm() / exact[0].norm()) + far(gradients, exact[1])
            ours, theirs = (ours + error, theirs) if name == "ours" else (ours, theirs + error)
    assert ours < 1.3 * theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_begins_as_the_base(dtype):
    """peft rounds magnitudes to the weights' format."""
    model = attach_adapter(tiny_model(TINY["llama"], "eager", dtype=dtype), method="dora", seed=1)
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    norms = torch.linalg.vector_norm(layer.base_layer.weight.double(), dim=1)
    torch.testing.assert_close(layer.lora_magnitude_vector["default"].weight.double(), norms, rtol=1e-6, atol=0)
    with torch.no_grad():
        x = torch.randn(5, layer.in_features).to(dtype)
        assert torch.equal(layer(x), layer.base_layer(x))


def test_dropout_leaves_the_layers_own_product_whole():
    model = adapted(dropout=0.5)
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    x = torch.randn(400, layer.in_features)
    with torch.no_grad():
        torch.manual_seed(0)
        mean = torch.stack([layer(x[:1]) for _ in range(4000)]).mean(0)
        expected = layer.eval()(x[:1])
        torch.testing.assert_close(mean, expected, rtol=0.05, atol=0.05)
        layer.train()
        layer.lora_B["default"].weight.zero_()
        torch.testing.assert_close(layer(x), layer.eval()(x))


@given(
    st.integers(1, 9), st.integers(1, 12), st.integers(1, 4), st.floats(-4, 4), st.floats(0, 3), st.integers(0, 99)
)
def test_norms_are_those_of_the_sum(outputs, inputs, r, scale, size, seed):
    draw = torch.Generator().manual_seed(seed)
    weight, down, up = (
        torch.randn(shape, generator=draw, dtype=torch.float64)
        for shape in ((outputs, inputs), (r, inputs), (outputs, r))
    )
    found = RowNorms().of(weight, down, up * size, scale, lambda rows: rows @ weight.t())
    torch.testing.assert_close(
        found, torch.linalg.norm(weight + scale * size * up @ down, dim=1), rtol=1e-6, atol=1e-6
    )


def test_norms_of_bfloat16_weights_are_closer_than_their_format():
    draw = torch.Generator().manual_seed(0)
    weight, down, up = (
        torch.randn(shape, generator=draw) * by for shape, by in (((64, 96), 1.0), ((8, 96), 0.1), ((64, 8), 0.3))
    )
    weight, down, up = (each.bfloat16() for each in (weight, down, up))
    found = RowNorms().of(weight, down.float(), up.float(), 2.0, lambda rows: rows @ weight.t())
    exact = torch.linalg.norm(weight.double() + 2 * up.double() @ down.double(), dim=1)
    assert ((found.double() - exact).abs() / exact).max() < 2**-11
    rounded = exact.bfloat16().double()
    assert ((rounded - exact).abs() / exact).max() > 2**-10


def test_norms_stay_between_passes_that_train(monkeypatch):
    model = adapted()
    made = []
    real = dora_module.RowNorms._now
    monkeypatch.setattr(dora_module.RowNorms, "_now", lambda self, *given: made.append(1) or real(self, *given))
    layers = 3 * 7

    def logits():
        with torch.no_grad():
            return model(TOKENS).logits

    model.eval()
    first = logits()
    assert (torch.equal(first, logits()), len(made)) == (True, layers)
    model.train()
    outcome(model)
    outcome(model)
    assert len(made) == 3 * layers
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.mul_(2)  # as 8-bit optimizers write: no version tells of it
    model.eval()
    torch.testing.assert_close(logits(), unfused(model)(TOKENS).logits.detach(), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        model.base_model.model.model.layers[1].mlp.down_proj.lora_A["default"].weight.mul_(3)
    torch.testing.assert_close(logits(), unfused(model)(TOKENS).logits.detach(), rtol=1e-5, atol=1e-5)


def test_an_adapter_that_comes_later():
    """As one that is loaded beside a LoRA adapter and made the active one."""
    model = attach_adapter(tiny_model(TINY["llama"], "eager"), r=4, alpha=8, seed=1)
    model.add_adapter("later", LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_dora=True))
    model.set_adapter("later")
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "magnitude" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    for active in ("later", "default", "later"):
        model.set_adapter(active)
        found, wanted = outcome(model), outcome(unfused(model))
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
        assert far(found[1], wanted[1]) < 1e-5


def test_rows_and_magnitudes_of_zero_are_no_nan():
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(12, 5, bias=False))
    base[0].weight.data[2] = 0
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["0"], use_dora=True, init_lora_weights=False))
    magnitude = model.base_model.model[0].lora_magnitude_vector["default"].weight
    magnitude.data[2:4] = 0
    assert fuse_lora(model) == 1
    model.base_model.model[0].lora_B["default"].weight.data[2] = 0
    out = model(torch.randn(4, 12))
    out.square().sum().backward()
    assert torch.equal(out[:, 2:4], torch.zeros(4, 2))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_a_sum_is_rounded_once():
    """Of a layer whose outputs are as large as what they are added to."""
    draw = torch.Generator().manual_seed(0)
    outputs, residual = (torch.randn(64, 256, generator=draw).mul(50).bfloat16() for _ in range(2))
    magnitude, norm = torch.rand(256, generator=draw) + 0.5, torch.ones(256)
    out, _ = scaled(outputs.clone(), magnitude, norm, None, residual)
    exact = outputs.double() * magnitude.double() + residual.double()
    once = (exact.bfloat16().double() - exact).square().mean()
    assert (out.double() - exact).square().mean() < 1.05 * once
