"""Function calls in plain data: what a tool's parameters allow, and what a right call accepts.

Descriptions in the wild use Python's type names; here they become JSON Schema. An argument of a right call is a
value, or {"any_of": [...]} with the values that are accepted; "" among them means that it may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from burnish.records import Json

_TYPES = {"dict": "object", "float": "number", "int": "integer", "str": "string", "bool": "boolean",
          "tuple": "array", "list": "array", "set": "array", "double": "number", "long": "integer"}  # fmt: skip
_ARRAYS = ("list", "tuple", "set", "sequence")
_GENERIC = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
_KEYWORDS = {"properties", "additionalProperties", "$defs", "$ref"}
_AS_THEY_ARE = ("enum", "const", "default", "examples")  # values, not schemas


def parameter_schema(parameters: Any) -> Any:
    """A tool's parameters as JSON Schema.

    Python's type names are replaced (`dict`, `str`, `List[int]`, `Optional[str]`, `int, optional`) and "any" is left
    open. Parameters that stand without an object around them ({"city": {"type": "str"}}) get one. Other words stay,
    so that a check of the schema names them.
    """
    return _proper(_wrapped(parameters))


def _wrapped(parameters: Any) -> Any:
    if not isinstance(parameters, Mapping) or not parameters or _KEYWORDS & parameters.keys():
        return parameters
    bare = all(
        isinstance(value, Mapping) and any(isinstance(value.get(key), str) for key in ("type", "description"))
        for value in parameters.values()
    )
    return {"type": "object", "properties": parameters} if bare else parameters


def _proper(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_proper(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    proper: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            proper |= {name: inner for name, inner in _typed(value).items() if name == "type" or name not in schema}
        elif key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            proper[key] = {name: _proper(inner) for name, inner in value.items()}
        elif key == "required" and not isinstance(value, list):
            continue  # `"required": true` inside a property is a habit from elsewhere and no JSON Schema
        else:
            proper[key] = value if key in _AS_THEY_ARE else _proper(value)
    return proper


def _typed(name: str) -> dict[str, Any]:
    """JSON Schema's words for one type name."""
    name = name.strip().removesuffix("optional").rstrip(" ,") or "any"
    outer = _GENERIC.fullmatch(name)
    word, inner = (outer[1].lower(), outer[2]) if outer else (name.lower(), "")
    if word == "optional" and inner:
        return _or_null(_typed(inner))
    if word in _ARRAYS and "," not in inner.replace("...", "").rstrip(" ,"):
        return {"type": "array", "items": _typed(inner)} if inner and word != "tuple" else {"type": "array"}
    if word in ("any", "union", "callable"):
        return {}
    return {"type": "array" if word in _ARRAYS else _TYPES.get(word, word)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]} if isinstance(schema.get("type"), str) else schema


def options(spec: Json) -> list[Json] | None:
    """The accepted values where there are several, None for a plain value."""
    if isinstance(spec, Mapping) and set(spec) == {"any_of"} and isinstance(spec["any_of"], list):
        return list(spec["any_of"])
    return None


def first_accepted(spec: Json) -> Json:
    """A right value: of several accepted ones the first that is given, at every depth."""
    several = options(spec)
    if several is not None:
        return first_accepted(next((option for option in several if option != ""), ""))
    if isinstance(spec, Mapping):
        left_out = {key for key, inner in spec.items() if options(inner) == [""]}
        return {key: first_accepted(inner) for key, inner in spec.items() if key not in left_out}
    return [first_accepted(item) for item in spec] if isinstance(spec, list) else spec
