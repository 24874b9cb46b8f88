"""Rows of a file of labelled examples, streamed: JSON, JSONL, CSV, TSV, Parquet, each also in gzip or zstd.

What a file is follows from its content first and its name second. Whatever is wrong is a Problem at its line.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from burnish.data.streams import (
    BrokenStreamError,
    Line,
    Row,
    Unreadable,
    compression,
    other_encoding,
    read_chunks,
    read_lines,
    wide_encoding,
)
from burnish.data.strict_json import BadJsonError, parse_json, row_from_json, stream_values
from burnish.data.tables import read_delimited, read_parquet
from burnish.errors import Problem, shorten

__all__ = ["NO_ROWS", "Container", "Row", "Unreadable", "container", "read_rows"]

NO_ROWS = "the file has no rows"
_HEAD = 1 << 16
_SPACE = b" \t\r\n"
_EXTENSIONS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unzip it, or save the sheet as CSV UTF-8."),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "Save the sheet as CSV UTF-8."),
    (b"BZh", "compressed with bzip2", "Unpack it, or compress it with gzip or zstd."),
    (b"\xfd7zXZ", "compressed with xz", "Unpack it, or compress it with gzip or zstd."),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "Unpack it, or compress it with gzip or zstd."),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it."),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV or JSONL."),
    (b"ARROW1", "an Arrow IPC file", "Write it as Parquet."),
    (b"%PDF", "a PDF document", "Extract the rows into JSONL or CSV."),
    (
        b"\x80\x04\x95",
        "a Python pickle",
        "Write the rows as JSONL or Parquet; pickles can run code and are not read.",
    ),
)


class Container(NamedTuple):
    """How a file holds its rows.

    kind: "json" is one array, "objects" JSON objects that follow one another and span lines, "jsonl" one a line.
    delimiter: of a CSV or TSV file.
    """

    kind: Literal["json", "objects", "jsonl", "csv", "tsv", "parquet"]
    compression: str | None = None
    delimiter: str = ""

    def __str__(self) -> str:
        sign = f" with {self.delimiter!r}" if self.kind == "csv" and self.delimiter != "," else ""
        return self.kind + sign + (f".{self.compression}" if self.compression else "")


def read_rows(path: str | Path) -> Iterator[Row | Problem]:
    """The rows of a file, in order, with a Problem in place of each bad one. Raises nothing for bad content.

    An Unreadable (a Problem) says that the file, or its rest, is lost: a missing file, a directory, no rows at all,
    a damaged archive, a header that cannot be used, an array that is not closed.
    """
    path = Path(path)
    name = str(path)
    found = container(path)
    if isinstance(found, Problem):
        yield found
        return
    count = 0
    try:
        for item in _rows(path, name, found):
            count += 1
            yield item
    except BrokenStreamError as error:
        yield Unreadable(name, 1, "", error.what, "", error.fix)
    except OSError as error:
        yield Unreadable(name, count + 1, "", f"reading failed: {error.strerror or error}", "", "Check the disk.")
    if not count:
        yield Unreadable(name, 1, "", NO_ROWS, "", "Write at least ten labelled rows into it.")


def _rows(path: Path, name: str, found: Container) -> Iterator[Row | Problem]:
    if found.kind in ("json", "objects"):
        yield from stream_values(read_chunks(path), name, array=found.kind == "json")
    elif found.kind == "jsonl":
        for line in read_lines(path, name):
            if isinstance(line, Line):
                if line.raw.strip(_SPACE):
                    yield row_from_json(name, line.number, line.raw)
            else:
                yield line
    elif found.kind == "parquet":
        yield from read_parquet(path, name)
    else:
        yield from read_delimited(path, name, found.delimiter)


def container(path: Path) -> Container | Unreadable:
    """What kind of file this is, from its first 64 KB (unpacked) and its name."""
    name = str(path)
    problem = _no_file(path, name)
    if problem is not None:
        return problem
    try:
        with path.open("rb") as file:
            packed = compression(file.read(4))
        head = _head(path)
    except BrokenStreamError as error:
        return Unreadable(name, 1, "", error.what, "", error.fix)
    except OSError as error:
        fix = "Check the file's permissions."
        return Unreadable(name, 1, "", f"the file cannot be opened: {error.strerror or error}", "", fix)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst", ".zstd", ".gzip"):
        suffixes.pop()
    named = _EXTENSIONS.get(suffixes[-1]) if suffixes else None
    return _from_head(name, head, named, packed)


def _no_file(path: Path, name: str) -> Unreadable | None:
    try:
        if path.is_file():
            return None
        if path.is_dir():
            return Unreadable(name, 1, "", "this is a directory", "", "Name the data files in it, one by one.")
        if path.exists():
            return Unreadable(name, 1, "", "not a regular file", "", "Write the rows to a file: it is read twice.")
        others = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, others, 1)
    except (OSError, ValueError) as error:  # no permission on the folder; NUL in the name
        return Unreadable(name, 1, "", f"the file cannot be opened: {error}", "", "Check the path.")
    fix = f"Did you mean {path.parent / near[0]}?" if near else f"Check the path; it is relative to {Path.cwd()}."
    return Unreadable(name, 1, "", "there is no such file", shorten(name), fix)


def _head(path: Path) -> bytes:
    head = b""
    chunks = read_chunks(path)
    try:
        for chunk in chunks:
            head += chunk
            if len(head) >= _HEAD:
                break
    except BrokenStreamError:
        if not head:  # otherwise the reader will say it, at its line
            raise
    return head[:_HEAD]


def _from_head(name: str, head: bytes, named: str | None, packed: str | None) -> Container | Unreadable:
    if head.startswith(b"PAR1") or (named == "parquet" and head):
        return Container("parquet", packed)
    for magic, what, fix in _FOREIGN:
        if head.startswith(magic):
            return Unreadable(name, 1, "", f"the file is {what}", "", fix)
    if (encoding := wide_encoding(head)) is not None:
        fix = f"Save it as UTF-8: iconv -f {encoding} -t UTF-8 OLD > NEW"
        return Unreadable(name, 1, "", f"the file is {encoding}, not UTF-8", shorten(head[:20]), fix)
    if (other := other_encoding(name, head)) is not None:
        return Unreadable(name, other.line, "", other.what, other.got, other.fix)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    if not text and len(head) < _HEAD:
        return Unreadable(name, 1, "", "the file is empty", "", "Write at least ten labelled rows into it.")
    if named in ("csv", "tsv"):
        return _table(text, named, packed)
    if text.startswith(b"["):
        return Container("json", packed)
    if named or text.startswith(b"{"):
        return Container("objects" if _spans_lines(text, named) else "jsonl", packed)
    if any(sign in text.split(b"\n", 1)[0] for sign in (b"\t", b",", b";")):
        return _table(text, "csv", packed)
    fix = "Name it .jsonl, .json, .csv, .tsv or .parquet (also with .gz or .zst)."
    what = "neither the name nor the content says what kind of file this is"
    return Unreadable(name, 1, "", what, shorten(text[:40]), fix)


def _spans_lines(text: bytes, named: str | None) -> bool:
    """Whether JSON objects are written over several lines: the first one ends on a later line than it begins."""
    if not text.startswith(b"{"):
        return False
    start = text.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):  # damaged, or longer than the head
        lines = [line for line in text.split(b"\n") if line.strip(_SPACE)]
        if any(_is_object(line) for line in lines[:3]):
            return False
        return named == "json" or lines[0].strip(_SPACE) == b"{"
    return "\n" in start[:end]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line.decode("utf-8", "replace").strip()), dict)
    except BadJsonError:
        return False


def _table(text: bytes, named: str, packed: str | None) -> Container:
    """A table with its delimiter: the name's own if the header has it, else one the header does have."""
    header = text.split(b"\n", 1)[0]
    usual = "\t" if named == "tsv" else ","
    for sign in (usual, "\t", ";", ","):
        if sign.encode() in header:
            return Container("tsv" if sign == "\t" else "csv", packed, sign)
    return Container("tsv" if named == "tsv" else "csv", packed, usual)
