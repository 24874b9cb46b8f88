"""The log of a cleaned copy, `<copy>.changes.jsonl`: a line for each row and finding, then one that names both files.

Entries stand in the order of the file. With `copy_line` and `shift` (see rewrite.Changed) they lead from every line
of the copy back to the file, and from every line of the file to the copy, without either of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from burnish.data.checks.masking import masked
from burnish.data.cleaning.rewrite import Changed
from burnish.data.fingerprint import file_fingerprint
from burnish.errors import DataError
from burnish.records import Json, Source
from burnish.runs import read_jsonl

_SHOWN = 200  # characters of a row


class Entry(NamedTuple):
    """What was done to one row because of one finding. before, after: masked text (after: None when dropped; both
    None where the log shows no text). repeats: file:line of the row that a dropped copy repeats, in the files that
    were cleaned."""

    line: int
    copy_line: int
    shift: int
    kind: str
    action: str
    before: str | None
    after: str | None
    repeats: str | None = None


class ChangeLog(NamedTuple):
    """A log read back. file: what was cleaned, as it was named then; path: where that was; both hashes as of then."""

    log: Path
    file: str
    path: str
    sha256: str
    copy_sha256: str
    entries: tuple[Entry, ...]

    def back(self, line: int) -> tuple[int, tuple[Entry, ...]]:
        """The line in the file of the row that begins on this line of the copy, and what was done to it."""
        shift = 0
        done: list[Entry] = []
        for entry in self.entries:
            if entry.copy_line > line:
                break
            if entry.copy_line == line and entry.action != "drop":
                done.append(entry)
            else:
                shift = entry.shift
        return (done[0].line if done else line + shift), tuple(done)

    def forth(self, line: int) -> tuple[int | None, tuple[Entry, ...]]:
        """The line in the copy of the row that begins on this line of the file (None: dropped), and what was done."""
        shift = 0
        done: list[Entry] = []
        for entry in self.entries:
            if entry.line > line:
                break
            if entry.line == line:
                done.append(entry)
            else:
                shift = entry.shift
        if not done:
            return line - shift, ()
        return (None if done[0].action == "drop" else done[0].copy_line), tuple(done)

    def counts(self) -> dict[str, int]:
        """Action to rows."""
        return dict(Counter(action for action, _ in {(entry.action, entry.line) for entry in self.entries}))


def log_of(copy: Path) -> Path:
    """Where the log of a cleaned copy is."""
    return copy.with_name(f"{copy.name}.changes.jsonl")


def entry_of(
    path: Path, made: Changed, kind: str, action: str, *, repeats: Source | None = None, text: bool = True
) -> dict[str, Json]:
    """One line of the log.

    before, after: masked text, with its SHA-256 where nothing was masked: a hash would give short secrets away.
    repeats: the row that a copy repeats. text: whether to show any; names of persons are not told reliably in rows as
    they are in the file.
    """
    entry: dict[str, Json] = {"file": str(path), "line": made.line, "kind": kind, "action": action}
    entry |= {"copy_line": made.copy_line, "shift": made.shift}
    if repeats is not None:
        entry["repeats"] = f"{repeats.file}:{repeats.line}"
    for name, raw in (("before", made.before), ("after", made.after)):
        whole = None if raw is None or not text else raw.decode("utf-8", "replace")
        shown = None if whole is None else masked(whole)
        entry[name] = None if shown is None else shown.strip()[:_SHOWN]
        entry[f"{name}_sha256"] = (
            hashlib.sha256(raw).hexdigest() if raw is not None and whole is not None and shown == whole else None
        )
    return entry


def end_of(path: Path, copy: Path, written: Path) -> dict[str, Json]:
    """The log's last line. written: the file that holds the copy while it has not its name yet."""
    files = {"file": str(path), "path": str(path.resolve()), "sha256": file_fingerprint(path)}
    return files | {"copy": str(copy), "copy_sha256": file_fingerprint(written)}


def read_log(copy: Path) -> ChangeLog | None:
    """The log beside a file; None when there is none. DataError when it has no end, RunError for a broken line."""
    path = log_of(copy)
    if not path.exists():
        return None
    *lines, end = read_jsonl(path) or [{}]
    if "copy_sha256" not in end:
        fix = "It was cut, or an older version of Burnish wrote it: remove it and the copy, and clean the file again."
        raise DataError("the log of a cleaned copy has no last line that names both files", where=str(path), fix=fix)
    entries = tuple(
        Entry(**{name: line[name] for name in Entry._fields if name != "repeats"}, repeats=line.get("repeats"))
        for line in lines
    )
    return ChangeLog(path, end["file"], end["path"], end["sha256"], end["copy_sha256"], entries)
