"""Checks of a JSON Schema that somebody wrote: is it one, and does it say what was meant?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from burnish.config.words import nearest
from burnish.config.yaml_tree import Key

_KEYWORDS = (
    "type", "properties", "required", "items", "enum", "const", "additionalProperties", "description", "title",
    "default", "examples", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    "patternProperties", "propertyNames", "prefixItems", "contains", "anyOf", "oneOf", "allOf", "not", "if", "then",
    "else", "$ref", "$defs", "definitions", "$schema", "$id", "$comment", "$anchor", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "minContains", "maxContains", "deprecated",
    "readOnly", "writeOnly", "nullable", "contentEncoding", "contentMediaType", "additionalItems", "dependencies",
    "x-guidance",
)  # fmt: skip


def check_schema(schema: Mapping[str, Any]) -> Iterator[tuple[Key, str, Any, str]]:
    """(key inside the schema, what, got, fix) for every reason why this is no JSON Schema of an object."""
    from jsonschema.validators import Draft202012Validator, validator_for

    validator = validator_for(schema, default=Draft202012Validator)
    found = False
    for error in sorted(validator(validator.META_SCHEMA).iter_errors(schema), key=lambda e: [str(p) for p in e.path]):
        found = True
        key = tuple(error.absolute_path)
        yield key, "not valid JSON Schema", error.instance, _schema_fix(error.validator, error.validator_value)
    if found:
        return
    if schema.get("type") != "object":
        yield (
            (("type",) if "type" in schema else ()),
            "the answer of an extraction is an object",
            schema.get("type"),
            "set type: object",
        )
    yield from _walk_schema(schema, (), schema)


def _schema_fix(rule: object, value: Any) -> str:
    if rule == "type":
        return f"it must be of type {value if isinstance(value, str) else ' or '.join(value)}"
    if rule == "enum":
        return f"use one of {', '.join(map(str, value))}"
    if rule == "anyOf":
        return "a type is one of string, number, integer, boolean, array, object, null"
    return "see json-schema.org for the keyword"


def _walk_schema(node: Any, key: Key, root: Mapping[str, Any]) -> Iterator[tuple[Key, str, Any, str]]:
    """Misspelt keywords, references that lead nowhere, patterns that do not compile."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _walk_schema(item, (*key, index), root)
    if not isinstance(node, Mapping):
        return
    for word, value in node.items():
        here = (*key, word)
        if word not in _KEYWORDS and not word.startswith("x-") and (near := nearest(word, _KEYWORDS)):
            yield here, "not a JSON Schema keyword", None, f"did you mean {near}?"
        elif word == "$ref":
            if not (isinstance(value, str) and resolves(value, root)):
                yield (
                    here,
                    "the reference leads nowhere",
                    value,
                    'refer inside this schema, for example "#/$defs/item"',
                )
        elif word == "pattern":
            yield from _check_regex(value, here)
        elif word == "required":
            properties = node.get("properties", {})
            for index, name in enumerate(value):
                near = nearest(name, list(properties)) if name not in properties else None
                if near:
                    yield (
                        (*here, index),
                        "required names a field that properties does not have",
                        name,
                        f"did you mean {near}?",
                    )
        elif word in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            for name, inner in value.items():
                if word == "patternProperties":
                    yield from _check_regex(name, here)
                yield from _walk_schema(inner, (*here, name), root)
        elif word in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
                      "prefixItems", "anyOf", "oneOf", "allOf", "unevaluatedProperties"):  # fmt: skip
            yield from _walk_schema(value, here, root)


def _check_regex(pattern: Any, key: Key) -> Iterator[tuple[Key, str, Any, str]]:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield key, f"not a regular expression: {error}", pattern, "mend the expression"


def resolves(reference: str, root: Mapping[str, Any]) -> bool:
    """Whether a local JSON pointer reference (#, #/$defs/x) leads to a schema."""
    if not reference.startswith("#"):
        return False
    node: Any = root
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return False
    return isinstance(node, Mapping | bool)
