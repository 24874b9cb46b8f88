"""4-bit weights: LoRA on them computes what peft does, and nothing keeps them in full."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from burnish.errors import ModelError
from burnish.models import quantised
from burnish.models.adapters import attach_adapter
from burnish.models.load import load_model
from burnish.models.quantised import dequantised, fuse_lora_4bit, is_quantised, parameter_count
from burnish.training.guards import MovedGuard
from tiny import save_tiny, tiny_config, tiny_for, tiny_model

TOKENS = torch.arange(5, 25)[None]


def trained(**options):
    """A LoRA model on 4-bit weights whose B is not 0."""
    model = attach_adapter(tiny_for("qlora")[0].model, method="qlora", r=4, seed=1, **options)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def outputs(model):
    """Scores, and the gradients of their squares."""
    model.zero_grad()
    scores = model(TOKENS).logits
    scores.square().sum().backward()
    return scores.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_one_operation_gives_what_peft_gives():
    model = trained()
    fused, fused_gradients = outputs(model)
    layers = [module for module in model.modules() if hasattr(module, "lora_A") and "forward" in vars(module)]
    assert len(layers) == 7 * 3
    for layer in layers:
        del layer.forward
    plain, gradients = outputs(model)
    torch.testing.assert_close(fused, plain)
    assert fused_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_variants_and_a_switched_off_adapter_are_left_to_peft():
    doubled = trained()
    doubled.add_adapter("second", doubled.peft_config["default"])
    doubled.base_model.set_adapter(["default", "second"])
    assert fuse_lora_4bit(doubled) == 0
    model = trained()
    base = tiny_for("qlora")[0].model
    with model.disable_adapter():
        torch.testing.assert_close(model(TOKENS).logits, base(TOKENS).logits)


def test_head_and_embeddings_are_left_alone_and_no_layer_is_kept_in_full():
    model = tiny_for("qlora")[0].model
    assert not is_quantised(model.get_output_embeddings())
    assert model.get_input_embeddings().weight.dtype == torch.float32
    layers = [module for module in model.modules() if is_quantised(module)]
    assert len(layers) == 7 * 3
    for layer in layers:
        tensors = [*layer.parameters(), *layer.buffers()]
        assert [tensor.dtype for tensor in tensors] == [torch.uint8]
        assert tensors[0].numel() == layer.in_features * layer.out_features // 2
        assert layer.weight.quant_state.nested  # the scales are in 8 bits themselves
        assert not layer.support_avx512bf16_for_cpu
        assert dequantised(layer.weight).shape == (layer.out_features, layer.in_features)


# Rows of whole blocks of 64, and of numbers whose scales bitsandbytes 0.50.2 finds wrongly with AVX512.
@pytest.mark.parametrize(("hidden", "intermediate"), [(64, 128), (32, 48), (80, 96), (40, 100)])
def test_weights_are_used_as_4_bits_and_no_less(tmp_path, hidden, intermediate):
    base = str(save_tiny(tmp_path, tiny_config(hidden_size=hidden, intermediate_size=intermediate)))
    full = dict(load_model(base, dtype="float32").model.named_parameters())
    packed = load_model(base, dtype="float32", quantise="nf4")
    assert packed.quantisation == "nf4"
    layers = {name: module for name, module in packed.model.named_modules() if is_quantised(module)}
    assert len(layers) == 7 * 3
    for name, layer in layers.items():
        weight = full[f"{name}.weight"]
        error = (dequantised(layer.weight) - weight).norm() / weight.norm()
        assert 0.07 < error < 0.11, name  # 4 bits: neither exact nor wrong
        x = torch.randn(2, 5, weight.shape[1], generator=torch.Generator().manual_seed(3), requires_grad=True)
        y = layer(x)
        torch.testing.assert_close(y, x @ dequantised(layer.weight).t())
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        torch.testing.assert_close(gradient, 2 * y.detach() @ dequantised(layer.weight))


@pytest.mark.parametrize("asked", [("x",), ("bias",), ("a",), ("b",), ("x", "bias", "a", "b"), ("bias", "b")])
def test_only_the_gradients_that_are_asked_for_are_computed(asked, monkeypatch):
    """The packed weight is unpacked once more for the input alone; each gradient is that of the plain formula."""
    layer = next(module for module in tiny_for("qlora")[0].model.modules() if is_quantised(module))
    draw = torch.Generator().manual_seed(4)
    sizes = {
        "x": (2, 5, layer.in_features),
        "bias": (layer.out_features,),
        "a": (3, layer.in_features),
        "b": (layer.out_features, 3),
    }
    parts = {name: torch.randn(size, generator=draw).requires_grad_(name in asked) for name, size in sizes.items()}
    x, bias, a, b = parts.values()
    full = dequantised(layer.weight)
    unpacked = []
    monkeypatch.setattr(quantised, "dequantised", lambda weight: (unpacked.append(1), full)[1])
    plain = torch.nn.functional.linear(x, full, bias)
    for ours, theirs in (
        (quantised._Linear4bit.apply(x, layer.weight, bias), plain),
        (quantised._LoraLinear4bit.apply(x, layer.weight, bias, a, b, 0.5, 0.0), plain + 0.5 * (x @ a.t() @ b.t())),
    ):
        torch.testing.assert_close(ours, theirs)
        wanted = [parts[name] for name in asked]
        if not ours.requires_grad:  # A and B are none of the plain layer's
            assert not set(asked) & {"x", "bias"}
            continue
        unpacked.clear()
        found = torch.autograd.grad(ours.square().sum(), wanted, allow_unused=True, retain_graph=True)
        right = torch.autograd.grad(theirs.square().sum(), wanted, allow_unused=True, retain_graph=True)
        for one, other in zip(found, right, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert len(unpacked) == ("x" in asked)


def test_parameters_are_counted_as_what_they_stand_for():
    count = sum(parameter_count(parameter) for parameter in tiny_for("qlora")[0].model.parameters())
    assert count == sum(parameter.numel() for parameter in tiny_model().parameters())


def test_the_guard_sees_a_single_changed_packed_weight():
    model = trained()
    guard = MovedGuard(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 1e-3
    guard.check()
    packed = next(parameter for parameter in model.parameters() if type(parameter).__name__ == "Params4bit")
    packed.data[3] ^= 1
    with pytest.raises(Exception, match="frozen parameters changed"):
        guard.check()


def test_without_bitsandbytes_the_command_is_named(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name)
    )
    with pytest.raises(ModelError, match="not installed") as caught:
        load_model(str(save_tiny(tmp_path)), quantise="nf4")
    assert 'pip install "burnish[quantised]"' in str(caught.value)
