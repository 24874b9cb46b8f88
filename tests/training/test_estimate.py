"""The estimate's arithmetic against what autograd saves, against transformers' counts, against a measured peak."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import burnish
from burnish.errors import ConfigError, ModelError
from burnish.models.adapters import attach_adapter
from burnish.models.load import load_model
from burnish.models.packed import packed_weight, packing_limit
from burnish.models.token_losses import TokenLosses
from burnish.training.batches import collate
from burnish.training.devices import GIB, Device, gpu_names, named_gpu
from burnish.training.encode import tail_item
from burnish.training.estimate import (
    NF4_BITS,
    Setup,
    Work,
    activation_bytes,
    dtype_on,
    estimate,
    flops_of,
    memory_of,
    trained_parameters,
)
from burnish.training.fit import fit
from burnish.training.shapes import FAMILIES, model_shape, public_shape, shape_from_config
from burnish.training.work import uniform_work, work_of_items
from tiny import save_tiny, tiny_config, tiny_model

CPU = Device("cpu", "cpu", 16 * GIB, {"float32": 1e11}, None, None, 0.6, 500 * 2**20, "made up")
SMALL = public_shape("smollm2-135m")
assert SMALL is not None
GPU = named_gpu("a100-80gb")


def work(tokens: int = 1024, **changes: Any) -> Work:
    options: dict[str, Any] = {
        "rows": 100,
        "length": 128,
        "batch_size": 8,
        "tokens_per_batch": tokens,
        "num_epochs": 1,
    }
    return uniform_work(**options | changes)


# --- shapes ---

# Counts that the models' own pages give.
PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-1.7b": 1_711_376_384,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-2-7b": 6_738_415_616,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_248_023_552,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "phi-4": 14_659_507_200,
    "gemma-2-9b": 9_241_705_984,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_public_shapes_have_the_published_size(name: str, count: int) -> None:
    shape = public_shape(name)
    assert shape is not None
    assert shape.parameters == count


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_transformers(family: str, tied: bool) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, head_dim=16,
        num_key_value_heads=2, vocab_size=300, tie_word_embeddings=tied,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = shape_from_config(config, family)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape_from_config(config.to_dict(), family) == shape
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    assert {layer.name: (layer.inputs, layer.outputs) for layer in shape.linears} == linear


def test_a_folder_is_read_without_its_weights(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    shape = model_shape(str(folder))
    assert (shape.hidden, shape.layers, shape.tied, shape.context) == (32, 3, True, 512)


def test_names_of_releases_are_understood() -> None:
    plain = public_shape("llama-3.1-8b")
    assert plain is not None
    for name in ("meta-llama/Llama-3.1-8B-Instruct", "LLAMA-3.1-8B", "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"):
        assert public_shape(name) == replace(plain, name=name)
    assert public_shape("nobody/nothing-7b") is None


def test_unknown_models_name_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"llama-3\.1-8b"):
        model_shape("lama-3.1-8b")
    with pytest.raises(ModelError, match="cannot be estimated"):
        shape_from_config({"model_type": "mixtral"}, "mixtral")
    with pytest.raises(ModelError, match="num_hidden_layers"):
        shape_from_config({"model_type": "llama", "hidden_size": 8}, "broken")


# --- what is trained, and what is kept ---


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "full"])
def test_trained_parameters_are_those_of_the_model(method: Any) -> None:
    model = attach_adapter(tiny_model(), method=method, r=4)
    shape = shape_from_config(model.config, "tiny")
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained_parameters(shape, Setup(method, r=4)) == counted


def test_trained_parameters_of_chosen_modules() -> None:
    model = attach_adapter(tiny_model(), r=4, target_modules=["q_proj", "down_proj"])
    shape = shape_from_config(model.config, "tiny")
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained_parameters(shape, Setup(r=4, modules=("q_proj", "down_proj"))) == counted
    with pytest.raises(ModelError, match="q_proj"):
        trained_parameters(shape, Setup(modules=("query",)))


def saved_bytes(model: Any, tokens: int) -> int:
    """What autograd keeps of one forward pass, each storage once, parameters left out."""
    item = tail_item([i % 300 for i in range(tokens)], tokens - 4, 1.0, burnish.Source("row", 1))
    losses = TokenLosses(model)
    batch = collate([item], how=losses.how)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses(batch)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


@pytest.mark.parametrize(
    ("method", "options", "dtype"),
    [
        ("lora", {}, "float32"),
        ("lora", {"modules": ("q_proj", "v_proj")}, "float32"),
        ("lora", {}, "bfloat16"),
        ("lora", {"dropout": True}, "bfloat16"),
        ("lora", {"modules": ("q_proj", "v_proj"), "dropout": True}, "float32"),
        ("lora", {"modules": ("o_proj", "down_proj"), "dropout": True}, "bfloat16"),
        ("dora", {"dropout": True}, "float32"),
        ("ia3", {}, "float32"),
        ("dora", {}, "float32"),
        ("dora", {}, "bfloat16"),
        ("dora", {"modules": ("q_proj", "v_proj", "down_proj")}, "float32"),
        ("full", {}, "float32"),
    ],
)
def test_activations_are_what_autograd_keeps(method: Any, options: dict[str, Any], dtype: Any) -> None:
    """Of a token in a middle layer: twice the tokens and two more layers, so that nothing else is left."""
    sizes = {"hidden_size": 64, "intermediate_size": 112, "num_attention_heads": 4, "num_key_value_heads": 2}

    def kept(layers: int, tokens: int) -> int:
        config = tiny_config(num_hidden_layers=layers, **sizes)
        base = tiny_model(config, dtype=getattr(torch, dtype))
        modules = options.get("modules", "all-linear")
        dropout = 0.1 if options.get("dropout") else 0.0
        return saved_bytes(attach_adapter(base, method=method, r=4, target_modules=modules, dropout=dropout), tokens)

    measured = (kept(4, 128) - kept(2, 128) - kept(4, 64) + kept(2, 64)) / (2 * 64)
    shape = shape_from_config(tiny_config(num_hidden_layers=4, **sizes), "tiny")
    expected = activation_bytes(shape, Setup(method, r=4, dtype=dtype, **options), "own")
    assert measured == pytest.approx(expected, rel=0.03)


# --- memory, time, energy ---


def test_parts_of_a_lora_by_hand() -> None:
    memory = memory_of(SMALL, Setup(r=8), work(), CPU)
    linear = sum(layer.inputs + layer.outputs for layer in SMALL.linears)
    assert memory.weights == 4 * 134_515_008
    assert memory.adapter == memory.gradients == 4 * 8 * 30 * linear
    assert memory.optimizer == 2 * memory.adapter
    assert memory.total == pytest.approx(sum(memory))


def test_blocks_are_counted_where_they_are_made() -> None:
    plenty = replace(CPU, packing=4 * GIB)
    linear, head = SMALL.linear_weights, SMALL.vocabulary * SMALL.hidden
    for setup, expected in (
        (Setup(r=8), 2 * 4 * (linear + head)),
        (Setup("ia3", dtype="bfloat16"), 2 * 2 * (linear + head)),
        (Setup("qlora"), 2 * 4 * head),
        (Setup("full"), 0),
        (Setup(devices=2), 0),
    ):
        assert memory_of(SMALL, setup, work(), plenty).blocks == expected
        assert memory_of(SMALL, setup, work(), CPU).blocks == 0
    short = replace(CPU, packing=2 * 4 * (linear + head) - 1)
    assert memory_of(SMALL, Setup(r=8), work(), short).blocks == 0


@pytest.mark.model
def test_blocks_are_those_of_the_model() -> None:
    loaded = load_model("smollm2-135m-instruct", dtype="float32")
    sizes = [2 * m.weight.nbytes for m in loaded.model.modules() if packed_weight(m) is not None]
    machine = replace(CPU, packing=packing_limit())
    assert memory_of(SMALL, Setup(r=8), work(), machine).blocks == sum(sizes) > 0


def test_qlora_packs_the_layers_alone() -> None:
    shape = public_shape("llama-3.1-8b")
    assert shape is not None
    assert pytest.approx(4.127, abs=1e-3) == NF4_BITS
    weights = memory_of(shape, Setup("qlora", dtype="bfloat16"), work(), GPU).weights
    outside = shape.parameters - shape.linear_weights
    assert weights == pytest.approx(shape.linear_weights * 4.127 / 8 + 2 * outside, rel=1e-3)


def test_sharing_cuts_weights_and_states() -> None:
    one, eight = (memory_of(SMALL, Setup("full", devices=n), work(), GPU) for n in (1, 8))
    assert eight.optimizer == one.optimizer / 8
    assert eight.weights > one.weights / 8
    assert eight.activations == pytest.approx(one.activations)


def test_flops_of_full_training_are_six_a_parameter_and_token() -> None:
    """Kaplan et al. 2020, table 1: 6 N D, up to attention and the head."""
    shape = public_shape("llama-2-7b")
    assert shape is not None
    found = flops_of(shape, Setup("full"), work(2**16, rows=8, length=64, answer=64))
    assert found == pytest.approx(6 * shape.parameters * 8 * 64, rel=0.03)
    lora = flops_of(shape, Setup("lora"), work(2**16, rows=8, length=64, answer=64))
    assert 0.6 < lora / found < 0.72


def test_energy_is_power_times_time() -> None:
    found = estimate(SMALL, Setup(dtype="bfloat16"), work(), GPU)
    assert found.kwh == pytest.approx(400 * found.seconds / 3.6e6)
    assert estimate(SMALL, Setup(), work(), CPU).kwh is None


def test_a_number_format_that_is_not_there() -> None:
    assert dtype_on(named_gpu("t4")) == "float32"
    assert dtype_on(GPU) == "bfloat16"
    with pytest.raises(ConfigError, match="dtype: float32"):
        estimate(SMALL, Setup(dtype="bfloat16"), work(), named_gpu("t4"))


sizes = st.integers(1, 64)
methods = st.sampled_from(["lora", "qlora", "dora", "ia3", "bottleneck", "prefix_tuning", "prompt_tuning", "full"])


@given(methods, sizes, sizes, st.integers(1, 32), st.sampled_from([CPU, GPU]))
@settings(max_examples=60)
def test_more_work_never_takes_less(method: Any, rows: int, length: int, factor: int, device: Device) -> None:
    def found(rows: int, length: int, r: int = 8) -> tuple[float, float]:
        result = estimate(
            SMALL,
            Setup(method, r=r),
            work(2**20, rows=4 * rows, batch_size=rows, length=8 + length, answer=4),
            device,
        )
        return result.memory.total, result.seconds

    memory, seconds = found(rows, length)
    for more in (found(rows + factor, length), found(rows, length + factor), found(rows, length, 8 + factor)):
        assert more[0] >= memory
        assert more[1] >= 0.999 * seconds  # the weights are read once a pass, however many rows it has


@given(sizes, st.integers(0, 40), st.integers(1, 60), st.integers(1, 3))
@settings(max_examples=40)
def test_counted_work_of_equal_rows_is_the_uniform_one(rows: int, prefix: int, own: int, epochs: int) -> None:
    prefix = prefix if prefix >= 8 else 0
    answer = max(1, own // 2)
    items = [
        tail_item([*range(prefix), 1000 + i, *[i] * (own - 1)], prefix + own - answer, 1.0, burnish.Source("row", i))
        for i in range(rows)
    ]
    options: dict[str, Any] = {"batch_size": rows, "num_epochs": epochs, "tokens_per_batch": 2**16}
    counted = work_of_items(items, **options)
    expected = uniform_work(
        rows=rows, length=prefix + own, answer=answer, prefix=prefix if rows > 1 else 0, **options
    )
    assert counted == expected


def test_sizes_of_passes_are_counted_as_products_see_them() -> None:
    """Rows of 40 to 79 tokens, one a step: packed tokens are padded to multiples of eight."""
    items = [tail_item([*range(i, 2 * i), *range(i)], i, 1.0, burnish.Source("row", i)) for i in range(20, 40)]
    options: dict[str, Any] = {"batch_size": 1, "num_epochs": 1, "tokens_per_batch": 2**16}
    counted = work_of_items(items, **options)
    assert counted.sizes == len({-(-2 * i // 8) for i in range(20, 40)})
    assert work_of_items(items, how="masked", **options).sizes == 20
    one, many = (memory_of(SMALL, Setup(r=8), counted._replace(sizes=size), CPU) for size in (1, 10**6))
    assert one.code < many.code < GIB
    assert one.allocator < many.allocator < many.activations
    assert memory_of(SMALL, Setup(r=8), counted, GPU).code == 0


# --- devices and fitting ---


def test_gpu_names() -> None:
    assert named_gpu("NVIDIA RTX 4090") == named_gpu("rtx-4090")
    assert named_gpu("rtx-3060").name == "rtx-3060-12gb"
    assert all(named_gpu(name).name == name and named_gpu(name).source for name in gpu_names())
    with pytest.raises(ConfigError, match="a100-40gb or a100-80gb"):
        named_gpu("a100")
    with pytest.raises(ConfigError, match="did you mean rtx-4090"):
        named_gpu("rtx-4091")


def fitted(memory: float, method: Any = "lora", methods: Any = ("lora", "qlora", "full")) -> Any:
    shape = public_shape("llama-3.1-8b")
    assert shape is not None
    device = replace(named_gpu("a100-80gb"), memory=int(memory * GIB))
    setup = Setup(method, dtype=dtype_on(device))

    def work_at(tokens: int) -> Work:
        return uniform_work(rows=100, length=256, batch_size=16, tokens_per_batch=tokens, num_epochs=1)

    return fit(shape, setup, work_at, device, tokens_per_batch=4096, methods=methods)


def test_checkpointing_some_layers_takes_less_memory_and_less_time_than_all_or_none() -> None:
    shape = public_shape("llama-3.1-8b")
    assert shape is not None
    found = {
        every: estimate(shape, Setup(gradient_checkpointing=every), work(4096), named_gpu("a100-80gb"))
        for every in (False, 4, 2, True)
    }
    memory = [one.memory.activations for one in found.values()]
    assert memory == sorted(memory, reverse=True)
    flops = [one.flops for one in found.values()]
    assert flops == sorted(flops)
    assert len({*memory}) == len({*flops}) == 4
    assert flops[2] - flops[0] == pytest.approx((flops[3] - flops[0]) / 2)


def test_fit_changes_least_first() -> None:
    found = fitted(79)
    assert (found.fits, found.setup, found.tokens_per_batch) == (True, Setup(dtype="bfloat16"), 4096)
    found = fitted(24)
    assert (found.fits, found.setup, found.tokens_per_batch < 4096) == (True, Setup(dtype="bfloat16"), True)
    found = fitted(17)
    assert found.fits
    assert found.setup.gradient_checkpointing
    found = fitted(10)
    assert (found.fits, found.setup.method) == (True, "qlora")
    assert not fitted(10, methods=("lora", "full")).fits
    assert not fitted(4).fits
    found = fitted(60, method="full")
    assert (found.fits, found.setup.method, found.setup.dtype) == (True, "lora", "bfloat16")


@given(st.floats(7, 80))
@settings(max_examples=20)
def test_what_is_said_to_fit_fits(memory: float) -> None:
    found = fitted(memory)
    assert found.fits == (found.estimate.memory.total <= memory * GIB)


# --- against a measured peak ---


@pytest.mark.model
@pytest.mark.parametrize(
    ("case", "steps"),
    [
        (["lora", 32, 4, 96, 64], 3),
        (["lora", 0, 8, 96, 64, True], 3),
        (["lora", 0, 8, 128, 48, False, True], 20),  # rows of many lengths, as real ones are
    ],
)
def test_the_estimate_is_within_a_tenth_of_the_measured_peak(case: list[Any], steps: int) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "estimate_memory.py"
    command = [sys.executable, str(script), "--side", json.dumps(case), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["estimated"] == pytest.approx(found["measured"], rel=0.1)
