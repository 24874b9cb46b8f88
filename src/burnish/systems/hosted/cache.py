"""Answers on disk by what was asked: a run that was killed pays for nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from burnish.errors import RunError
from burnish.records import Json
from burnish.runs import dumps, from_json, to_json, write_bytes
from burnish.systems.hosted.wire import Reply


class ReplyCache:
    """One file an answer, named by the SHA-256 of endpoint and request; neither key nor request is kept in it."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._folder, self._base_url = folder, base_url.rstrip("/")

    def find(self, body: Mapping[str, Json]) -> Reply | None:
        """The answer to a request that was sent before. A damaged file counts as none."""
        try:
            return from_json(Reply, json.loads(self._path(body).read_bytes()))
        except (OSError, ValueError, RunError):
            return None

    def keep(self, body: Mapping[str, Json], reply: Reply) -> None:
        """Written whole or not at all; a cache that cannot be written is none."""
        path = self._path(body)
        with contextlib.suppress(OSError, RunError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, dumps(to_json(reply)).encode())

    def _path(self, body: Mapping[str, Json]) -> Path:
        text = json.dumps([self._base_url, body], sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.json"
