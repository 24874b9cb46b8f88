"""tune.search: names and values are checked as strictly as the settings themselves."""

from __future__ import annotations

import pytest

from burnish.config import Range, candidates, json_schema_of_task_file, load_task, task_from
from burnish.config.search import tunable
from burnish.errors import ConfigError

TASK = {"name": "t", "kind": "generation", "instruction": "-", "data": "rows.jsonl"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    return tmp_path


def read(folder, search, **training):
    return task_from(TASK | {"tune": {"search": search}, "training": training}, folder).config


def test_lists_and_ranges(folder):
    search = {
        "learning_rate": {"low": 1e-4, "high": 5e-3, "log": True},
        "lora_r": [8, 16, 32],
        "batch_size": {"low": 2, "high": 8},
        "lr_scheduler": ["cosine", "linear"],
        "lora_rank_stabilised": [True, False],
    }
    found = candidates(read(folder, search).tune.search)
    assert found["learning_rate"] == Range(1e-4, 5e-3, log=True, whole=False)
    assert found["batch_size"] == Range(2, 8, log=False, whole=True)
    assert found["lora_r"] == (8, 16, 32)
    assert found["lora_rank_stabilised"] == (True, False)


@pytest.mark.parametrize(
    ("search", "field", "said"),
    [
        ({"learning_rat": [1e-3, 1e-4]}, "tune.search.learning_rat", "did you mean learning_rate?"),
        ({"lr": [1e-3, 1e-4]}, "tune.search.lr", "write learning_rate"),
        ({"lora_rank": [4, 8]}, "tune.search.lora_rank", "write lora_r"),
        ({"zzz": [1, 2]}, "tune.search.zzz", "it may be one of"),
        ({"method": ["lora", "full"]}, "tune.search.method", "tune each by itself"),
        ({"evals_per_epoch": [1, 2]}, "tune.search.evals_per_epoch", "equally often"),
        ({"lora_r": [8]}, "tune.search.lora_r", "at least two values"),
        ({"lora_r": [8, 8]}, "tune.search.lora_r[1]", "twice"),
        ({"lora_r": [8, 2000]}, "tune.search.lora_r[1]", "a whole number from 1 to 1024"),
        ({"lora_r": [8, "16"]}, "tune.search.lora_r[1]", "a whole number"),
        ({"lora_r": [8, None]}, "tune.search.lora_r[1]", "a whole number"),
        ({"lora_r": 8}, "tune.search.lora_r", "a list or a range"),
        ({"lora_dropout": [0.0, True]}, "tune.search.lora_dropout[1]", "a number"),
        ({"lr_scheduler": ["cosine", "cosin"]}, "tune.search.lr_scheduler[1]", "one of cosine"),
        ({"lr_scheduler": {"low": 1, "high": 2}}, "tune.search.lr_scheduler", "a range is for numbers"),
        ({"learning_rate": {"low": 1e-3}}, "tune.search.learning_rate.high", "is missing"),
        ({"learning_rate": {"low": 1e-3, "hihg": 1e-2}}, "tune.search.learning_rate.hihg", "did you mean high?"),
        ({"learning_rate": {"min": 1e-3, "high": 1e-2}}, "tune.search.learning_rate.min", "did you mean low?"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, "tune.search.learning_rate", "low must be below high"),
        ({"learning_rate": {"low": 1e-2, "high": 7}}, "tune.search.learning_rate.high", "above 0 and at most 1"),
        ({"learning_rate": {"low": 1e-3, "high": 1e-2, "log": 1}}, "tune.search.learning_rate.log", "true or false"),
        ({"warmup_ratio": {"low": 0, "high": 0.2, "log": True}}, "tune.search.warmup_ratio.low", "above 0"),
        ({"batch_size": {"low": 1.5, "high": 8}}, "tune.search.batch_size.low", "a whole number"),
    ],
)
def test_mistakes_are_named_with_the_fix(folder, search, field, said):
    with pytest.raises(ConfigError) as caught:
        read(folder, search)
    problems = [problem for problem in caught.value.problems if problem.field == field]
    assert problems, caught.value
    assert any(said in str(problem) for problem in problems), caught.value


def test_lora_settings_are_for_lora(folder):
    with pytest.raises(ConfigError, match="method full has no lora_r"):
        read(folder, {"lora_r": [4, 8]}, method="full")


def test_settings_of_other_objectives_are_refused(folder):
    with pytest.raises(ConfigError, match="the objective sft has no beta"):
        read(folder, {"beta": [0.1, 0.5]})


def test_a_mistake_has_its_line(folder):
    file = folder / "burnish.yaml"
    text = "name: t\nkind: generation\ninstruction: say\ndata: rows.jsonl\ntune:\n  search:\n    lora_r: [4, 0]\n"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"burnish\.yaml:7:tune\.search\.lora_r\[1\]"):
        load_task(file)
    assert load_task(file, ["tune.search.lora_r=[4, 8]"]).config.tune.search == {"lora_r": [4, 8]}


def test_editors_know_the_forms():
    schema = json_schema_of_task_file()["$defs"]["TuneConfig"]["properties"]["search"]
    forms = schema["additionalProperties"]["anyOf"]
    assert {form["type"] for form in forms} == {"array", "object"}


def test_every_setting_of_training_was_thought_of():
    """A new setting is searchable unless config/search.py says why not."""
    assert {"learning_rate", "lora_r", "num_epochs", "batch_size", "prompt"} <= set(tunable())
    assert not {"method", "dtype", "max_length", "select_by"} & set(tunable())
