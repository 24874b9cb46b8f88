"""The fused LoRA layer against peft's own."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from burnish.models.lora_linear import Layer, fuse_lora, grouped, project
from burnish.models.packed import PackedWeight


class Small(torch.nn.Module):
    def __init__(self, bias=False):
        super().__init__()
        self.first = torch.nn.Linear(12, 20, bias=bias)
        self.second = torch.nn.Linear(20, 8, bias=bias)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def pair(bias=False, dtype=torch.float32, **options):
    """The same model twice: fused, and as peft has it."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second"], **options)
    model = get_peft_model(Small(bias).to(dtype), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return copy.deepcopy(model), model


def outcome(model, x):
    x = x.clone().requires_grad_()
    out = model(x)
    out.float().square().sum().backward()
    return out.detach(), {"x": x.grad} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(12,), (7, 12), (3, 5, 12)])
def test_oracle_peft_outputs_and_gradients(bias, shape, dora):
    ours, theirs = pair(bias, use_dora=dora)
    assert fuse_lora(ours) == 2
    x = torch.randn(shape)
    (out, found), (expected, wanted) = outcome(ours, x), outcome(theirs, x)
    expected = expected.view_as(out)  # of a single row peft's DoRA makes a matrix
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_bfloat16_base_keeps_float32_adapters_and_comes_close():
    ours, theirs = pair(dtype=torch.bfloat16)
    assert fuse_lora(ours) == 2
    x = torch.randn(6, 12).bfloat16()
    (out, found), (expected, wanted) = outcome(ours, x), outcome(theirs, x)
    assert out.dtype == torch.bfloat16
    assert {name: gradient.dtype for name, gradient in found.items()} == {n: g.dtype for n, g in wanted.items()}
    torch.testing.assert_close(out, expected, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("large", ["weight", "residual"])
def test_what_lora_adds_to_is_rounded_once(large, packed):
    """It is small beside a layer, and a layer beside the residual of a deep model: two roundings add up."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape, scale=1.0):
        return (torch.randn(shape, generator=draw) * scale).bfloat16()

    base = torch.nn.Linear(256, 256, bias=False).to(torch.bfloat16).requires_grad_(False)
    base.weight.copy_(drawn(256, 256, scale=(50.0 if large == "weight" else 1.0) / 16))
    layer = Layer(
        base.weight, None, drawn(8, 256, scale=0.05), drawn(256, 8), 2.0, PackedWeight() if packed else None
    )
    rows, residual = drawn(64, 256), drawn(64, 256, scale=50.0) if large == "residual" else None
    with torch.no_grad():
        (out,), _ = project(rows, grouped(layer), residual)
    x, a, b = (tensor.double() for tensor in (rows, layer.lora_a, layer.lora_b))
    exact = x @ base.weight.double().t() + 2 * (x @ a.t()) @ b.t() + (0 if residual is None else residual.double())
    once = (exact.bfloat16().double() - exact).square().mean()
    assert (out.double() - exact).square().mean() < 1.2 * once


def test_other_kinds_of_layers_are_left_alone():
    model, _ = pair(bias=True, lora_bias=True)
    assert fuse_lora(model) == 0


def test_switched_off_and_merged_adapters_do_what_peft_does():
    ours, theirs = pair()
    fuse_lora(ours)
    x = torch.randn(5, 12)
    with ours.disable_adapter(), theirs.disable_adapter():
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours(x), ours.base_model.model.second.base_layer(torch.tanh(first(ours, x))))
    ours.merge_adapter()
    theirs.merge_adapter()
    torch.testing.assert_close(ours(x), theirs(x))


def first(model, x):
    return model.base_model.model.first.base_layer(x)
