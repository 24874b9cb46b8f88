"""Tool parameters as JSON Schema, and values that a right call accepts."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from burnish.calls import first_accepted, parameter_schema


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("str", {"type": "string"}),
        ("Float", {"type": "number"}),
        ("dict", {"type": "object"}),
        ("any", {}),
        ("int, optional", {"type": "integer"}),
        ("Optional[str]", {"type": ["string", "null"]}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("list[List[str]]", {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
        ("Dict[str, int]", {"type": "object"}),
        ("Tuple[int, int]", {"type": "array"}),
        ("Union[int, str]", {}),
        ("strng", {"type": "strng"}),  # stays, so that the check of the schema names it
    ],
)
def test_pythons_type_names(name: str, schema: dict[str, Any]) -> None:
    made = parameter_schema({"type": "object", "properties": {"x": {"type": name, "description": "d"}}})
    assert made["properties"]["x"] == schema | {"description": "d"}


def test_own_items_win_over_those_of_the_name() -> None:
    made = parameter_schema({"properties": {"x": {"type": "List[int]", "items": {"type": "float"}}}})
    assert made["properties"]["x"] == {"type": "array", "items": {"type": "number"}}


def test_parameters_without_an_object_around_them() -> None:
    bare = {"type": {"type": "str", "default": "game"}, "properties_of": {"description": "any"}}
    made = parameter_schema(bare)
    assert made["properties"]["type"] == {"type": "string", "default": "game"}
    jsonschema.Draft202012Validator.check_schema(made)
    for whole in (
        {},
        {"type": "object"},
        {"type": "object", "properties": {"type": {"type": "string"}}},
        {"properties": {"description": {"type": "string"}, "type": {"type": "string"}}},
        {"additionalProperties": {"type": "string"}},
    ):
        assert parameter_schema(whole) == whole


def test_the_first_accepted_value_at_every_depth() -> None:
    spec = {
        "a": 1,
        "b": {"any_of": ["", "x", "y"]},
        "c": {"any_of": [""]},
        "d": [{"any_of": [{"e": {"any_of": [2, 3]}}]}],
    }
    assert first_accepted(spec) == {"a": 1, "b": "x", "d": [{"e": 2}]}
