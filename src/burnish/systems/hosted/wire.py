"""OpenAI's chat completions on the wire: what is sent, what comes back, and what a refusal means. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from burnish.records import Json, Message
from burnish.thoughts import without_thought

CHARACTERS_PER_TOKEN = 4  # where an endpoint does not count; English, the usual rule of thumb
_TOO_LONG = (
    "context length", "context_length", "context window", "maximum context", "too long", "too many tokens",
    "reduce the length", "exceeds the model",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. finish: "stop", "length" at the token limit, "refused" when the model or a filter would not answer.

    cached_tokens: of the prompt, read from the endpoint's own cache. counted: whether the endpoint told the tokens.
    seconds: from request to answer.
    """

    text: str
    finish: Literal["stop", "length", "refused"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    counted: bool = True
    seconds: float = 0.0


class Refusal(NamedTuple):
    """Why a request was not answered. kind: retry: later it may be; too_long: the prompt; unsupported: `field` is not
    known there; key, model, credit and other: asking again is of no use. wait: seconds that the endpoint asks for."""

    kind: Literal["retry", "too_long", "unsupported", "key", "model", "credit", "other"]
    message: str
    field: str | None = None
    wait: float | None = None


class MalformedError(Exception):
    """A reply that is none."""


def chat_body(
    model: str,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    temperature: float,
    seed: int | None = None,
    schema: Mapping[str, Json] | None = None,
    extra: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """The body of a request. schema: what the answer must be, when its root is an object (the API takes no other).

    extra goes before everything else. A tool's result is sent as the user's turn, as calls are written as text.
    """
    roles = {"tool": "user", "developer": "system"}
    body: dict[str, Json] = {
        "model": model,
        "messages": [{"role": roles.get(turn.role, turn.role), "content": turn.content} for turn in messages],
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    if seed is not None:
        body["seed"] = seed
    if schema is not None and schema.get("type") == "object":
        named = {"name": "answer", "schema": dict(schema), "strict": is_strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body | dict(extra or {})


def is_strict(schema: Json) -> bool:
    """Whether every object names all its properties as required and takes no others, as strict mode asks."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    if "properties" in schema or schema.get("type") == "object":
        names = set(schema.get("properties") or ())
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != names:
            return False
    inner = [
        value for key, value in schema.items() if key not in ("properties", "$defs", "enum", "const", "required")
    ]
    named = [*(schema.get("properties") or {}).values(), *(schema.get("$defs") or {}).values()]
    return all(map(is_strict, [*inner, *named]))


def characters(body: Mapping[str, Json]) -> int:
    """Of the messages and the schema: what the prompt's tokens are estimated from."""
    schema = body.get("response_format")
    told = 0 if schema is None else len(json.dumps(schema))
    return told + sum(len(turn["content"]) + CHARACTERS_PER_TOKEN * 4 for turn in body["messages"])


def read_reply(text: str, body: Mapping[str, Json], seconds: float) -> Reply:
    """What the endpoint answered to `body`. Raises MalformedError."""
    try:
        data = json.loads(text)
    except ValueError:
        raise MalformedError("it is no JSON") from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedError("it has no choices")
    message, ended = choices[0].get("message"), choices[0].get("finish_reason")
    if not isinstance(message, dict):
        raise MalformedError("its choice has no message")
    content, refusal = _content(message.get("content")), message.get("refusal")
    finish: Literal["stop", "length", "refused"] = "length" if ended == "length" else "stop"
    if refusal or ended == "content_filter":
        finish, content = "refused", str(refusal or content or "")
    if content is None and finish != "length":
        raise MalformedError("its message has no content")
    answer = without_thought(content or "")
    usage = data.get("usage")
    numbers = usage if isinstance(usage, dict) else {}
    prompt, completion = _count(numbers.get("prompt_tokens")), _count(numbers.get("completion_tokens"))
    details = numbers.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Reply(
        text=answer,
        finish=finish,
        prompt_tokens=characters(body) // CHARACTERS_PER_TOKEN if prompt is None else prompt,
        completion_tokens=len(content or "") // CHARACTERS_PER_TOKEN if completion is None else completion,
        cached_tokens=cached or 0,
        counted=prompt is not None and completion is not None,
        seconds=seconds,
    )


def _content(content: Json) -> str | None:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_refusal(status: int, headers: Mapping[str, str], text: str, body: Mapping[str, Json]) -> Refusal:
    """What an answer with another status than 200 means."""
    message, code, field = _error(text)
    said = message.lower()
    if status in (401, 403):
        return Refusal("key", message)
    if "insufficient_quota" in (code, field) or status == 402:
        return Refusal("credit", message)
    if code == "context_length_exceeded" or (status in (400, 413, 422) and any(words in said for words in _TOO_LONG)):
        return Refusal("too_long", message)
    if status == 404:
        return Refusal("model", message)
    if status in (400, 422) and (unknown := _unsupported(said, field, body)):
        return Refusal("unsupported", message, unknown)
    if status in (408, 409, 425, 429) or status >= 500:
        return Refusal("retry", f"status {status}: {message}", wait=_retry_after(headers))
    if 300 <= status < 400:
        return Refusal("other", f"status {status}: it redirects to {headers.get('location', 'another place')}")
    return Refusal("other", f"status {status}: {message}")


def _error(text: str) -> tuple[str, str | None, str | None]:
    """(message, code, field) of an error's body, which is OpenAI's shape, another JSON, or anything."""
    try:
        data: Any = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:200] or "it says nothing", None, None
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return str(error)[:300], None, None
    message = error.get("message") or error.get("detail") or json.dumps(error)[:300]
    code, field = error.get("code") or error.get("type"), error.get("param")
    return str(message)[:500], None if code is None else str(code), field if isinstance(field, str) else None


# What an endpoint may not know, and what it says then.
_OPTIONAL = {
    "response_format": ("response_format", "json_schema", "structured output", "json schema", "guided"),
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "temperature": ("temperature",),
    "seed": ("seed",),
}


def _unsupported(said: str, field: str | None, body: Mapping[str, Json]) -> str | None:
    for name, words in _OPTIONAL.items():
        if name in body and ((field or "").startswith(name) or any(word in said for word in words)):
            return name
    return None


def without(body: Mapping[str, Json], field: str) -> dict[str, Json]:
    """The body without a field that the endpoint does not know; the token limit goes by its newer name."""
    rest = {key: value for key, value in body.items() if key != field}
    return rest | {"max_completion_tokens": body[field]} if field == "max_tokens" else rest


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for: a number, or a date (RFC 9110, section 10.2.3)."""
    value = {key.lower(): value for key, value in headers.items()}.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
