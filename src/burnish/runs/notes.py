"""Where systems keep notes on what they chose: run.json in a run, a file of its own in other work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from burnish.errors import RunError
from burnish.runs.files import read_json, write_json

NOTES_FILE = "notes.json"


class Notes(Protocol):
    """A folder with named notes in it; `RunFolder` is one. Systems may put files of their own beside them."""

    @property
    def path(self) -> Path: ...

    def record(self) -> Mapping[str, Any]:
        """All notes. Raises RunError when they are damaged."""
        ...

    def update(self, **fields: Any) -> None:
        """Set some notes; the others stay."""
        ...


@dataclass(frozen=True, slots=True)
class NotesFolder:
    """The notes of systems that are measured outside a run: notes.json, written with the first note."""

    path: Path

    def record(self) -> dict[str, Any]:
        """All notes, none where nothing was noted. RunError when the file is damaged."""
        file = self.path / NOTES_FILE
        found = read_json(file) if file.exists() else {}
        if not isinstance(found, dict):
            raise RunError(
                "these are no notes of systems", where=str(file), fix="it was changed or damaged: remove it"
            )
        return found

    def update(self, **fields: Any) -> None:
        """Set some notes, whole or not at all."""
        write_json(self.path / NOTES_FILE, self.record() | fields)
