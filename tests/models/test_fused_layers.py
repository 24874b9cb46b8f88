"""Fused layers against the layers of transformers and peft that they stand for."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.models import fused_layers as fused_layers_module
from burnish.models.adapters import attach_adapter
from burnish.models.fused_layers import fuse_layers
from burnish.models.lora_linear import fuse_lora
from burnish.models.rms_norm import rms_norm
from tiny import tiny_model
from tiny_families import TINY

FUSED = ("llama", "llama with biases", "mistral", "qwen2", "qwen3", "smollm3")
OTHERS = ("granite", "llama with gelu", "phi3", "gemma3", "gpt2")
TOKENS = torch.randint(3, 304, (2, 19), generator=torch.Generator().manual_seed(2))


def adapted(config, attention="eager", dtype=torch.float32, **options):
    """A model whose adapter and norms are not at their start, where much vanishes."""
    model = attach_adapter(tiny_model(config, attention, dtype=dtype), **{"r": 4, "alpha": 8, "seed": 1} | options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=generator)
            if "norm" in name or "bias" in name:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model.train()


def unfused(model):
    """A copy as peft and transformers compute it."""
    model = copy.deepcopy(model)
    for module in model.modules():
        module.__dict__.pop("forward", None)
    return model


def fused_layers(model):
    return [m for m in model.modules() if type(m).__name__.endswith("DecoderLayer") and "forward" in m.__dict__]


def outcome(model, **inputs):
    model.zero_grad(set_to_none=True)
    logits = model(**inputs or {"input_ids": TOKENS}).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), TOKENS.flatten()).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def errors(found, wanted):
    """Of each gradient, relative to it, or to a hundredth of the largest where it is smaller still."""
    assert found[1].keys() == wanted[1].keys()
    least = 1e-2 * max(float(grad.norm()) for grad in wanted[1].values())
    return {n: float((found[1][n] - grad).norm()) / max(float(grad.norm()), least) for n, grad in wanted[1].items()}


def assert_same(model, **inputs):
    found, wanted = outcome(model, **inputs), outcome(unfused(model), **inputs)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert max(errors(found, wanted).values()) < 1e-5


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FUSED)
def test_oracle_gradients_of_families(family, attention, method):
    model = adapted(TINY[family], attention, method=method)
    assert len(fused_layers(model)) == 3
    mask = torch.ones_like(TOKENS)
    mask[1, 12:] = 0
    assert_same(model, input_ids=TOKENS, attention_mask=mask)


@pytest.mark.parametrize("family", OTHERS)
def test_other_layers_are_left_alone(family):
    model = adapted(TINY[family], target_modules="all-linear")
    assert not fused_layers(model)
    assert_same(model)


@pytest.mark.parametrize(
    "targets", [["q_proj", "v_proj"], ["o_proj"], ["gate_proj", "down_proj"], ["k_proj", "up_proj"]]
)
def test_lora_on_some_layers(targets):
    model = adapted(TINY["qwen3"], target_modules=targets)
    assert len(fused_layers(model)) == 3
    assert_same(model)


@pytest.mark.parametrize("family", FUSED)
def test_under_gradient_checkpointing_layers_stay_fused_and_keep_their_input_alone(monkeypatch, family):
    model = adapted(TINY[family])
    calls, kept = [], 0
    real = fused_layers_module.AttentionInputs.apply

    def keep(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    monkeypatch.setattr(fused_layers_module.AttentionInputs, "apply", lambda *given: calls.append(1) or real(*given))
    wanted = outcome(unfused(model))
    model.activation_checkpointing_enable()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = outcome(model)
    assert len(calls) == 2 * 3
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert max(errors(found, wanted).values()) < 1e-5
    with_all, kept = kept, 0
    model.activation_checkpointing_disable()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outcome(model)
    assert with_all < kept / 2


def test_other_adapters_keep_their_way():
    model = adapted(TINY["llama"], method="ia3")
    assert not fused_layers(model)
    model.eval()
    assert_same(model)


def test_bfloat16_is_no_worse_than_with_lora_layers_fused_one_by_one():
    """Error of gradients against float32 with the same weights, over several adapters."""
    ours = theirs = 0.0
    for seed in range(4):
        model = adapted(TINY["llama"], dtype=torch.bfloat16, seed=seed)
        exact = outcome(unfused(model).float())
        ours += sum(errors(outcome(model), exact).values())
        single = unfused(model)
        fuse_lora(single)
        theirs += sum(errors(outcome(single), exact).values())
    assert ours < 1.05 * theirs


def test_adapter_switched_off_merged_and_back():
    model = adapted(TINY["llama"]).eval()
    base = tiny_model(TINY["llama"], "eager")
    base.load_state_dict(unfused(model).unload().state_dict())
    with torch.no_grad():
        tuned = model(TOKENS).logits
        with model.disable_adapter():
            torch.testing.assert_close(model(TOKENS).logits, base(TOKENS).logits)
        assert torch.equal(model(TOKENS).logits, tuned)
        model.merge_adapter()
        torch.testing.assert_close(model(TOKENS).logits, tuned, rtol=1e-4, atol=1e-5)
        model.unmerge_adapter()
        torch.testing.assert_close(model(TOKENS).logits, tuned, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(tuned, base(TOKENS).logits, atol=1e-3)


def test_another_adapter_another_scale_other_weights():
    """What is remembered of a layer is made anew when the layer changes."""
    model = adapted(TINY["llama"])
    model.add_adapter("second", copy.deepcopy(model.peft_config["default"]))
    assert_same(model)
    model.set_adapter("second")
    assert_same(model)
    model.set_adapter("default")
    for module in model.modules():
        if hasattr(module, "scaling") and isinstance(module.scaling, dict):
            module.scaling["default"] *= 3
    assert_same(model)
    layer = model.base_model.model.model.layers[1]
    layer.mlp.up_proj.base_layer.weight = torch.nn.Parameter(torch.randn(48, 32), requires_grad=False)
    layer.self_attn.q_proj.base_layer.weight.data = torch.randn(32, 32)
    assert_same(model)
    assert_same(copy.deepcopy(model))
    model.set_attn_implementation("sdpa")
    assert_same(model)
    assert_same(model.double())


def test_trained_weights_and_hooks_are_not_passed_over():
    model = adapted(TINY["llama"])
    layers = model.base_model.model.model.layers
    assert_same(model)
    layers[1].mlp.down_proj.base_layer.weight.requires_grad_(True)
    layers[2].input_layernorm.weight.requires_grad_(True)
    assert_same(model)
    assert layers[2].input_layernorm.weight.grad is not None
    seen = []
    handle = layers[0].mlp.register_forward_hook(lambda module, arguments, output: seen.append(output))
    assert_same(model)
    assert len(seen) == 2  # the copy's, too
    handle.remove()
    outcome(model)
    assert len(seen) == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, contextlib.nullcontext])
def test_reading_on_from_a_cache(mode):
    model = adapted(TINY["qwen3"]).eval()
    plain = unfused(model)
    with mode():
        results = []
        for one in (model, plain):
            first = one(TOKENS[:, :11], use_cache=True)
            results.append(one(TOKENS[:, 11:], past_key_values=first.past_key_values).logits)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_nobody_needs_the_gradient_of_the_first_layers_input():
    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function.overloadpacket.__name__ in ("mm", "addmm_")
            return function(*args, **kwargs or {})

    counts = []
    model = adapted(TINY["llama"])
    states = model.get_input_embeddings()(TOKENS).detach()
    for wanted in (False, True):
        logits = model(inputs_embeds=states.clone().requires_grad_(wanted)).logits
        with Products() as products:
            logits.sum().backward()
        counts.append(products.count)
    assert counts[1] - counts[0] == 4  # q, k, v, and the three A at once


def test_training_continues_bit_for_bit_and_names_stay():
    model = adapted(TINY["llama"])
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in unfused(model).named_parameters()]
    assert model.state_dict().keys() == unfused(model).state_dict().keys()
    first, second = outcome(model), outcome(model)
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    assert fuse_layers(model) == 3 + 7


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_rms_norm_gradients(shape):
    x, weight = torch.randn(shape, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(rms_norm, (x.requires_grad_(), weight.requires_grad_(), 1e-3))
    wanted = torch.nn.functional.rms_norm(x, (5,), weight, 1e-3)
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), wanted)
