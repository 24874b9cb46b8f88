"""Hashes of content: of an example, of its input, of files, of lists of examples whatever their order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from burnish.errors import DataError
from burnish.records import Example, Json, Message

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def canonical(value: Json) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: equal values give equal bytes.

    Raises TypeError or ValueError for what JSON does not have (bytes, NaN, lone surrogates).
    """
    return _ENCODER.encode(value).encode("utf-8")


def _message(message: Message) -> dict[str, Json]:
    made: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        made["tool_calls"] = [[call.name, dict(call.arguments), call.id] for call in message.tool_calls]
    if message.name is not None:
        made["name"] = message.name
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def input_digest(messages: Sequence[Message], tools: Sequence[Mapping[str, Json]] = ()) -> bytes:
    """SHA-256 (32 bytes) of what a system is shown: the input messages and the tools."""
    return hashlib.sha256(canonical([[_message(message) for message in messages], list(tools)])).digest()


def content_digest(messages: Sequence[Message], target: Json, tools: Sequence[Mapping[str, Json]] = ()) -> bytes:
    """SHA-256 (32 bytes) of input and target."""
    return hashlib.sha256(input_digest(messages, tools) + canonical(target)).digest()


def example_id(messages: Sequence[Message], target: Json, tools: Sequence[Mapping[str, Json]] = ()) -> str:
    """16 hex digits that name the content (input, target, tools): copies share it, places and order do not matter."""
    return content_digest(messages, target, tools).hex()[:16]


def input_key(example: Example) -> str:
    """64 hex digits that name the example's input: equal for rows that ask the same thing."""
    return input_digest(example.messages, example.tools).hex()


def file_fingerprint(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hex. Raises DataError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path), fix="Check the path."
        ) from None


def files_fingerprint(paths: Iterable[str | Path]) -> str:
    """One SHA-256 (hex) for several files: of their sorted fingerprints, so names and order do not matter."""
    return hashlib.sha256("".join(sorted(file_fingerprint(path) for path in paths)).encode()).hexdigest()


def examples_fingerprint(examples: Iterable[Example]) -> str:
    """One SHA-256 (hex) for a collection of examples: the same in any order, another when a copy is added."""
    digests = sorted(content_digest(example.messages, example.target, example.tools) for example in examples)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def combined(fingerprints: Sequence[str]) -> str:
    """One SHA-256 (hex) for several in their order; of one alone it is that one."""
    return fingerprints[0] if len(fingerprints) == 1 else hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def sealed_hash(test: Iterable[Example]) -> str:
    """The seal of a test part: its fingerprint, fixed when the split is made and checked before every look."""
    return examples_fingerprint(test)
