"""Bytes and lines of a file, plain or compressed, in bounded memory; what a reader yields.

Nothing here holds more than one chunk and one line. A damaged archive or an endless line is a Problem at its line.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from burnish.errors import Problem, shorten
from burnish.records import Json

MAX_ROW_BYTES = 16 * 2**20  # one row; a larger one is a broken file far more often than an example
CHUNK = 1 << 18
DAMAGE = "encoding_damage"  # the finding that bytes which are no text count as

_AGAIN = "Compress or download it again."

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Row(NamedTuple):
    """One row of a file. line: 1-based line on which it starts (the row number for Parquet)."""

    line: int
    values: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Unreadable(Problem):
    """The file, or the rest of it from `line` on, cannot be read: more than one bad row, never tolerated."""


class Line(NamedTuple):
    """One physical line without its line feed (a carriage return stays). number: 1-based."""

    number: int
    raw: bytes


class BrokenStreamError(Exception):
    """The bytes of a file end or change where they should not. Never leaves this package."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def compression(head: bytes) -> str | None:
    """`"gz"`, `"zst"` or None from the first bytes: what a file is, whatever its name says."""
    if head.startswith(GZIP_MAGIC):
        return "gz"
    skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return "zst" if head.startswith(ZSTD_MAGIC) or skippable else None


def read_chunks(path: Path) -> Iterator[bytes]:
    """The (decompressed) bytes of a file, at most `CHUNK` at a time for plain and gzip files.

    Raises OSError when the file cannot be opened and BrokenStreamError when an archive is damaged.
    """
    with path.open("rb") as file:
        packed = compression(file.read(4))
        file.seek(0)
        if packed == "gz":
            yield from _gunzip(file)
        elif packed == "zst":
            yield from _unzstd(file)
        else:
            while chunk := file.read(CHUNK):
                yield chunk


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    engine = zlib.decompressobj(31)  # 31: with a gzip header
    pending = b""
    while data := pending or file.read(CHUNK):
        if engine.eof:  # a further member follows (pigz, cat a.gz b.gz), or zero padding (tar)
            data = data.lstrip(b"\0")
            if not data:
                pending = b""
                continue
            engine = zlib.decompressobj(31)
        try:
            out = engine.decompress(data, CHUNK)
        except zlib.error as error:
            raise BrokenStreamError(f"the gzip archive is damaged: {error}", _AGAIN) from None
        if out:
            yield out
        pending = engine.unused_data if engine.eof else engine.unconsumed_tail
    if not engine.eof:
        raise BrokenStreamError("the gzip archive ends early", "Compress or download it again: its end is missing.")


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    # decompressobj rather than stream_reader: only the former tells a truncated frame from a finished one
    engine = zstandard.ZstdDecompressor().decompressobj()
    pending = b""
    feed = 64  # compressed bytes a step; they expand up to 32,768-fold, so the step follows what came out
    while data := pending[:feed] or file.read(feed):
        pending = pending[feed:]
        if engine.eof:
            engine = zstandard.ZstdDecompressor().decompressobj()
        try:
            out = engine.decompress(data)
        except zstandard.ZstdError as error:
            raise BrokenStreamError(f"the zstd archive is damaged: {error}", _AGAIN) from None
        feed = max(16, min(CHUNK, feed * 2, len(data) * CHUNK // max(len(out), 1)))
        for start in range(0, len(out), CHUNK):
            yield out[start : start + CHUNK]
        if engine.eof:
            pending = engine.unused_data + pending
    if not engine.eof:
        raise BrokenStreamError("the zstd archive ends early", "Compress or download it again: its end is missing.")


def read_lines(path: Path, name: str, *, limit: int = MAX_ROW_BYTES) -> Iterator[Line | Problem]:
    """The lines of a file, split at line feeds only. Lines above `limit` bytes and damage are Problems."""
    number = 1
    parts: list[bytes] = []
    size = 0

    def finish() -> Line | Problem:
        raw = b"".join(parts)
        return Line(number, raw) if size <= limit else too_long(name, number, size, raw, limit)

    chunks = read_chunks(path)
    first = True
    while True:
        try:
            chunk = next(chunks, None)
        except BrokenStreamError as error:  # what came of the last line is cut, so it is not handed on
            fix = f"{error.fix} Lines before {number} could be read."
            yield Unreadable(name, number, "", error.what, "", fix)
            return
        if chunk is None:
            break
        if first:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            first = False
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            parts.append(piece)
            size += len(piece)
            yield finish()
            parts, size = [], 0
            number += 1
        if size <= limit:  # of a longer line only the size is kept up
            parts.append(rest)
        size += len(rest)
    if size:
        yield finish()


def too_long(name: str, line: int, size: int, raw: bytes, limit: int) -> Problem:
    """The Problem for a row above the limit, showing its beginning."""
    return Problem(
        name,
        line,
        "",
        f"the row has {size:,} bytes, the limit is {limit:,}",
        shorten(raw[:60].decode("utf-8", "replace")),
        "Check that rows end where they should (one JSON object a line, quotes closed); split longer documents.",
    )


def encoding_problem(name: str, line: int, raw: bytes, field: str = "") -> Problem | None:
    """None when `raw` is UTF-8 without NUL, else the Problem, with the place and a guess at the encoding."""
    if (at := raw.find(b"\0")) >= 0:
        around = shorten(raw[max(0, at - 20) : at + 20].decode("utf-8", "replace"))
        fix = "Remove the NUL bytes; where every other byte is one the file is UTF-16: save it as UTF-8."
        return Problem(name, line, field, f"NUL byte at byte {at + 1} of the row", around, fix, DAMAGE)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        context = raw[max(0, error.start - 20) : error.start + 20]
        try:
            guess = context.decode("cp1252")
        except UnicodeDecodeError:
            guess = context.decode("latin-1")
        return Problem(
            name,
            line,
            field,
            f"not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the row",
            shorten(context),
            f"Save the file as UTF-8. Read as Windows-1252 this would be {shorten(guess, 60)}; "
            "if that is right: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
            DAMAGE,
        )
    return None


def other_encoding(name: str, head: bytes) -> Problem | None:
    """The Problem with a text of another encoding than UTF-8, told by its beginning; None where it is UTF-8.

    Three lines and one in twenty must have bytes that are not UTF-8, and none letters that are: fewer are damage.
    """
    lines = head.split(b"\n")[: -1 if b"\n" in head else None]  # the last one may be cut
    found: list[Problem] = []
    if b"\0" in head:
        return None
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            problem = encoding_problem(name, number, line.removesuffix(b"\r"))
            if problem is None:
                return None
            found.append(problem)
    if len(found) < 3 or 20 * len(found) < len(lines):
        return None
    what = f"the file is not UTF-8: {len(found):,} of its first {len(lines):,} lines have bytes of another encoding"
    return replace(found[0], field="", what=what)


def wide_encoding(head: bytes) -> str | None:
    """The name of a UTF-16 or UTF-32 encoding by its byte order mark or its zero bytes, else None."""
    for mark, encoding in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if head.startswith(mark):
            return encoding
    sample = head[:64]
    if len(sample) >= 4:
        even, odd = sample[0::2], sample[1::2]
        if not any(odd) and all(even):
            return "UTF-16LE"
        if not any(even) and all(odd):
            return "UTF-16BE"
    return None
