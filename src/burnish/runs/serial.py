"""Records to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Hashable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from burnish.errors import RunError
from burnish.records import Json

T = TypeVar("T")


def to_json(value: Any) -> Json:
    """A JSON value of records, mappings, sequences, paths, dates and NumPy numbers and arrays.

    JSON has no NaN and no infinity: they become the strings "NaN", "Infinity" and "-Infinity", which `from_json` and
    `float` read back. TypeError for anything else: nothing is turned into text by guess.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if type(value).__module__ == "numpy":  # without importing it
        return to_json(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"JSON object keys are strings, got {key!r}")


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text of `to_json(value)`, letters as they are (escaped only where UTF-8 has no form for them)."""
    plain = to_json(value)
    separators = None if indent else (",", ":")
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, as a model may write it
        return json.dumps(plain, ensure_ascii=True, allow_nan=False, indent=indent, separators=separators)
    return text


@lru_cache(maxsize=64)
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def from_json(cls: type[T], value: Json, where: str | None = None) -> T:
    """A record (dataclass) from its JSON form, checked field by field; fields of newer versions are ignored.

    RunError, with every wrong field, when the value is not of that form.
    """
    from pydantic import ValidationError

    try:
        found: T = _adapter(cast(Hashable, cls)).validate_python(value)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'value'}: {one['msg']}" for one in error.errors()[:5])
        raise RunError(
            f"not a saved {cls.__name__}: {wrong}", where=where, fix="the file was changed or damaged: run again"
        ) from None
    return found
