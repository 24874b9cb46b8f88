"""Adapters that begin with what 4-bit weights lost: exact where it can be computed otherwise, and worth it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.linalg import sqrtm
from transformers import GPT2Config, Qwen2MoeConfig

from burnish.models.adapters import AdapterInfo, attach_adapter, load_tuned, read_info, write_adapter
from burnish.models.corrected import CALIBRATION_TOKENS, correct_quantisation
from burnish.models.export import export_adapter
from burnish.models.load import load_model
from burnish.models.quantised import dequantised
from burnish.runs import commit_folder, verify_folder
from notes import Notes
from tiny import TEMPLATE, save_tiny, tiny_config

DRAW = torch.Generator().manual_seed(7)
ROWS = [torch.randint(3, 300, (length,), generator=DRAW).tolist() for length in (40, 31, 17, 25)]
GPT2 = GPT2Config(
    vocab_size=304, n_embd=64, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2, pad_token_id=0
)


@pytest.fixture(params=["llama", "gpt2"])
def base(request, tmp_path):
    """A model's folder; GPT-2 keeps the weights of its linear layers the other way round."""
    config = {"llama": tiny_config(hidden_size=64, intermediate_size=96), "gpt2": GPT2}[request.param]
    return str(save_tiny(tmp_path, config))


def attached(base, r=8, **options):
    model = load_model(base, dtype="float32", quantise="nf4").model
    return attach_adapter(model, method="qlora", r=r, seed=1, **options).eval()


def layers_of(model):
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def update(layer):
    """What the adapter adds to the layer's weight."""
    return layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight


@torch.no_grad()
def scores(model):
    return torch.cat([model(torch.tensor([row])).logits[0] for row in ROWS])


def test_answers_come_nearer_to_those_of_the_weights_in_full(base):
    full = scores(load_model(base, dtype="float32").model)
    model = attached(base)
    before = (scores(model) - full).norm()
    found = correct_quantisation(model, ROWS)
    assert (found.layers, found.of) == (len(layers_of(model)),) * 2
    assert found.left < 0.6
    assert (scores(model) - full).norm() < 0.8 * before
    assert not model.training


@pytest.mark.parametrize("stabilised", [False, True])
def test_no_matrices_of_this_rank_bring_the_output_nearer(tmp_path, stabilised):
    """What is left of the first layer's error is what the closed form leaves: R^(-1/2) SVD_r(R^(1/2) Eᵀ) for
    y = x W, R the mean of xᵀ x (Zhang et al. 2024, QERA-exact)."""
    base = str(save_tiny(tmp_path, tiny_config(hidden_size=64, intermediate_size=96)))
    model = attached(base, rank_stabilised=stabilised, target_modules=["q_proj"])
    name, layer = next(iter(layers_of(model).items()))
    seen = []
    handle = layer.register_forward_hook(lambda module, args, out: seen.append(args[0].reshape(-1, 64).double()))
    scores(model)
    handle.remove()
    correct_quantisation(model, ROWS)
    stored = load_model(base, dtype="float32").model.get_parameter(f"{name.removeprefix('base_model.model.')}.weight")
    error = (stored - dequantised(layer.base_layer.weight)).double().numpy()
    x = torch.cat(seen).numpy()
    root = np.real(sqrtm(x.T @ x / len(x)))
    u, s, v = np.linalg.svd(root @ error.T)
    right = (np.linalg.inv(root) @ (u[:, :8] * s[:8]) @ v[:8]).T
    ours = update(layer).detach().double().numpy()
    least, left, whole = (np.square(x @ (error - change).T).sum() for change in (right, ours, 0 * ours))
    assert least < 0.7 * whole
    assert least * (1 - 1e-6) <= left < 1.02 * least


def test_a_keeps_its_norm_and_all_is_the_same_again(base):
    usual, model = attached(base), attached(base)
    correct_quantisation(model, ROWS, seed=3)
    for name, layer in layers_of(model).items():
        a, was = layer.lora_A["default"].weight, layers_of(usual)[name].lora_A["default"].weight
        torch.testing.assert_close(a.norm(), was.norm())
    again = attached(base)
    state = torch.get_rng_state()
    correct_quantisation(again, ROWS, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_padding_is_nothing_that_was_read(base):
    """8 tokens of two rows and rank 8: all of the error on these tokens is mended. Padding would take directions."""
    model = attached(base)
    found = correct_quantisation(model, [ROWS[0][:6], ROWS[1][:2]])
    assert found.left < 1e-4


def test_layers_that_are_given_flat_inputs(tmp_path):
    """The shared expert of a mixture sees [tokens, hidden], without its rows."""
    config = Qwen2MoeConfig(
        vocab_size=304, hidden_size=64, intermediate_size=96, moe_intermediate_size=64,
        shared_expert_intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        num_experts=4, num_experts_per_tok=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    names = ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = attached(str(save_tiny(tmp_path, config)), target_modules=names)
    shared = {name for name in layers_of(model) if "shared_expert." in name}
    found = correct_quantisation(model, [ROWS[0][:6], ROWS[1][:2]])
    assert len(shared) == 6
    assert {f"{name}.lora_A.weight" for name in shared} <= found.start.keys()
    assert found.left < 1e-4


def test_more_rows_than_are_taken_change_nothing(base):
    one, two = attached(base), attached(base)
    rows = [ROWS[0]] * (CALIBRATION_TOKENS // len(ROWS[0]) + 1)
    correct_quantisation(one, rows)
    correct_quantisation(two, [*rows, ROWS[1]])
    for name, layer in layers_of(two).items():
        assert torch.equal(update(layer), update(layers_of(one)[name]))


def test_weights_that_are_not_found_keep_the_usual_beginning(tmp_path):
    base = save_tiny(tmp_path / "base", tiny_config(hidden_size=64, intermediate_size=96))
    model = attached(str(base))
    weights = {name: tensor for name, tensor in load_file(base / "model.safetensors").items() if ".layers.0." in name}
    weights["model.layers.0.mlp.up_proj.weight"].neg_()  # of this shape, and of another model
    save_file(weights, base / "model.safetensors")
    found = correct_quantisation(model, ROWS)
    assert (found.layers, found.of) == (6, 21)
    changed = {name for name, layer in layers_of(model).items() if layer.lora_B["default"].weight.any()}
    attention, feed_forward = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "down_proj")
    assert {name.removeprefix("base_model.model.model.layers.0.") for name in changed} == {
        *(f"self_attn.{name}" for name in attention),
        *(f"mlp.{name}" for name in feed_forward),
    }


@pytest.mark.parametrize("rows", [[], [[]]])
def test_without_rows_nothing_is_done(base, rows):
    model = attached(base)
    before = copy.deepcopy(model.state_dict())
    assert correct_quantisation(model, rows).layers == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items() if "lora" in name)


def test_a_rank_above_the_tokens_fills_what_there_is(base):
    model = attached(base, r=16)
    assert correct_quantisation(model, [ROWS[0][:5]]).left < 1e-4
    assert all(torch.isfinite(update(layer)).all() for layer in layers_of(model).values())


@pytest.mark.parametrize("stabilised", [False, True])
@pytest.mark.parametrize("begun", ["corrected", "zero"])
def test_an_adapter_for_the_base_in_full_is_what_training_changed(tmp_path, begun, stabilised):
    base = str(save_tiny(tmp_path / "base"))
    loaded = load_model(base, dtype="float32", quantise="nf4")
    model = attach_adapter(loaded.model, method="qlora", r=4, seed=1, rank_stabilised=stabilised)
    start = correct_quantisation(model, ROWS).start if begun == "corrected" else {}
    before = {name: update(layer).detach() for name, layer in layers_of(model).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                draw = torch.Generator().manual_seed(len(name))
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    info = AdapterInfo(
        base, loaded.base_hash, "float32", "", "short", {}, (), TEMPLATE, (), "qlora", loaded.quantisation
    )
    (tmp_path / "writing").mkdir()
    write_adapter(model, loaded.tokenizer, tmp_path / "writing", info, start=start)
    commit_folder(tmp_path / "writing", tmp_path / "adapter")
    notes = Notes()
    export_adapter(tmp_path / "adapter", tmp_path / "same", progress=notes)
    assert any("--for-full-base" in line for line in notes.lines)
    assert read_info(tmp_path / "same").quantisation == "nf4"
    assert export_adapter(tmp_path / "adapter", tmp_path / "out", for_full=True).quantisation is None
    assert verify_folder(tmp_path / "out") == []
    exported = load_tuned(tmp_path / "out")
    assert exported.quantisation is None
    for name, layer in layers_of(exported.model).items():
        changed = update(layers_of(model)[name]) - before[name]
        torch.testing.assert_close(update(layer), changed, rtol=1e-4, atol=1e-5)


@pytest.mark.model
def test_the_starter_model_gets_back_most_of_what_it_lost():
    """Loss on a text: 4 bits raise it, and correction on another text takes most of that back."""
    name = "smollm2-135m-instruct"
    loaded = load_model(name, dtype="float32")
    read = (
        "The river rises in the hills north of the town, passes two mills that no longer work, and joins a larger "
        "one below the old bridge. In spring, when the snow melts, meadows on both sides lie under water for a week."
    )
    asked = "Every morning the baker opens her shop at six, sells bread to the workers, and closes again before noon."
    rows = [loaded.tokenizer(text)["input_ids"] for text in (read, asked)]

    @torch.no_grad()
    def loss(model):
        tokens = torch.tensor([rows[1]])
        return float(model(input_ids=tokens, labels=tokens).loss)

    full = loss(loaded.model)
    model = attach_adapter(load_model(name, dtype="float32", quantise="nf4").model, method="qlora", r=16, seed=0)
    lost = loss(model) - full
    found = correct_quantisation(model, rows[:1])
    assert found.layers == found.of == 210
    assert lost > 0.05
    assert loss(model) - full < 0.7 * lost
