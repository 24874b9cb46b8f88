"""burnish init: what it writes loads without a notice, fits its task, and overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from burnish.config import METRICS, init_task, json_schema_of_task_file, load_task
from burnish.errors import ConfigError
from burnish.records import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_written_and_loads(tmp_path: Path, kind: Kind) -> None:
    files = init_task(tmp_path / "Café 3", kind)
    assert files[0].name == "burnish.yaml"
    assert all(file.is_file() for file in files)
    loaded = load_task(tmp_path / "Café 3")
    assert loaded.notices == []
    assert loaded.config.kind == kind
    assert loaded.config.name == "Caf-3"
    assert loaded.config.goal.metric == METRICS[kind][0]
    jsonschema.validate(yaml.safe_load(files[0].read_text()), json_schema_of_task_file())
    assert files[0].read_text().count("\n# ") >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_are_many_different_and_the_same_every_time(tmp_path: Path, kind: Kind) -> None:
    first, second = (init_task(tmp_path / name, kind)[1].read_bytes() for name in ("a", "b"))
    assert first == second
    rows = [json.loads(line) for line in first.splitlines()]
    assert len(rows) >= 200
    inputs = [
        row["messages"][0]["content"] if "messages" in row else row.get("text") or row["prompt"] for row in rows
    ]
    assert len(set(inputs)) == len(rows)


def test_the_rows_fit_their_task(tmp_path: Path) -> None:
    _, data, schema = init_task(tmp_path / "e", "extraction")
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    for line in data.read_text().splitlines():
        row = json.loads(line)
        validator.validate(row["target"])
        assert str(row["target"]["quantity"]) in row["text"]
    rows = [json.loads(line) for line in init_task(tmp_path / "c", "classification")[1].read_text().splitlines()]
    counts = {label: sum(row["label"] == label for row in rows) for label in {row["label"] for row in rows}}
    assert set(counts) == set(load_task(tmp_path / "c").config.labels or [])
    assert min(counts.values()) >= 40
    for line in init_task(tmp_path / "t", "tool_calling")[1].read_text().splitlines():
        row = json.loads(line)
        tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}
        for call in row["messages"][1]["tool_calls"]:
            jsonschema.validate(json.loads(call["function"]["arguments"]), tools[call["function"]["name"]])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "classification.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match="not overwritten"):
        init_task(tmp_path, "classification")
    assert [file.name for file in tmp_path.iterdir()] == ["classification.jsonl"]
    assert (tmp_path / "classification.jsonl").read_text() == "mine"
    init_task(tmp_path, "generation")
    with pytest.raises(ConfigError, match=r"burnish\.yaml: the file exists"):
        init_task(tmp_path, "generation")


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use one of classification, extraction"):
        init_task(tmp_path, "clasification")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a file, not a folder"):
        init_task(tmp_path / "file", "generation")


def test_a_name_is_made_from_any_folder(tmp_path: Path) -> None:
    for folder, name in (
        ("42", "my-generation"),
        ("---", "my-generation"),
        ("é", "my-generation"),
        ("a.b_c", "a.b_c"),
    ):
        init_task(tmp_path / folder, "generation")
        assert load_task(tmp_path / folder).config.name == name
