"""Files that are written whole or not at all.

A file gets a temporary name in its own folder, is flushed to the disk, renamed, and the folder flushed: after a crash
at any moment a reader finds the old file or the new one. Folders are committed the same way, with a manifest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from burnish.errors import RunError
from burnish.records import Json
from burnish.runs.serial import dumps

MANIFEST = "MANIFEST.json"
_TEMPORARY = ".tmp"
# What the disk or its owner refuses: the user's to mend, not a defect.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENAMETOOLONG}


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk (a no-op on Windows, which cannot)."""
    if os.name == "nt":  # pragma: no cover
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Within, a full disk or missing permissions become a RunError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        reason = error.strerror or str(error)
        raise RunError(
            f"cannot be written: {reason}",
            where=str(path),
            fix="free some space or change the permissions, then go on; the file before is untouched",
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder with those around it. RunError where a file is in its way or the system takes no folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise RunError(
            f"the folder cannot be made: {error.strerror}",
            where=str(path),
            fix="a file is in its way, or its place takes no folders: name another (--runs-dir)",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Within, a file to write to, which takes the name `path` at the end, whole, or is removed."""
    with explained(path):
        make_folder(path.parent)
        temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{_TEMPORARY}")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. RunError when the disk is full or refuses."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a JSON value or of records (see serial.to_json), indented."""
    write_text(path, dumps(value, indent=2) + "\n")


def write_jsonl(path: Path, lines: Iterable[Any]) -> None:
    """One JSON value or record a line; streamed, whole or not at all."""
    with replacing(path) as file:
        for line in lines:
            file.write(dumps(line).encode("utf-8") + b"\n")


def read_json(path: Path) -> Any:
    """The JSON value of a file. RunError, with the place, when it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(
            "the file is missing", where=str(path), fix="the run did not get that far: resume it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"the file is no JSON: {error}", where=str(path), fix="it was changed or damaged: restore it or run again"
        ) from None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def append_jsonl(path: Path, lines: Mapping[str, Any] | Iterable[Any]) -> str | None:
    """Append one record or several, flushed to the disk before returning. One process writes a file.

    A last line that a crash cut off is taken away first and returned, None when there was none.
    """
    batch = [lines] if isinstance(lines, Mapping) else list(lines)
    data = b"".join(dumps(line).encode("utf-8") + b"\n" for line in batch)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        created = not path.exists()
        # Unbuffered: closing must not write what could not be written before.
        with path.open("ab+", buffering=0) as file:
            cut = _mend_tail(file)
            before = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                _take_back(path, before)
                raise
        if created:
            sync_folder(path.parent)
    return cut


def _take_back(path: Path, size: int) -> None:
    """Cut off what a failed append may have written, as far as the disk lets us; the next append mends the rest."""
    with suppress(OSError):
        os.truncate(path, size)


def _mend_tail(file: FileIO) -> str | None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return None
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return None
    start, tail = end, b""
    while start > 0 and b"\n" not in tail:
        step = min(start, 65536)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    tail = tail[tail.rfind(b"\n") + 1 :]
    if _is_object(tail):  # only the line's end was lost
        file.write(b"\n")
        return None
    file.truncate(end - len(tail))
    return tail.decode("utf-8", errors="replace")


def read_jsonl(path: Path, on_cut: Callable[[str], None] | None = None) -> list[dict[str, Json]]:
    """The objects of a JSONL file. A last line cut off by a crash is left out and told to `on_cut`.

    RunError (file:line) for any other line that is no JSON object, and for a missing file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            "the file is missing", where=str(path), fix="the run did not get that far: resume it"
        ) from None
    found: list[dict[str, Json]] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if _is_object(line):
            found.append(json.loads(line))
        elif number == len(lines):  # no line end behind it
            if on_cut is not None:
                on_cut(f"{path}:{number}: the last line was cut off and is left out ({len(line)} bytes)")
        else:
            raise RunError(
                "the line is no JSON object",
                got=line[:200].decode("utf-8", errors="replace"),
                where=f"{path}:{number}",
                fix="the file was changed or damaged: restore it or take the line out",
            )
    return found


def clean_temporaries(folder: Path) -> list[str]:
    """Remove what killed writers left in a folder (not below it); the names removed. Call it under the run's lock."""
    left = sorted(folder.glob(f".*{_TEMPORARY}"))
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in left]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise RunError("a committed folder cannot hold links", where=str(path), fix="copy the file instead")
        if path.is_file() and path != folder / MANIFEST:
            found.append(path)
    return found


def commit_folder(temporary: Path, final: Path) -> None:
    """Give a folder that was filled under a temporary name its final one, with a manifest of its files' SHA-256.

    Both names must be on one file system. All files are flushed to the disk before the rename, so `final` is never
    seen half-written. An older folder of that name is moved aside first and removed after; a crash between those two
    renames leaves no `final` (never a mixed one).
    """
    with explained(final):
        manifest = {}
        for path in _files(temporary):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            manifest[path.relative_to(temporary).as_posix()] = {"sha256": _digest(path), "bytes": path.stat().st_size}
        write_json(temporary / MANIFEST, {"format": 1, "files": manifest})
        for folder in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
            sync_folder(folder)
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = None
        if final.exists():
            aside = final.with_name(f".{final.name}.{secrets.token_hex(4)}{_TEMPORARY}")
            final.rename(aside)
        temporary.rename(final)
        sync_folder(final.parent)
        if aside is not None:
            shutil.rmtree(aside)


def verify_folder(folder: Path) -> list[str]:
    """Names of the committed files that are missing or differ from the manifest; empty when all is well.

    A missing or unreadable manifest is named too: such a folder was never committed, or is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (entry["sha256"], entry["bytes"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [MANIFEST]
    root = folder.resolve()
    return [name for name, (sha256, size) in files.items() if not _intact(root, name, sha256, size)]


def _intact(root: Path, name: str, sha256: str, size: int) -> bool:
    try:
        path = (root / name).resolve()  # a damaged manifest must not lead outside the folder
        return path.is_relative_to(root) and path.stat().st_size == size and _digest(path) == sha256
    except (OSError, ValueError):
        return False
