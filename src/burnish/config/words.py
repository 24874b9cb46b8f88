"""pydantic's findings in plain words: what the setting must be, the value got, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from burnish.config.aliases import ALIASES
from burnish.config.names import ALL_NAMES
from burnish.config.settings import TaskConfig
from burnish.config.yaml_tree import Key, Place, dotted
from burnish.errors import Problem, shorten

_SECRET = re.compile(r"api_?key|secret|password|bearer", re.IGNORECASE)  # keys whose values no message shows
_MAPPING = "a mapping (indented `key: value` lines)"
_MISSING = {
    "name": "name: my-task",
    "kind": "kind: classification",
    "instruction": "instruction: Say which team should answer the message.",
    "data": "data: examples.jsonl",
    "data.train": "train: examples.jsonl",
}


@cache
def _schema() -> dict[str, Any]:
    return TaskConfig.model_json_schema(by_alias=True)


def node_at(key: Sequence[str | int]) -> dict[str, Any] | None:
    """The JSON Schema node of a setting, without null; None when there is no such setting."""
    node: dict[str, Any] = _schema()
    for part in (*key, None):
        if "$ref" in node:
            node = {**_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]}
        options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
        if len(options) == 1:
            node = {**{k: v for k, v in node.items() if k != "anyOf"}, **options[0]}
        if part is None:
            return node
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if inner is None:
            return None
        node = inner
    return None


def keys_at(key: Sequence[str | int]) -> list[str]:
    """The keys a section may hold."""
    node = node_at(key)
    return list(node.get("properties", {})) if node else []


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value:g}"


def expected(node: Mapping[str, Any]) -> str:
    """What a setting must be: "a whole number from 1 to 1,024", "one of lora, full"."""
    if "anyOf" in node:
        return " or ".join(expected(option) for option in node["anyOf"])
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if "$ref" in node:
        return expected(_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    kind = node.get("type")
    if kind in ("integer", "number"):
        text = "a whole number" if kind == "integer" else "a number"
        low, above = node.get("minimum"), node.get("exclusiveMinimum")
        high, below = node.get("maximum"), node.get("exclusiveMaximum")
        if low is not None and high is not None:
            return f"{text} from {_number(low)} to {_number(high)}"
        lows = (
            [f"of {_number(low)} or more"]
            if low is not None
            else [f"above {_number(above)}"]
            if above is not None
            else []
        )
        highs = (
            [f"at most {_number(high)}"]
            if high is not None
            else [f"below {_number(below)}"]
            if below is not None
            else []
        )
        return " ".join([text, *lows, *(["and"] if lows and highs else []), *highs])
    if kind == "string":
        return "a file path" if node.get("format") == "path" else "text"
    if kind == "array":
        inner = node.get("items", {})
        several = {"a file path": "file paths", "text": "texts", _MAPPING: f"mappings{_MAPPING[9:]}"}
        what = several.get(expected(inner), expected(inner))
        return f"a list of {what}" if inner else "a list"
    if kind == "boolean":
        return "true or false"
    return _MAPPING if kind == "object" else "another value"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant."""
    lowered = {name.lower(): name for name in known}
    plain = word.lower().replace("-", "_").replace(" ", "_")
    if plain in lowered:
        return lowered[plain]
    found = difflib.get_close_matches(plain, list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def problems_from(
    errors: Sequence[ErrorDetails], places: Mapping[Key, Place], origin: Mapping[Key, Key]
) -> list[Problem]:
    """One problem for each setting that pydantic refused, in plain words, at the user's own key and line."""
    problems: dict[str, Problem] = {}
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    meant = {dotted((*loc[:-1], near)) for loc in unknown if (near := nearest(str(loc[-1]), keys_at(loc[:-1])))}
    for error in errors:
        loc, user, place = locate(_setting(error["loc"]), places, origin)
        file, line = (place.file, place.line) if place else ("", 0)
        what, fix = _explain(error, loc, place.text if place else None)
        missing = error["type"] == "missing"
        secret = error["type"] == "extra_forbidden" and _SECRET.search(str(error["loc"][-1])) is not None
        got = "" if missing or secret else _shown(error["input"], place)
        name = dotted((*user, error["loc"][-1])) if missing and user != loc else dotted(user)
        if missing and name in meant:
            continue  # the misspelt key says it
        problems.setdefault(name, Problem(file, line, name, what, got, fix))  # a union gives one error a member
    return list(problems.values())


def locate(loc: Key, places: Mapping[Key, Place], origin: Mapping[Key, Key]) -> tuple[Key, Key, Place | None]:
    """(our key, the key as the user wrote it, its place or that of the nearest section around it)."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in origin:
            user = (*origin[loc[:end]], *loc[end:])
            return loc, user, _nearest_place(user, places)
    return loc, loc, _nearest_place(loc, places)


def _nearest_place(key: Key, places: Mapping[Key, Place]) -> Place | None:
    for end in range(len(key), -1, -1):
        if key[:end] in places:
            place = places[key[:end]]
            return place if end == len(key) else Place(place.file, place.line, None)
    return None


def _setting(loc: Sequence[str | int]) -> Key:
    """The part of pydantic's location that names a setting: without the members of a union."""
    key: Key = ()
    for part in loc:
        if (
            key
            and isinstance(part, str)
            and ("[" in part or part == "bool" or part.startswith(("constrained", "literal", "function-")))
        ):
            break
        key = (*key, part)
    return key


def _shown(value: Any, place: Place | None) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if place and place.text is not None and not isinstance(value, list):
        return shorten(place.text) if isinstance(value, str) else place.text
    return shorten(value)


def _explain(error: ErrorDetails, loc: Key, text: str | None) -> tuple[str, str]:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if kind == "missing":
        return "is missing", f"add a line such as `{_MISSING.get(dotted(loc), f'{loc[-1]}: …')}`"
    node = node_at(loc) or {}
    must = f"must be {expected(node)}"
    wants_text = node.get("type") == "string" and "enum" not in node
    if isinstance(value, bool) and wants_text:
        fix = f'put it in quotes: "{text or str(value).lower()}"'
        return f"must be text, but YAML reads this word as {str(value).lower()}", fix
    if isinstance(value, int | float) and wants_text:
        return "must be text", f'put it in quotes: "{text or value}"'
    if kind == "string_pattern_mismatch":
        return "may hold letters, digits, dots, hyphens and underscores only (64 at most)", "for example my-task"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty", "give a value, or delete the line where there is a default"
    if (
        "enum" in node
        and isinstance(value, str)
        and (near := nearest(value, [str(option) for option in node["enum"]]))
    ):
        return must, f"did you mean {near}?"
    if value is None:
        return f"{must}; nothing is given", _default_fix(node, "give a value")
    if node.get("type") == "object":
        return must, f"write its settings indented under it: {', '.join(keys_at(loc)) or 'name: value'}"
    if node.get("minimum") == 0 and node.get("maximum") == 1 and isinstance(value, int | float) and 1 < value <= 100:
        return must, f"{value:g}% is written {value / 100:g}"
    if node.get("type") == "array" and isinstance(value, str):
        return must, f"a list of one is written [{value}]"
    return must, _default_fix(node, "change the value")


def _default_fix(node: Mapping[str, Any], otherwise: str) -> str:
    default = node.get("default")
    if default is None or isinstance(default, dict):
        return otherwise
    shown = str(default).lower() if isinstance(default, bool) else default
    return f"the default is {shown}"


def _unknown_key(loc: Key) -> tuple[str, str]:
    section, name = loc[:-1], str(loc[-1])
    known = keys_at(section)
    homes = [home for home in ("", *keys_at(())) if name in keys_at((home,) if home else ())]
    if homes:
        belongs = [f"under {home}:" if home else "at the top level" for home in homes]
        return "unknown key here", f"{name} belongs {' or '.join(belongs)}"
    aliases = sorted(ALL_NAMES) if section in ((), ("training",)) else []
    near = nearest(name, known) or nearest(name, aliases)
    if near is None:
        return "unknown key", f"known keys here: {', '.join(known)}"
    meant = f"{near} ({ALIASES[near].target})" if near in ALIASES and near not in known else near
    return "unknown key", f"did you mean {meant}?"
