"""Adapters keep what they need to be used rightly."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from burnish.errors import ModelError
from burnish.models.adapters import (
    METHODS,
    QUANTISATION,
    AdapterInfo,
    adapter_state,
    attach_adapter,
    load_adapter,
    load_tuned,
    read_info,
    write_adapter,
)
from burnish.models.load import load_model, quiet_transformers
from burnish.runs import commit_folder
from tiny import save_tiny, tiny_config, tiny_for, tiny_model, tiny_tokenizer

INFO = AdapterInfo("tiny", "", "float32", "be brief", "short", {"kind": "generation"}, ("a", "b"), "{{ messages }}")


VIRTUAL = ("prefix_tuning", "prompt_tuning")


def lora(model, **changes):
    options = {"r": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear", "seed": 1} | changes
    return attach_adapter(model, **options)


def test_saved_and_loaded_gives_the_same_answers(tmp_path):
    loaded = load_model(str(save_tiny(tmp_path / "base")), dtype="float32")
    model = lora(loaded.model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tokens = torch.arange(5, 25)[None]
    before = model(tokens).logits
    (tmp_path / "adapter").mkdir()
    write_adapter(model, loaded.tokenizer, tmp_path / "adapter", INFO._replace(base_hash=loaded.base_hash))
    fresh = load_adapter(load_model(str(tmp_path / "base"), dtype="float32"), tmp_path / "adapter")
    torch.testing.assert_close(fresh.model(tokens).logits, before)
    assert not torch.allclose(load_model(str(tmp_path / "base"), dtype="float32").model(tokens).logits, before)
    assert read_info(tmp_path / "adapter").labels == ("a", "b")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_as_the_base_and_comes_back_as_saved(tmp_path, method):
    quantise = QUANTISATION.get(method)
    loaded = load_model(str(save_tiny(tmp_path / "base")), dtype="float32", quantise=quantise)
    tokens = torch.arange(5, 25)[None]
    base = loaded.model(tokens).logits.detach()
    model = attach_adapter(loaded.model, method=method, r=4, bottleneck=8, virtual_tokens=5, seed=1)
    if method not in VIRTUAL:  # words in front of every row change its scores
        torch.testing.assert_close(model(tokens).logits, base)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trained
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
    changed = model(tokens).logits
    assert not torch.allclose(changed, base, atol=1e-3)
    (tmp_path / "adapter").mkdir()
    info = INFO._replace(
        base_model=str(tmp_path / "base"), base_hash=loaded.base_hash, method=method, quantisation=quantise
    )
    write_adapter(model, loaded.tokenizer, tmp_path / "adapter", info)
    fresh = load_tuned(tmp_path / "adapter")
    assert fresh.name == info.base_model
    torch.testing.assert_close(fresh.model(tokens).logits, changed, rtol=1e-4, atol=1e-5)


def test_methods_train_what_their_papers_say():
    sizes = {}
    for method in METHODS:
        model = attach_adapter(tiny_for(method)[0].model, method=method, r=4, bottleneck=8, virtual_tokens=5)
        sizes[method] = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    config = tiny_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    key_value = 2 * config.num_key_value_heads * width // config.num_attention_heads
    assert sizes["ia3"] == layers * (key_value + config.intermediate_size)
    assert sizes["full"] == sum(parameter.numel() for parameter in tiny_model().parameters())
    # DoRA adds a magnitude for every output of every adapted layer.
    outputs = 2 * width + key_value + 2 * config.intermediate_size + width
    assert sizes["dora"] == sizes["lora"] + layers * outputs
    assert sizes["qlora"] == sizes["lora"]
    # Behind attention and feed-forward: 2 D r + D + r (Houlsby et al. 2019, section 2.1).
    assert sizes["bottleneck"] == layers * 2 * (2 * width * 8 + width + 8)
    assert sizes["prompt_tuning"] == 5 * width
    assert sizes["prefix_tuning"] == 5 * layers * key_value


def test_a_base_in_the_wrong_form_is_refused():
    with pytest.raises(ModelError, match="in 4 bits") as caught:
        attach_adapter(tiny_model(), method="qlora")
    assert "quantise" in str(caught.value)
    with pytest.raises(ModelError, match="in full precision"):
        attach_adapter(tiny_for("qlora")[0].model, method="dora")


def test_another_quantisation_of_the_same_base_is_refused(tmp_path):
    base = str(save_tiny(tmp_path / "base"))
    loaded = load_model(base, dtype="float32", quantise="nf4")
    info = INFO._replace(base_model=base, base_hash=loaded.base_hash, method="qlora", quantisation="nf4")
    (tmp_path / "adapter").mkdir()
    write_adapter(attach_adapter(loaded.model, method="qlora", r=4), None, tmp_path / "adapter", info)
    with pytest.raises(ModelError, match="trained on a base in nf4") as caught:
        load_adapter(load_model(base, dtype="float32"), tmp_path / "adapter")
    assert "quantise='nf4'" in str(caught.value)


def test_a_whole_model_with_sampling_settings_can_be_saved(tmp_path):
    """Llama 2 comes with a temperature and without do_sample, which transformers loads but does not save."""
    model = tiny_model(attention="eager")
    model.generation_config.temperature = 0.9
    write_adapter(model, tiny_tokenizer(), tmp_path, INFO._replace(method="full"))
    assert json.loads((tmp_path / "generation_config.json").read_text())["temperature"] == 0.9


def test_rank_stabilised_scale():
    plain, stabilised = (
        attach_adapter(tiny_model(), r=4, alpha=8, rank_stabilised=on)
        .base_model.model.model.layers[0]
        .self_attn.q_proj
        for on in (False, True)
    )
    assert (plain.scaling["default"], stabilised.scaling["default"]) == (2.0, 4.0)


def test_loading_an_adapter_is_silent(tmp_path):
    """In a process of its own: bitsandbytes, which peft imports, tells of missing kernels only once."""
    loaded = load_model(str(save_tiny(tmp_path / "base")), dtype="float32")
    (tmp_path / "adapter").mkdir()
    write_adapter(
        lora(loaded.model), loaded.tokenizer, tmp_path / "adapter", INFO._replace(base_hash=loaded.base_hash)
    )
    code = (
        "import sys; from pathlib import Path; from burnish.models.adapters import load_adapter; "
        "from burnish.models.load import load_model; "
        "load_adapter(load_model(sys.argv[1], dtype='float32'), Path(sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "base"), str(tmp_path / "adapter")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_peft_alone_can_read_it(tmp_path):
    from peft import PeftModel

    model = lora(tiny_model())
    write_adapter(model, None, tmp_path, INFO)
    with quiet_transformers():
        fresh = PeftModel.from_pretrained(tiny_model(), str(tmp_path))
    assert all(
        torch.equal(a, b) for a, b in zip(adapter_state(model).values(), adapter_state(fresh).values(), strict=True)
    )
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"


def test_seed_decides_the_start():
    a, b, c = (adapter_state(lora(tiny_model(), seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_base_is_untouched_at_the_start():
    tokens = torch.arange(5, 25)[None]
    base = tiny_model()(tokens).logits
    torch.testing.assert_close(lora(tiny_model())(tokens).logits, base)


def test_unknown_module_lists_the_known(tmp_path):
    with pytest.raises(ModelError) as caught:
        lora(tiny_model(), target_modules=["query"])
    assert "q_proj" in str(caught.value)


def test_one_unknown_module_beside_a_known_one_is_refused():
    with pytest.raises(ModelError, match="no module of the model has such a name") as caught:
        lora(tiny_model(), target_modules=["q_proj", "v_prooj"])
    assert caught.value.got == "v_prooj"


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("adapter_model.safetensors", None, "adapter_model.safetensors"),
        ("adapter_model.safetensors", b"12", "adapter_model.safetensors"),
        ("burnish.json", b"{}", "burnish.json"),
        ("burnish.json", b"{", "burnish.json"),
    ],
)
def test_a_damaged_adapter_is_told(tmp_path, file, content, named):
    loaded = load_model(str(save_tiny(tmp_path / "base")), dtype="float32")
    (tmp_path / "new").mkdir()
    write_adapter(lora(loaded.model), loaded.tokenizer, tmp_path / "new", INFO._replace(base_hash=loaded.base_hash))
    commit_folder(tmp_path / "new", tmp_path / "adapter")
    (tmp_path / "adapter" / file).unlink()
    if content is not None:
        (tmp_path / "adapter" / file).write_bytes(content)
    base = load_model(str(tmp_path / "base"), dtype="float32")
    with pytest.raises(ModelError, match=r"the trained folder is damaged") as caught:
        load_adapter(base, tmp_path / "adapter")
    assert f"({named})" in caught.value.what


def test_folder_without_adapter(tmp_path):
    with pytest.raises(ModelError, match="no adapter"):
        read_info(tmp_path)
