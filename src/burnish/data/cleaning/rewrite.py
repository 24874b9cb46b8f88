"""A copy of a data file without some rows and with others changed; all other rows byte for byte as they were."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from burnish.data.read import container
from burnish.data.streams import MAX_ROW_BYTES, Row
from burnish.data.strict_json import row_from_json
from burnish.errors import DataError, Problem
from burnish.records import Json

_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(r"[\s,]*")


class Changed(NamedTuple):
    """One row that was changed, as bytes of the file. after: None when the row was dropped.

    copy_line: where it begins in the copy (of a dropped row: where the row behind it does); shift: how many lines
    further up the rows behind it stand in the copy than in the file.
    """

    line: int
    before: bytes
    after: bytes | None
    copy_line: int
    shift: int


Change = Callable[[int, dict[str, Json]], dict[str, Json]]


def rewrite(
    path: Path, sink: BinaryIO, *, drop: Container[int], change: Container[int], changed: Change
) -> Iterator[Changed]:
    """Write `path` to `sink` in its own format (and compression), row by row; yields what was changed.

    drop, change: lines on which rows begin (row numbers for Parquet). changed: the new values of such a row; equal
    ones leave it as it is. Raises DataError when the file cannot be cut into rows.
    """
    found = container(path)
    if isinstance(found, Problem):
        raise DataError(found.what, where=found.where, fix=found.fix)
    if found.kind == "parquet":
        yield from _parquet(path, sink, found.compression, drop, change, changed)
        return
    with _reader(path, found.compression) as source, _writer(sink, found.compression) as out:
        if found.kind == "jsonl":
            yield from _lines(str(path), source, out, drop, change, changed)
        elif found.kind in ("csv", "tsv"):
            yield from _table(path, source, out, found.delimiter, (drop, change, changed))
        else:
            yield from _values(path, source, out, (drop, change, changed))


def _reader(path: Path, packed: str | None) -> BinaryIO:
    if packed == "gz":
        import gzip

        return cast(BinaryIO, gzip.open(path, "rb"))
    if packed == "zst":
        import zstandard

        frames = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
        return cast(BinaryIO, io.BufferedReader(cast(Any, frames)))
    return path.open("rb")


class _Kept(io.BufferedIOBase):
    """A sink that stays open when what wraps it is closed."""

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink

    def write(self, data: Any) -> int:
        return self.sink.write(data)

    def writable(self) -> bool:
        return True


def _writer(sink: BinaryIO, packed: str | None) -> BinaryIO:
    if packed == "gz":
        import gzip

        return cast(BinaryIO, gzip.GzipFile(filename="", fileobj=sink, mode="wb", mtime=0))
    if packed == "zst":
        import zstandard

        return cast(BinaryIO, zstandard.ZstdCompressor().stream_writer(cast(Any, sink), closefd=False))
    return cast(BinaryIO, _Kept(sink))


def _lines(
    name: str,
    source: Iterable[bytes],
    out: BinaryIO,
    drop: Container[int],
    change: Container[int],
    changed: Change,
) -> Iterator[Changed]:
    shift = 0
    for line, raw in enumerate(source, 1):
        if line in drop:
            shift += 1
            yield Changed(line, raw, None, line + 1 - shift, shift)
        elif line in change:
            new = _new_json(name, line, raw, changed)
            if new != raw:
                yield Changed(line, raw, new, line - shift, shift)
            out.write(new)
        else:
            out.write(raw)


def _new_json(name: str, line: int, raw: bytes, changed: Change) -> bytes:
    """The JSON of a row after its change, in the style of the one before: spaces, escapes, line break, mark."""
    body = raw.removeprefix(_BOM).strip()
    row = row_from_json(name, line, body)
    if not isinstance(row, Row):
        return raw
    values = changed(line, row.values)
    if values == row.values:
        return raw
    at = raw.index(body)
    return raw[:at] + dumped(values, body) + raw[at + len(body) :]


def dumped(value: Json, like: bytes) -> bytes:
    """JSON text in the style of another one."""
    # Control characters are escaped in every style; DEL, and all beyond ASCII, only where nothing else is.
    plain = like.isascii() and b"\x7f" not in like and re.search(rb"\\u(?!00[01])", like) is not None
    if b"\n" in like:
        lines = like.split(b"\n")
        inner, outer = (len(line) - len(line.lstrip()) for line in (lines[1], lines[-1]))
        text = json.dumps(value, ensure_ascii=plain, indent=max(inner - outer, 0))
        return text.replace("\n", "\n" + " " * outer).encode()
    loose = b'": ' in like or b'" : ' in like
    return json.dumps(value, ensure_ascii=plain, separators=(", ", ": ") if loose else (",", ":")).encode()


class _Recorder:
    """Lines for csv.reader, with those it has taken since the last row."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self.source = iter(source)
        self.taken: list[bytes] = []
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        for raw in self.source:
            self.taken.append(raw)
            self.line += 1
            yield raw.removeprefix(_BOM).decode("utf-8", "surrogateescape")


def _table(
    path: Path,
    source: Iterable[bytes],
    out: BinaryIO,
    delimiter: str,
    what: tuple[Container[int], Container[int], Change],
) -> Iterator[Changed]:
    drop, change, changed = what
    if csv.field_size_limit() < MAX_ROW_BYTES:
        csv.field_size_limit(MAX_ROW_BYTES)
    recorder = _Recorder(source)
    reader = csv.reader(iter(recorder), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    shift = 0
    while True:
        line = recorder.line + 1
        recorder.taken = []
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if line not in drop:
                raise DataError(f"the table cannot be cut into rows: {error}", where=f"{path}:{line}") from None
            cells = []
        raw = b"".join(recorder.taken)
        if cells is None:
            out.write(raw)
            return
        if header is None and cells:
            header = [cell.strip() for cell in cells]
        elif line in drop:
            shift += raw.count(b"\n")
            yield Changed(line, raw, None, recorder.line + 1 - shift, shift)
            continue
        elif line in change and header is not None and len(cells) == len(header):
            values = changed(line, dict(zip(header, cells, strict=True)))
            if list(values.values()) != cells:
                new = _csv_line(list(values.values()), delimiter, raw)
                at = line - shift
                shift += raw.count(b"\n") - new.count(b"\n")
                yield Changed(line, raw, new, at, shift)
                raw = new
        out.write(raw)


def _csv_line(cells: list[Json], delimiter: str, like: bytes) -> bytes:
    ending = "\r\n" if like.endswith(b"\r\n") else "\n" if like.endswith(b"\n") else ""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _values(
    path: Path, source: BinaryIO, out: BinaryIO, what: tuple[Container[int], Container[int], Change]
) -> Iterator[Changed]:
    """One array, or objects one after another; the file is held in memory."""
    drop, change, changed = what
    text = source.read().decode("utf-8")
    spans = list(_spans(path, text))
    for (line, *_), (following, *_) in itertools.pairwise(spans):
        if line == following and (line in drop or line in change):
            fix = "Write one row a line (JSONL), so that each can be named."
            raise DataError(
                "several rows begin on one line, so the file is not changed", where=f"{path}:{line}", fix=fix
            )
    kept_before = False
    at = 1 + text.count("\n", 0, spans[0][1]) if spans else 1  # line of the copy on which the row begins
    if spans:
        out.write(text[: spans[0][1]].encode())
    for index, (line, start, end) in enumerate(spans):
        raw = text[start:end].encode()
        new = None if line in drop else _new_json(str(path), line, raw, changed) if line in change else raw
        begins = at
        if new is not None:
            if kept_before:
                out.write(text[spans[index - 1][2] : start].encode())
            out.write(new)
            at += new.count(b"\n")
            kept_before = True
        elif kept_before:
            at -= text.count("\n", spans[index - 1][2], start)  # what parts it from the row before goes with it
        if index + 1 == len(spans):
            at += 1
        elif kept_before:
            at += text.count("\n", end, spans[index + 1][1])
        if new != raw:
            shift = spans[index + 1][0] - at if index + 1 < len(spans) else 0
            yield Changed(line, raw, new, at if new is None else begins, shift)
    out.write(text[spans[-1][2] if spans else 0 :].encode())


def _spans(path: Path, text: str) -> Iterator[tuple[int, int, int]]:
    """Line, start and end of each element."""
    decoder = json.JSONDecoder()
    at = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    array = text[at : at + 1] == "["
    at += array
    line, counted = 1, 0
    while True:
        match = _BETWEEN.match(text, at)
        at = match.end() if match else at
        if at >= len(text) or (array and text[at] == "]"):
            return
        line += text.count("\n", counted, at)
        counted = at
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            fix = "Correct the row first, or write the rows as JSONL: there a bad row stands alone."
            raise DataError("the file cannot be cut into rows", where=f"{path}:{line}", fix=fix) from None
        yield line, at, end
        at = end


def _parquet(
    path: Path, sink: BinaryIO, packed: str | None, drop: Container[int], change: Container[int], changed: Change
) -> Iterator[Changed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reader(path, packed) as source:
        table = pq.read_table(io.BytesIO(source.read()))
    columns: dict[str, list[Json]] = {}
    rows = range(1, table.num_rows + 1)
    shift = 0
    for line in rows:
        if line in drop or line in change:
            values = {name: table.column(name)[line - 1].as_py() for name in table.column_names}
            before = json.dumps(values, ensure_ascii=False, default=str).encode()
            if line in drop:
                shift += 1
                yield Changed(line, before, None, line + 1 - shift, shift)
                continue
            new = changed(line, values)
            for name in [name for name in values if new[name] != values[name]]:
                columns.setdefault(name, table.column(name).to_pylist())[line - 1] = new[name]
            if new != values:
                after = json.dumps(new, ensure_ascii=False, default=str).encode()
                yield Changed(line, before, after, line - shift, shift)
    for name, column in columns.items():
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(column, table.schema.field(at).type))
    kept = table.filter(pa.array([line not in drop for line in rows], pa.bool_()))
    with _writer(sink, packed) as out:
        whole = io.BytesIO()
        pq.write_table(kept, whole)
        out.write(whole.getvalue())
