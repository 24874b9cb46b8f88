"""One JSON object from a file, with line and column of every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, Problem, shorten


class _TwiceError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _TwiceError(key)
        values[key] = value
    return values


def read_json_object(file: Path) -> dict[str, Any]:
    """Raises ConfigError: without problems when the file cannot be opened, else with the place in it."""

    def fail(line: int, column: int, what: str, got: str, fix: str) -> ConfigError:
        return ConfigError("", problems=[Problem(str(file), line, str(column) if column else "", what, got, fix)])

    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        what = (
            "there is no such schema file"
            if isinstance(error, FileNotFoundError)
            else "the schema file cannot be read"
        )
        raise ConfigError(what, fix=f"looked for {file}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fail(line, 0, "the file is not UTF-8", f"byte 0x{data[error.start]:02x}", "save it as UTF-8") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        lines = text.split("\n")
        got = shorten(lines[error.lineno - 1]) if lines[error.lineno - 1].strip() else ""
        raise fail(error.lineno, error.colno, f"not valid JSON: {error.msg}", got, _fix(error, text)) from None
    except _TwiceError as error:
        at = text.rfind(json.dumps(str(error), ensure_ascii=False))
        line = text.count("\n", 0, at) + 1 if at >= 0 else 0
        raise fail(line, 0, "the key appears twice", repr(str(error)), "keep one") from None
    except RecursionError:
        raise fail(1, 0, "values are nested too deeply to read", "", "flatten the file") from None
    if not isinstance(value, dict):
        raise fail(
            1, 0, "a JSON Schema is a JSON object", shorten(value), 'write {"type": "object", "properties": {…}}'
        )
    return value


def _fix(error: json.JSONDecodeError, text: str) -> str:
    if not text.strip():
        return "the file is empty: write the schema into it"
    at = text[error.pos : error.pos + 1]
    if at == "'":
        return "JSON wants double quotes"
    if at in ("}", "]") or "trailing comma" in error.msg.lower():
        return "remove the comma before it"
    if text[error.pos : error.pos + 2] in ("//", "/*") or at == "#":
        return "JSON has no comments: remove it"
    return "mend the JSON there"
