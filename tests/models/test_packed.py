"""Packed weights give the products of the plain ones, and never those of weights that have changed since."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from burnish.models import packed
from burnish.models.adapters import attach_adapter
from burnish.models.cross_entropy import linear_cross_entropy
from burnish.models.layout import Labelled, Span, lay_out
from burnish.models.load import load_model, quiet_transformers
from burnish.models.packed import PackedWeight, pack_linear_layers, packed_weight, packs
from burnish.models.token_losses import TokenLosses
from tiny import save_tiny, tiny_model
from tiny_families import TINY

STARTER = "smollm2-135m-instruct"
FORMATS = [dtype for dtype in (torch.float32, torch.bfloat16) if packs(dtype)]

pytestmark = pytest.mark.skipif(not FORMATS, reason="this PyTorch has no packed products")


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch):
    monkeypatch.setattr(packed, "LEAST", 1)


def close(found, expected):
    tolerance = 2e-2 if expected.dtype == torch.bfloat16 else 1e-5
    scale = max(1e-6, float(expected.float().abs().max()))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.float() / scale, expected.float() / scale, rtol=0, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.integers(0, 40),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
    st.booleans(),
)
def test_products_are_those_of_the_plain_weight(dtype, rows, inputs, outputs, biased, added):
    torch.manual_seed(rows + 100 * inputs + 10_000 * outputs)
    x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    bias = torch.randn(outputs).to(dtype) if biased else None
    residual, back = torch.randn(rows, outputs).to(dtype), torch.randn(rows, inputs).to(dtype)
    before = residual.clone(), back.clone()
    one = PackedWeight()
    wide = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    expected = wide + residual.double() if added else wide
    expected_back = residual.double() @ weight.double() + (back.double() if added else 0)
    if rows:
        close(one.times(x, weight, bias, residual if added else None), expected.to(dtype))
        close(one.back(residual, weight, back if added else None), expected_back.to(dtype))
    else:
        assert one.times(x, weight, bias).shape == (0, outputs)
    assert torch.equal(residual, before[0])
    assert torch.equal(back, before[1])


def layer(dtype=torch.float32, bias=True):
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(48, 32, bias=bias)).to(dtype).requires_grad_(False)
    assert pack_linear_layers(made) == 1
    return made


CHANGES = {
    "copied into": lambda weight: weight.copy_(torch.randn(weight.shape)),
    "one number by way of autograd's counter": lambda weight: weight[3, 5:6].fill_(100.0),
    "merged by way of .data": lambda weight: weight.data.add_(torch.randn(weight.shape)),
    "not a number": lambda weight: weight.fill_(float("nan")),
    "an optimizer's step": lambda weight: weight.sub_(0.1 * torch.ones_like(weight)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dtype", FORMATS)
def test_changed_weights_are_packed_anew(dtype, change):
    model = layer(dtype)
    x = torch.randn(5, 48).to(dtype)
    before = model(x)
    with torch.no_grad():
        CHANGES[change](model[0].weight)
    found, expected = model(x), torch.nn.functional.linear(x, model[0].weight, model[0].bias)
    assert not torch.equal(found, before)
    torch.testing.assert_close(found, expected, rtol=3e-2, atol=3e-2, equal_nan=True)


def test_new_tensors_and_loaded_weights_count():
    model, other = layer(), layer()
    x = torch.randn(5, 48)
    model(x)
    model[0].weight = torch.nn.Parameter(torch.randn(32, 48), requires_grad=False)
    close(model(x), torch.nn.functional.linear(x, model[0].weight, model[0].bias))
    with torch.no_grad():
        other[0].weight.mul_(3)
    model.load_state_dict(other.state_dict())
    close(model(x), torch.nn.functional.linear(x, other[0].weight, other[0].bias))
    assert set(model.state_dict()) == {"0.weight", "0.bias"}


def test_gradients_reach_the_input():
    model = layer()
    plain = torch.nn.Linear(48, 32)
    plain.load_state_dict(model[0].state_dict())
    for shape in ((48,), (6, 48), (2, 3, 48)):
        found, expected = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for _ in range(2))
        for x, one in ((found.requires_grad_(), model), (expected.requires_grad_(), plain)):
            one(x).square().sum().backward()
        close(found.grad, expected.grad)
    strided = torch.randn(6, 96)[:, ::2]
    close(model(strided), plain(strided).detach())


def test_trained_weights_are_multiplied_plainly():
    model = layer()
    model.requires_grad_(True)
    x = torch.randn(5, 48)
    for _ in range(2):
        model.zero_grad()
        out = model(x)
        close(out, torch.nn.functional.linear(x, model[0].weight, model[0].bias).detach())
        out.sum().backward()
        assert model[0].weight.grad is not None
        assert model[0].bias.grad is not None
        with torch.no_grad():
            model[0].weight.sub_(model[0].weight.grad)
    assert packed_weight(model[0]) is None


def test_another_format_and_autocast_keep_their_way():
    model = layer()
    with pytest.raises(RuntimeError):  # as torch.nn.Linear has it
        model(torch.randn(2, 48).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 48)).dtype == torch.bfloat16


def test_memory_decides(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(48, 32)).requires_grad_(False)
    whole = packed.packing_limit()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert packed.packing_limit() == whole // 2
    monkeypatch.setattr(packed, "packing_limit", lambda: 2 * 48 * 32 * 4 - 1)
    assert pack_linear_layers(model) == 0
    monkeypatch.setattr(packed, "packing_limit", lambda: 2 * 48 * 32 * 4)
    assert pack_linear_layers(model) == 1
    assert pack_linear_layers(model) == 0  # done already


def test_copies_pack_for_themselves():
    model = layer()
    x = torch.randn(5, 48)
    first = model(x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(2)
        other[0].bias.mul_(2)
    close(other(x), 2 * first)
    close(model(x), first)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "bottleneck", "prefix_tuning"])
@pytest.mark.parametrize("family", ["llama", "llama with biases", "qwen3", "gemma3", "phi"])
def test_every_method_trains_alike_packed_and_plain(family, method):
    rows = [Labelled((*range(5, 15), 20 + i, *range(30, 33 + i)), (Span(11, 14 + i),)) for i in range(3)]
    results = []
    for pack in (False, True):
        model = tiny_model(TINY[family])
        model.requires_grad_(False)
        assert not pack or pack_linear_layers(model) > 5
        model = attach_adapter(model, method=method, r=4, alpha=8, bottleneck=4, virtual_tokens=3, seed=1)
        generator = torch.Generator().manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3, generator=generator)
        model.train()
        losses = TokenLosses(model)
        loss = losses(lay_out(rows, how=losses.how)).sum()
        loss.backward()
        results.append((loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (plain, expected), (ours, found) = results
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    assert expected
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name


def test_a_merged_adapter_is_in_the_products():
    base = tiny_model()
    base.requires_grad_(False)
    assert pack_linear_layers(base) > 5
    with quiet_transformers():
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.arange(5, 15)[None]
    with torch.no_grad():
        with model.disable_adapter():
            untuned = model(tokens).logits
        tuned = model(tokens).logits
        model.merge_adapter()
        close(model(tokens).logits, tuned)
        model.unmerge_adapter()
        with model.disable_adapter():
            close(model(tokens).logits, untuned)
        merged = model.merge_and_unload()
        close(merged(tokens).logits, tuned)
    assert (tuned - untuned).abs().max() > 0.1


def test_a_head_in_blocks_gives_the_same_losses_and_gradients():
    torch.manual_seed(0)
    weight, targets = torch.randn(90, 24), torch.randint(0, 90, (7,))
    found, expected = (torch.randn(7, 24, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    ours = linear_cross_entropy(found.requires_grad_(), weight, targets, PackedWeight())
    theirs = torch.nn.functional.cross_entropy(expected.requires_grad_() @ weight.t(), targets, reduction="none")
    factors = torch.arange(1.0, 8.0)
    (ours * factors).sum().backward()
    (theirs * factors).sum().backward()
    close(ours.detach(), theirs.detach())
    close(found.grad, expected.grad)


def test_models_are_loaded_packed_and_small_ones_are_not(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "tiny")
    packed_layers = [m for m in load_model(str(folder)).model.modules() if packed_weight(m) is not None]
    assert len(packed_layers) == 3 * 7 + 1
    monkeypatch.setattr(packed, "LEAST", 2**16)
    assert not [m for m in load_model(str(folder)).model.modules() if packed_weight(m) is not None]


@pytest.mark.model
def test_the_starter_model_says_the_same(monkeypatch):
    monkeypatch.setattr(packed, "LEAST", 2**16)
    ours = load_model(STARTER, dtype="float32")
    monkeypatch.setattr(packed, "packing_limit", lambda: 0)
    plain = load_model(STARTER, dtype="float32")
    assert packed_weight(ours.model.lm_head) is not None
    assert packed_weight(plain.model.lm_head) is None
    tokens = torch.tensor([ours.tokenizer("The capital of France is Paris, and that of Italy is")["input_ids"]])
    with torch.no_grad():
        found, expected = ours.model(tokens).logits, plain.model(tokens).logits
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert torch.equal(found.argmax(-1), expected.argmax(-1))
