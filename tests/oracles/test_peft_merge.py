"""Our merge against peft's merge_and_unload, in float32."""

from __future__ import annotations

import warnings

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from burnish.errors import ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.merge import merge_adapter
from burnish.models.reading import quiet_transformers
from tiny import tiny_config, tiny_model
from tiny_families import TINY

CASES = {
    "lora": {"method": "lora"},
    "rank-stabilised": {"method": "lora", "rank_stabilised": True},
    "dora": {"method": "dora"},
    "ia3": {"method": "ia3"},
    "head": {"method": "lora", "target_modules": ["q_proj", "lm_head"]},
}
TOKENS = torch.arange(5, 25)[None]


def moved(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def both(make, **options):
    """The same trained adapter merged by us and by peft."""
    ours = merge_adapter(moved(attach_adapter(make(), r=4, alpha=8, seed=1, **options)))
    with quiet_transformers():
        theirs = moved(attach_adapter(make(), r=4, alpha=8, seed=1, **options)).merge_and_unload()
    return ours, theirs


def same_weights(ours, theirs):
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert left.keys() == right.keys()
    for name, weight in left.items():
        torch.testing.assert_close(weight.detach(), right[name].detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case != "head"])
@pytest.mark.parametrize("bias", [False, True])
def test_merged_weights_are_those_of_peft(case, bias):
    config = tiny_config(attention_bias=bias, mlp_bias=bias)

    def make():
        model = tiny_model(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # they begin at 0, where a wrong factor would not show
                parameter.data.fill_(0.3)
        return model

    ours, theirs = both(make, **CASES[case])
    same_weights(ours, theirs)
    torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_layers_that_keep_weights_the_other_way_round(method):
    """GPT-2's Conv1D holds [in, out]."""
    config = GPT2Config(vocab_size=304, n_embd=32, n_layer=2, n_head=4, n_positions=64)

    def make():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = both(make, method=method, target_modules=["c_attn", "c_fc", "c_proj"])
    same_weights(ours, theirs)


@pytest.mark.parametrize("family", ["mixtral", "glm4_moe"])
def test_experts_whose_weights_are_one_tensor(family):
    """peft puts a layer around another for each tensor of the experts; the router has one, too."""
    ours, theirs = both(lambda: tiny_model(TINY[family]), method="lora")
    same_weights(ours, theirs)
    plain = dict(tiny_model(TINY[family]).named_parameters())
    changed = {name for name, weight in ours.named_parameters() if not torch.equal(weight, plain[name])}
    for weight in ("mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"):
        assert any(name.endswith(weight) for name in changed)


def test_a_tied_head_with_an_adapter_gets_its_own_weight(tmp_path):
    model = moved(attach_adapter(tiny_model(), r=4, seed=1, **CASES["head"]))
    before = model(TOKENS).logits.detach()
    table = model.get_input_embeddings().weight.clone()
    base = merge_adapter(model)
    torch.testing.assert_close(base(TOKENS).logits, before)
    torch.testing.assert_close(base.get_input_embeddings().weight, table)
    base.save_pretrained(tmp_path)
    with quiet_transformers():
        again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(again(TOKENS).logits, before)


@pytest.mark.parametrize("method", ["prefix_tuning", "prompt_tuning"])
def test_what_is_no_change_of_weights_is_refused(method):
    with pytest.raises(ModelError, match="cannot be merged into weights: it trains"):
        merge_adapter(attach_adapter(tiny_model(), method=method))


def test_an_adapter_on_the_embeddings_is_refused():
    with pytest.raises(ModelError, match="only adapters on linear layers"):
        merge_adapter(attach_adapter(tiny_model(), r=4, target_modules=["embed_tokens"]))
