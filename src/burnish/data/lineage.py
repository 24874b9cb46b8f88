"""Where each example of a run came from: lineage.jsonl in the run folder, and finding a row in it.

Rows of a cleaned copy are followed through its log to the file that was cleaned, and on if that was a copy, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from burnish.data.cleaning.log import ChangeLog, Entry, read_log
from burnish.data.fingerprint import file_fingerprint
from burnish.data.mixture import Extra
from burnish.data.versions import Version, VersionRow, version_row
from burnish.errors import RunError
from burnish.records import Json, Source, Split
from burnish.runs import RunFolder, read_jsonl

LINEAGE = "lineage.jsonl"
PARTS = ("train", "validation", "test")
Now = Literal["unchanged", "changed", "missing"]


class FileState(NamedTuple):
    """A file that a run read. name: as messages call it; sha256: when it was read; now: compared with it."""

    name: str
    path: str
    sha256: str
    now: Now


class Cleanings(NamedTuple):
    """The cleanings that a file comes from, the last first. broken: it, or a file on the way, was changed since."""

    logs: tuple[ChangeLog, ...]
    broken: bool


class Origin(NamedTuple):
    """A row before a cleaning, and what was done to it there (nothing: it was left as it was)."""

    source: Source
    changes: tuple[Entry, ...]


class Traced(NamedTuple):
    """A row and its way back, the last cleaning first. row: None when a cleaning dropped it."""

    row: VersionRow | None
    origins: tuple[Origin, ...]


def lineage_lines(split: Split, extras: Sequence[Extra] = ()) -> Iterator[dict[str, Json]]:
    """The lines of lineage.jsonl: of every example its id, the hash of its input, its part, and its place.

    The part of a row of the mixture is "mixture" with the data set's name.
    """
    parts = [(name, getattr(split, name)) for name in PARTS]
    parts += [(f"mixture {extra.name}", extra.rows) for extra in extras]
    for part, examples in parts:
        for example in examples:
            row = version_row(example, part, keep_target=False)
            place = {"file": row.source.file, "line": row.source.line}
            yield {"id": row.id, "input": row.input, "part": part, **place}


def read_files(split: Split, extras: Sequence[Extra] = ()) -> dict[str, Json]:
    """Name to path and SHA-256 of every file that examples come from: `data_files` of run.json."""
    names = dict.fromkeys(example.source.file for name in PARTS for example in getattr(split, name))
    names |= dict.fromkeys(example.source.file for extra in extras for example in extra.rows)
    return {name: {"path": str(Path(name).resolve()), "sha256": file_fingerprint(name)} for name in names}


def run_rows(folder: Path) -> list[VersionRow]:
    """The rows of a run. RunError when the run kept no lineage."""
    path = folder / LINEAGE
    if not path.exists():
        fix = "it stopped before the split, or an older version of Burnish made it: run again"
        raise RunError("the run has no lineage", where=str(path), fix=fix)
    return [
        VersionRow(line["id"], line["input"], line["part"], Source(line["file"], line["line"]))
        for line in read_jsonl(path)
    ]


def run_version(folder: RunFolder) -> Version:
    """A run's data as a version; rows of its mixture included."""
    return Version(folder.run_id, run_rows(folder.path), str(folder.record().get("data_fingerprint") or ""))


def file_states(files: Mapping[str, Mapping[str, str]]) -> list[FileState]:
    """`data_files` of run.json, compared with the files as they are now."""
    found = []
    for name, known in files.items():
        path = Path(known["path"])
        now: Now = "missing"
        if path.is_file():
            now = "unchanged" if file_fingerprint(path) == known["sha256"] else "changed"
        found.append(FileState(name, str(path), known["sha256"], now))
    return found


def cleanings_of(file: FileState) -> Cleanings:
    """What the logs of `burnish check --fix` say of a file as it was read. Raises as read_log does."""
    logs: list[ChangeLog] = []
    path, sha256 = Path(file.path), file.sha256
    while (log := read_log(path)) is not None:
        if log.copy_sha256 != sha256:
            return Cleanings(tuple(logs), True)
        logs.append(log)
        path, sha256 = Path(log.path), log.sha256
    return Cleanings(tuple(logs), False)


def trace(rows: Iterable[VersionRow], cleanings: Mapping[str, Cleanings], wanted: str) -> list[Traced]:
    """The rows with this id or place, also a place in a file before it was cleaned. RunError when there is none.

    cleanings: by the name of the file that the rows were read from.
    """
    rows = list(rows)
    name, _, number = wanted.rpartition(":")
    if name and number.isdigit():
        for file, (logs, _) in cleanings.items():
            line = int(number)
            first = next((at for at, log in enumerate(logs) if _is_file(log, name)), -1)
            for at in range(first, -1, -1):
                stands, done = logs[at].forth(line)
                if stands is None:
                    dropped = Origin(Source(logs[at].file, line), done)
                    return [Traced(None, (dropped, *_origins(logs[at + 1 :], line)))]
                line = stands
            found = [row for row in rows if first >= 0 and row.source == Source(file, line)]
            if found:
                return [Traced(row, _origins(logs, line)) for row in found]
    return [Traced(row, _back(row, cleanings)) for row in find_rows(rows, wanted)]


def _is_file(log: ChangeLog, name: str) -> bool:
    return name == log.file or str(Path(name).resolve()) == log.path


def _back(row: VersionRow, cleanings: Mapping[str, Cleanings]) -> tuple[Origin, ...]:
    own = cleanings.get(row.source.file)
    return () if own is None else _origins(own.logs, row.source.line)


def _origins(logs: Sequence[ChangeLog], line: int) -> tuple[Origin, ...]:
    found: list[Origin] = []
    for log in logs:
        line, done = log.back(line)
        found.append(Origin(Source(log.file, line), done))
    return tuple(found)


def find_rows(rows: Iterable[VersionRow], wanted: str) -> list[VersionRow]:
    """Rows with this id, the beginning of an id, or this place (file:line). RunError when there is none."""
    name, _, line = wanted.rpartition(":")
    found = [
        row
        for row in rows
        if (row.id.startswith(wanted) if not name else row.source == Source(name, int(line) if line.isdigit() else 0))
    ]
    if not found:
        fix = "give an id of split.json or of predictions/, or a place as FILE:LINE"
        raise RunError("the run has no such example", got=wanted, fix=fix)
    return found
