"""Adapters keep what they need to be used rightly."""

from __future__ import annotations

import json

import pytest
import torch

from burnish.errors import ModelError
from burnish.models.adapters import AdapterInfo, adapter_state, attach_lora, load_adapter, read_info, write_adapter
from burnish.models.load import load_model, quiet_transformers
from tiny import save_tiny, tiny_model

INFO = AdapterInfo("tiny", "", "float32", "be brief", "short", {"kind": "generation"}, ("a", "b"), "{{ messages }}")


def lora(model, **changes):
    options = {"r": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear", "seed": 1} | changes
    return attach_lora(model, **options)


def test_saved_and_loaded_gives_the_same_answers(tmp_path):
    loaded = load_model(str(save_tiny(tmp_path / "base")), dtype="float32")
    model = lora(loaded.model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tokens = torch.arange(5, 25)[None]
    before = model(tokens).logits
    (tmp_path / "adapter").mkdir()
    write_adapter(model, tmp_path / "adapter", INFO._replace(base_hash=loaded.base_hash))
    fresh = load_adapter(load_model(str(tmp_path / "base"), dtype="float32"), tmp_path / "adapter")
    torch.testing.assert_close(fresh.model(tokens).logits, before)
    assert not torch.allclose(load_model(str(tmp_path / "base"), dtype="float32").model(tokens).logits, before)
    assert read_info(tmp_path / "adapter").labels == ("a", "b")


def test_peft_alone_can_read_it(tmp_path):
    from peft import PeftModel

    model = lora(tiny_model())
    write_adapter(model, tmp_path, INFO)
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


def test_folder_without_adapter(tmp_path):
    with pytest.raises(ModelError, match="no adapter"):
        read_info(tmp_path)
