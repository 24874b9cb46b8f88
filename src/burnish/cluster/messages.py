"""What workers tell those who started them: progress, errors and the result, as JSON values."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from burnish import errors
from burnish.errors import BurnishError
from burnish.progress import Progress

Send = Callable[[dict[str, Any]], None]
KINDS: dict[str, type[BurnishError]] = {
    cls.kind: cls
    for cls in (
        errors.BurnishError,
        errors.ConfigError,
        errors.DataError,
        errors.ModelError,
        errors.TrainingError,
        errors.RunError,
        errors.Interrupted,
    )
}


class Sender:
    """A Progress whose words go to another process."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def stage(self, name: str, detail: str = "") -> None:
        self._send({"type": "stage", "name": name, "detail": detail})

    def notice(self, text: str, *, warning: bool = False) -> None:
        self._send({"type": "notice", "text": text, "warning": warning})

    def advance(self, what: str, done: int, total: int, facts: Mapping[str, str] | None = None) -> None:
        self._send({"type": "advance", "what": what, "done": done, "total": total, "facts": dict(facts or {})})


def tell(message: Mapping[str, Any], progress: Progress) -> bool:
    """Pass a Sender's message on; False when it is none."""
    kind = message.get("type")
    if kind == "stage":
        progress.stage(message["name"], message["detail"])
    elif kind == "notice":
        progress.notice(message["text"], warning=message["warning"])
    elif kind == "advance":
        progress.advance(message["what"], message["done"], message["total"], message["facts"] or None)
    else:
        return False
    return True


class _Verbatim(str):
    """A value that was shortened already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class WorkerDefectError(Exception):
    """A worker failed by a defect of Burnish; the text is its traceback."""


def error_message(error: BaseException) -> dict[str, Any]:
    """What ended a worker. lost: only because another one was gone."""
    if isinstance(error, BurnishError):
        return {"type": "error", "lost": False, "trace": None, **error.to_dict()}
    trace = "".join(traceback.format_exception(error))
    return {"type": "error", "error": "defect", "lost": lost_another(error), "trace": trace, "what": str(error)}


def lost_another(error: BaseException) -> bool:
    """Whether an exchange failed because another process is gone."""
    text = str(error).lower()
    signs = ("connection closed", "connection reset", "broken pipe", "connection refused", "socket", "remote process")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def error_from(message: Mapping[str, Any]) -> Exception:
    """The error of a message again."""
    if message["trace"] is not None:
        return WorkerDefectError(message["trace"])
    got = message["got"]
    options: dict[str, Any] = {} if got is None else {"got": _Verbatim(got)}
    return KINDS.get(message["error"], BurnishError)(
        message["what"], where=message["where"], fix=message["fix"], **options
    )
