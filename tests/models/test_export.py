"""Exported folders answer as the trained model, or are not written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import burnish
from burnish.errors import ModelError, RunError
from burnish.models import export as export_module
from burnish.models.adapters import (
    METHODS,
    QUANTISATION,
    AdapterInfo,
    adapter_state,
    attach_adapter,
    load_tuned,
    read_info,
    write_adapter,
)
from burnish.models.export import TOLERANCE, export_adapter, export_merged
from burnish.models.load import load_model, quiet_transformers
from burnish.models.merge import UNMERGEABLE, merge_adapter, rounded_at_random
from burnish.models.whole import as_computed, computes_in
from burnish.records import Message
from burnish.runs import commit_folder, verify_folder
from tiny import TEMPLATE, tiny_loaded, tiny_model, tiny_tokenizer

TOKENS = torch.arange(5, 25)[None]
PROMPTS = [[Message("system", "sat on the mat"), Message("user", f"the cat {i}")] for i in range(6)]
OTHER_TEMPLATE = TEMPLATE.replace("<s>assistant\\n", "<s>assistant \\n")


def train(folder, method, *, dtype=torch.float32, computed="float32", step=0.05):
    """A base on disk, stored in dtype, and an adapter folder as of a run, its weights away from their start."""
    tiny_model(attention="eager", dtype=dtype).save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    quantise = QUANTISATION.get(method)
    loaded = load_model(str(folder / "base"), dtype="float32", quantise=quantise)
    model = attach_adapter(loaded.model, method=method, r=4, bottleneck=8, virtual_tokens=5, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * step)
    info = AdapterInfo(
        str(folder / "base"), loaded.base_hash, computed, "", "short", {}, (), OTHER_TEMPLATE, (), method, quantise
    )
    (folder / "writing").mkdir()
    write_adapter(model, loaded.tokenizer, folder / "writing", info)
    commit_folder(folder / "writing", folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize("method", [method for method in METHODS if method not in UNMERGEABLE])
def test_the_exported_model_is_the_trained_one(tmp_path, method):
    adapter = train(tmp_path, method)
    replay = export_merged(adapter, tmp_path / "out", PROMPTS)
    assert (replay.prompts, replay.same) == (6, 6)
    expected = load_tuned(adapter).model(TOKENS).logits
    loaded = burnish.load_model(str(tmp_path / "out"), dtype="float32")
    torch.testing.assert_close(loaded.model(TOKENS).logits, expected, rtol=1e-4, atol=1e-5)
    with quiet_transformers():  # and by transformers alone
        alone = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert alone.dtype == torch.float32
    torch.testing.assert_close(alone(TOKENS).logits, expected, rtol=1e-4, atol=1e-5)
    tuned = load_tuned(tmp_path / "out")
    torch.testing.assert_close(tuned.model(TOKENS).logits, expected, rtol=1e-4, atol=1e-5)
    assert tuned.name == str(tmp_path / "base")


def test_the_folder_has_what_serving_needs(tmp_path):
    export_merged(train(tmp_path, "qlora"), tmp_path / "out", PROMPTS)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "burnish.json"} <= names
    assert verify_folder(tmp_path / "out") == []
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == OTHER_TEMPLATE  # that of training, not the base's
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    info = read_info(tmp_path / "out")
    assert (info.method, info.quantisation, info.merged, info.whole) == ("qlora", "nf4", True, True)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert not list(tmp_path.glob(".out-*"))


def test_weights_keep_the_number_format_of_the_base(tmp_path):
    replay = export_merged(train(tmp_path, "lora", dtype=torch.bfloat16), tmp_path / "out", PROMPTS)
    assert replay.tolerance == TOLERANCE[torch.bfloat16]
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("stored", "computed"), [(torch.float32, "bfloat16"), (torch.bfloat16, "float32"), (torch.float32, "float32")]
)
def test_rounding_is_that_of_the_coarser_of_what_is_stored_and_what_is_computed_with(tmp_path, stored, computed):
    replay = export_merged(train(tmp_path, "lora", dtype=stored, computed=computed), tmp_path / "out", PROMPTS)
    coarser = torch.float32 if (stored, computed) == (torch.float32, "float32") else torch.bfloat16
    assert replay.tolerance == TOLERANCE[coarser]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_a_small_adapter_adds_survives_rounding(tmp_path, dtype):
    """A regression of what was added to the stored weights on what should have been: 1, and near 0 to nearest."""
    adapter = train(tmp_path, "lora", dtype=dtype, step=2e-5 if dtype == torch.bfloat16 else 1e-6)
    export_merged(adapter, tmp_path / "out", PROMPTS)
    export_merged(adapter, tmp_path / "again", PROMPTS)
    files = [tmp_path / name / "model.safetensors" for name in ("base", "out", "again")]
    assert files[1].read_bytes() == files[2].read_bytes()
    base, out = (load_file(file) for file in files[:2])
    assert out.keys() == base.keys()
    assert {tensor.dtype for tensor in out.values()} == {dtype}
    exact = merge_adapter(load_tuned(adapter).model).state_dict()
    names = [name for name in base if "_proj." in name]
    assert all(torch.equal(out[name], base[name]) for name in base if name not in names)
    added, wanted, nearest = (
        torch.cat([(weights[name].to(kind).double() - base[name].double()).flatten() for name in names])
        for weights, kind in ((out, dtype), (exact, torch.float32), (exact, dtype))
    )
    assert added @ wanted / (wanted @ wanted) == pytest.approx(1, abs=0.1)
    assert nearest @ wanted / (wanted @ wanted) < 0.8


@given(
    arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-60000, 60000, width=32)),
    st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_random_rounding_takes_one_of_the_two_neighbours(numbers, dtype):
    exact = torch.from_numpy(numbers)
    found = rounded_at_random(exact, dtype, seed=len(numbers)).double()
    nearest = exact.to(dtype)
    step = torch.nextafter(nearest.abs(), torch.tensor(float("inf"), dtype=dtype)).double() - nearest.abs().double()
    assert ((found - exact.double()).abs() <= step).all()
    assert torch.equal(rounded_at_random(nearest.float(), dtype, seed=1), nearest)


def test_weights_given_apart_are_described_as_they_are(tmp_path):
    """As sharding gathers and rounds them, from a model that holds float32 parts."""
    loaded, _ = tiny_loaded()
    model = attach_adapter(loaded.model, method="full")
    info = AdapterInfo("base", "0" * 64, "bfloat16", "", "short", {}, (), TEMPLATE, (), "full", None)
    computes_in(model, torch.bfloat16)
    state = as_computed(model, adapter_state(model))
    write_adapter(model, loaded.tokenizer, tmp_path, info, state=state)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    with quiet_transformers():
        assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16


@pytest.mark.parametrize("method", UNMERGEABLE)
def test_what_cannot_be_merged_is_refused_and_copied(tmp_path, method):
    adapter = train(tmp_path, method)
    with pytest.raises(ModelError, match=UNMERGEABLE[method][:20]) as caught:
        export_merged(adapter, tmp_path / "out", PROMPTS)
    assert "--adapter" in str(caught.value)
    assert not (tmp_path / "out").exists()
    export_adapter(adapter, tmp_path / "out")
    assert verify_folder(tmp_path / "out") == []
    expected = load_tuned(adapter).model(TOKENS).logits
    torch.testing.assert_close(load_tuned(tmp_path / "out").model(TOKENS).logits, expected)


def test_a_wrong_merge_is_refused_with_the_prompt(tmp_path, monkeypatch):
    adapter = train(tmp_path, "lora", step=0.3)
    real = export_module.merge_adapter

    def forgets_the_scale(model):
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.scaling["default"] = 1.0
        return real(model)

    monkeypatch.setattr(export_module, "merge_adapter", forgets_the_scale)
    with pytest.raises(ModelError, match="answers a held-out prompt otherwise") as caught:
        export_merged(adapter, tmp_path / "out", PROMPTS)
    assert "the cat" in str(caught.value)
    assert "nats less likely" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out-*"))


def test_answers_that_part_where_two_tokens_are_as_likely_are_let_pass(tmp_path, monkeypatch):
    adapter = train(tmp_path, "lora")
    real = export_module._answers
    calls = []

    def other_last_token(loaded, info, prompts):
        answers = real(loaded, info, prompts)
        calls.append(1)
        return answers if len(calls) == 1 else [answers[0][:-1], *answers[1:]]

    monkeypatch.setattr(export_module, "_answers", other_last_token)
    monkeypatch.setattr(export_module, "_gap", lambda *_: 0.009)
    replay = export_merged(adapter, tmp_path / "out", PROMPTS)
    assert (replay.same, replay.widest_gap) == (5, 0.009)
    calls.clear()
    monkeypatch.setattr(export_module, "_gap", lambda *_: 0.011)
    with pytest.raises(ModelError, match=r"rounding explains 0\.01"):
        export_merged(adapter, tmp_path / "other", PROMPTS)


def test_the_gap_is_that_of_the_log_probabilities(tmp_path):
    trained = load_tuned(train(tmp_path, "lora"))
    chat = export_module._chat(trained, read_info(tmp_path / "adapter"))
    scores = trained.model(TOKENS).logits[0].log_softmax(-1)
    prompt, following = TOKENS[0, :10].tolist(), tuple(TOKENS[0, 10:13].tolist())
    gap = export_module._gap(trained, chat, prompt, (*following, 40, 41), (*following, 50, 41))
    assert gap == pytest.approx(float(scores[12, 40] - scores[12, 50]), abs=1e-4)
    stop = max(float(scores[12, token]) for token in chat.stop_ids)
    gap = export_module._gap(trained, chat, prompt, (*following, 40), following)
    assert gap == pytest.approx(float(scores[12, 40]) - stop, abs=1e-4)


def test_a_taken_folder_and_a_damaged_adapter_are_refused(tmp_path):
    adapter = train(tmp_path, "lora")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for write in (
        lambda: export_merged(adapter, tmp_path / "out", PROMPTS),
        lambda: export_adapter(adapter, tmp_path / "out"),
    ):
        with pytest.raises(RunError, match="something already"):
            write()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(RunError, match=r"damaged \(adapter_config.json\)"):
        export_merged(adapter, tmp_path / "new", PROMPTS)
