"""The default learning rate: by method, by size where the name tells it, resolved when the file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.config import TaskConfig, TrainingConfig, task_from
from burnish.config.rates import LARGE, RATES, billions, default_learning_rate
from burnish.errors import ConfigError
from burnish.models.adapters import METHODS

TASK = {"name": "t", "kind": "generation", "instruction": "Say it.", "data": "rows.jsonl"}


def config(folder: Path, **changes) -> TaskConfig:
    return task_from(TASK | changes, folder).config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "target": "b"}\n')
    return tmp_path


def test_every_method_has_a_rate():
    assert set(RATES) == set(METHODS)
    assert set(LARGE) < set(METHODS)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Llama-2-13b-hf", 13),
        ("org/Qwen2.5-0.5B-Instruct", 0.5),
        ("smollm2-135m-instruct", 0.135),
        ("models/Mixtral-8x22B", None),
        ("org/phi-4", None),
        ("7b/my-model", None),
        ("model-2b-to-70b", 70),
        ("/models/llama-65B.gguf", 65),
        ("", None),
    ],
)
def test_the_size_is_read_from_the_name(name, size):
    assert billions(name) == (None if size is None else pytest.approx(size))


def test_large_models_get_a_lower_rate():
    assert default_learning_rate("qlora", "llama-13b") == 2e-4  # Dettmers et al. 2023, table 9
    assert default_learning_rate("qlora", "llama-33b") == 1e-4
    assert default_learning_rate("full", "llama-7b") == 2e-5
    assert default_learning_rate("full", "llama-13b") == 1e-5
    assert default_learning_rate("ia3", "llama-65b") == 3e-3


@pytest.mark.parametrize("method", METHODS)
def test_the_file_gets_the_rate_of_its_method(folder, method):
    assert TrainingConfig(method=method).learning_rate == RATES[method]
    training = config(folder, training={"method": method}).training
    assert training.learning_rate == RATES[method]
    assert training.model_dump(mode="json")["learning_rate"] == RATES[method]
    assert config(folder, training={"method": method, "learning_rate": None}).training == training


def test_lora_stays_as_it_was(folder):
    assert config(folder).training.learning_rate == TrainingConfig().learning_rate == 2e-4


def test_the_models_name_decides_unless_a_rate_is_given(folder):
    large = {"model": "org/Llama-65b"}
    assert config(folder, **large).training.learning_rate == 1e-4
    assert config(folder, **large, training={"method": "dora"}).training.learning_rate == 1e-4
    assert config(folder, **large, training={"learning_rate": None}).training.learning_rate == 1e-4
    assert config(folder, **large, training={"learning_rate": 2e-4}).training.learning_rate == 2e-4


def test_settings_that_are_read_back_keep_their_rate(folder):
    read = config(folder, model="org/Llama-65b", training={"method": "full"})
    again = TaskConfig.model_validate(read.model_dump(mode="json", by_alias=True))
    assert again.training.learning_rate == read.training.learning_rate == 1e-5


def test_a_multiplier_multiplies_the_rate_of_the_method(folder):
    training = {"method": "full", "learning_rate_multiplier": 2}
    assert config(folder, training=training).training.learning_rate == pytest.approx(4e-5)


@pytest.mark.parametrize("flag", [{"load_in_4bit": True}, {"quantization_bit": 4}])
def test_four_bits_mean_qlora(folder, flag):
    loaded = task_from(TASK | flag, folder)
    assert loaded.config.training.method == "qlora"
    [name] = flag
    assert loaded.notices == [f"{name} is read as training.method (qlora)"]
    same = task_from(TASK | {"adapter": "qlora"} | flag, folder)
    assert same.config.training.method == "qlora"
    assert any("changes nothing: method qlora has 4-bit weights" in notice for notice in same.notices)
    with pytest.raises(ConfigError, match=r"write training\.method: qlora"):
        task_from(TASK | {"adapter": "lora"} | flag, folder)


@pytest.mark.parametrize("flag", [{"load_in_4bit": False}, {"quantization_bit": None}])
def test_no_four_bits_change_nothing(folder, flag):
    loaded = task_from(TASK | {"training": flag}, folder)
    assert loaded.config.training.method == "lora"
    assert any("changes nothing" in notice for notice in loaded.notices)


@pytest.mark.parametrize("method", ["prefix_tuning", "prompt_tuning"])
def test_virtual_tokens_and_checkpointing_exclude_one_another(folder, method):
    training = {"method": method, "gradient_checkpointing": True}
    with pytest.raises(ConfigError, match="virtual tokens would be dropped"):
        config(folder, training=training)
    assert config(folder, training=training | {"method": "bottleneck"}).training.gradient_checkpointing
