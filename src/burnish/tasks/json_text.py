"""JSON as answers are written and read: compact text, lenient reading, strict comparison, the schema's key order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from burnish.records import Json

_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def compact(value: Json) -> str:
    """JSON without spaces, letters as they are: the form of every JSON answer and prompt."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Json) -> Hashable:
    """A hashable form that is equal when two JSON values are: 1 == 1.0, but true != 1, and key order is nothing."""
    if isinstance(value, bool) or value is None:
        return ("literal", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((key, canonical(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(canonical(item) for item in value))
    return ("string", value) if isinstance(value, str) else ("number", value)


def json_equal(left: Json, right: Json) -> bool:
    """Whether two JSON values are the same value."""
    return canonical(left) == canonical(right)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is out of range")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def read_json(text: str, wanted: tuple[type, ...]) -> tuple[Json, str | None]:
    """(value, None) for the first JSON value of a `wanted` type (dict, list) in the text, else (None, why not).

    The whole text is tried first, then code fences, then every bracket that may begin a value.
    """
    stripped = text.strip()
    if not stripped:
        return None, "empty answer"
    for piece in [stripped, *(match.strip() for match in _FENCE.findall(stripped))]:
        try:
            value, end = _DECODER.raw_decode(piece)
        except (ValueError, RecursionError):
            continue
        if end == len(piece) and isinstance(value, wanted):
            return value, None
    opening = "".join(bracket for bracket, kind in (("{", dict), ("[", list)) if kind in wanted)
    at = 0
    while match := re.compile(f"[{re.escape(opening)}]").search(stripped, at):
        try:
            value, _ = _DECODER.raw_decode(stripped, match.start())
        except ValueError:
            at = match.end()
        except RecursionError:
            return None, "JSON nested too deeply"
        else:
            return value, None
    name = " or ".join("an object" if kind is dict else "a list" for kind in wanted)
    return None, f"no JSON that is {name} in the answer"


Validate = Callable[[Json], str | None]


def validator(schema: Mapping[str, Json]) -> Validate:
    """A function that says why a value breaks the schema, None when it does not. Never raises."""
    return _validator(json.dumps(schema))


@lru_cache(maxsize=4096)
def _validator(schema_text: str) -> Validate:
    from jsonschema.validators import Draft202012Validator, validator_for

    schema = json.loads(schema_text)
    checker = validator_for(schema, default=Draft202012Validator)(schema)

    def explain(value: Json) -> str | None:
        try:
            error = next(iter(checker.iter_errors(value)), None)
        except (RecursionError, OverflowError, ArithmeticError) as failure:
            return f"cannot be checked against the schema: {failure}"
        if error is None:
            return None
        return f"{error.json_path.removeprefix('$').lstrip('.') or 'answer'}: {error.message}"

    return explain


def in_schema_order(value: Json, schema: Any, root: Mapping[str, Any] | None = None) -> Json:
    """The value with object keys in the order of the schema's properties, others after them.

    A constrained decoder writes keys in that order, so a model should be trained on it.
    """
    root = schema if root is None else root
    if isinstance(value, Mapping):
        properties = _properties(value, schema, root)
        ordered = [key for key in properties if key in value] + [key for key in value if key not in properties]
        extra = schema.get("additionalProperties") if isinstance(schema, Mapping) else None
        return {key: in_schema_order(value[key], properties.get(key, extra), root) for key in ordered}
    if isinstance(value, list):
        found = _resolved(value, schema, root)
        items = next((part["items"] for part in found if "items" in part), None)
        heads: Sequence[Any] = next((part["prefixItems"] for part in found if "prefixItems" in part), [])
        return [
            in_schema_order(item, heads[index] if index < len(heads) else items, root)
            for index, item in enumerate(value)
        ]
    return value


def _properties(value: Json, schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for part in _resolved(value, schema, root):
        for key, inner in part.get("properties", {}).items():
            properties.setdefault(key, inner)
    return properties


def _resolved(value: Json, schema: Any, root: Mapping[str, Any], depth: int = 0) -> list[Mapping[str, Any]]:
    """The schemas that speak about a value: the schema itself, what it refers to, its allOf and its fitting anyOf."""
    if not isinstance(schema, Mapping) or depth > 20:
        return []
    found: list[Mapping[str, Any]] = [schema]
    if "$ref" in schema:
        found += _resolved(value, _pointer(schema["$ref"], root), root, depth + 1)
    for part in schema.get("allOf", []):
        found += _resolved(value, part, root, depth + 1)
    for choice in ("anyOf", "oneOf"):
        options = schema.get(choice, [])
        definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
        for option in options:
            if isinstance(option, Mapping) and validator({**definitions, **option})(value) is None:
                found += _resolved(value, option, root, depth + 1)
                break
    return found


def _pointer(reference: Any, root: Mapping[str, Any]) -> Any:
    node: Any = root
    for part in str(reference).lstrip("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        node = node[int(part)] if isinstance(node, list) and part.isdigit() else node.get(part) if node else None
    return node


Leaf = tuple[tuple[str, ...], Hashable]


def leaves(value: Json, path: tuple[str, ...] = ()) -> list[Leaf]:
    """(path, value) of every leaf: object keys make the path, items of a list share the path with [] at its end.

    An empty object or list is a leaf, so that every value has at least one.
    """
    if isinstance(value, Mapping) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, str(key)))]
    if isinstance(value, list) and value:
        return [leaf for item in value for leaf in leaves(item, (*path, "[]"))]
    return [(path, canonical(value))]


def path_name(path: tuple[str, ...]) -> str:
    """("items", "[]", "price") -> "items[].price"."""
    return ".".join(path).replace(".[]", "[]") or "(whole)"
