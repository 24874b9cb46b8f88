"""Rows of CSV, TSV and Parquet files."""

from __future__ import annotations

import csv
import datetime
import decimal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from burnish.data.streams import (
    DAMAGE,
    MAX_ROW_BYTES,
    BrokenStreamError,
    Line,
    Row,
    Unreadable,
    compression,
    encoding_problem,
    read_chunks,
    read_lines,
)
from burnish.data.strict_json import BadJsonError, check_characters
from burnish.errors import Problem, shorten
from burnish.records import Json

_BATCH_BYTES = 4 * 2**20


class _CsvLines:
    """Lines for csv.reader. Bad bytes go on as lone surrogates, so that the row they are in can be named."""

    def __init__(self, path: Path, name: str) -> None:
        self._lines = read_lines(path, name)
        self.number = 0  # line last handed out
        self.stopped: Unreadable | None = None
        self.too_long: Problem | None = None
        self.damaged: dict[int, bytes] = {}

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if isinstance(line, Unreadable):
                self.stopped = line
                return
            if isinstance(line, Line):
                self.number = line.number
                if b"\0" in line.raw:
                    self.damaged[line.number] = line.raw
                text = line.raw.decode("utf-8", "surrogateescape")
                if not text.isascii() and _escaped(text):
                    self.damaged[line.number] = line.raw
                yield text + "\n"
            else:
                self.number = line.line
                self.too_long = line
                yield "\n"


def _escaped(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def read_delimited(path: Path, name: str, delimiter: str) -> Iterator[Row | Problem]:
    """Rows of a table with a header line, as strings. Quotes follow RFC 4180; empty lines are no rows."""
    if csv.field_size_limit() < MAX_ROW_BYTES:
        csv.field_size_limit(MAX_ROW_BYTES)  # process-wide; the default of 128 KB is less than one document
    lines = _CsvLines(path, name)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        start = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problem = _csv_error(name, start, lines, error)
            yield problem
            if isinstance(problem, Unreadable) or header is None:
                return
            continue
        if cells is None:
            break
        if lines.too_long is not None:
            yield lines.too_long
            lines.too_long = None
            if header is None:
                return
            continue
        if not cells:
            continue
        bad = _cell_problem(name, lines, header or cells, cells)
        lines.damaged.clear()
        if header is None:
            bad = bad or _header_problem(name, start, cells)
            if bad is not None:
                yield Unreadable(bad.file, bad.line, bad.field, bad.what, bad.got, bad.fix)
                return
            header = [cell.strip() for cell in cells]
        elif bad is not None:
            yield bad
        elif len(cells) != len(header):
            yield _ragged(name, start, header, cells, delimiter)
        else:
            yield Row(start, dict(zip(header, cells, strict=True)))
    if lines.stopped is not None:
        yield lines.stopped


def _csv_error(name: str, start: int, lines: _CsvLines, error: csv.Error) -> Problem:
    text = str(error)
    if lines.stopped is not None:
        return lines.stopped
    if "unexpected end of data" in text or "field larger" in text:
        return Unreadable(
            name,
            start,
            "",
            f"a quote that opens in this row is not closed up to line {lines.number}",
            "",
            'Close the quote; a quote inside a quoted field is written "".',
        )
    fix = 'Put the whole field in quotes and write a quote inside it as "".'
    return Problem(name, start, "", f"the row cannot be split into fields: {text}", "", fix)


def _cell_problem(name: str, lines: _CsvLines, header: Sequence[str], cells: Sequence[str]) -> Problem | None:
    if not lines.damaged:
        return None
    number, raw = min(lines.damaged.items())
    fields = (column for column, cell in zip(header, cells, strict=False) if "\0" in cell or _escaped(cell))
    field = next(fields, "")
    return encoding_problem(name, number, raw, field if not _escaped(field) and "\0" not in field else "")


def _header_problem(name: str, line: int, cells: Sequence[str]) -> Problem | None:
    names = [cell.strip() for cell in cells]
    if names[0].lower().startswith("sep=") and not any(names[1:]):
        what, fix = "the first line is a note for Excel, not the names of the columns", "Remove the line."
        return Problem(name, line, "", what, shorten(cells[0]), fix)
    for position, column in enumerate(names, 1):
        if not column:
            fix = "Name every column in the first line (pandas: to_csv(…, index=False) leaves the unnamed index out)."
            return Problem(
                name, line, f"column {position}", "the header has a column without a name", str(cells)[:120], fix
            )
    for column in names:
        if names.count(column) > 1:
            fix = "Rename one of the two columns: it would hide the other."
            return Problem(name, line, column, "the header names a column twice", shorten(column), fix)
    return None


def _ragged(name: str, line: int, header: Sequence[str], cells: Sequence[str], delimiter: str) -> Problem:
    counted = f"{len(cells)} field{'s' if len(cells) != 1 else ''}"
    sign = {"\t": "tab", ",": "comma", ";": "semicolon"}.get(delimiter, delimiter)
    if len(cells) > len(header):
        field, fix = "", f"Put fields that contain a {sign} in double quotes."
    else:
        field, fix = header[len(cells)], "Write every field of the row, an empty one for no value."
    return Problem(
        name, line, field, f"the row has {counted}, the header has {len(header)}", shorten(list(cells)), fix
    )


def read_parquet(path: Path, name: str) -> Iterator[Row | Problem]:
    """Rows of a Parquet file in batches of about 4 MB; a compressed file is unpacked to a temporary one first.

    Dates become ISO text; decimals become numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    with ExitStack() as stack:
        try:
            with path.open("rb") as opened:
                packed = compression(opened.read(4))
            source: Any = path
            if packed:
                source = stack.enter_context(tempfile.TemporaryFile())
                for chunk in read_chunks(path):
                    source.write(chunk)
                source.seek(0)
            file = stack.enter_context(pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 18))
            columns = file.schema_arrow.names
            for column in columns:
                if columns.count(column) > 1:
                    fix = "Rename one of the two columns: it would hide the other."
                    yield Unreadable(name, 1, column, "the file has two columns of one name", shorten(column), fix)
                    return
            meta = file.metadata
            weight = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            size = max(1, min(4096, _BATCH_BYTES * max(meta.num_rows, 1) // max(weight, 1)))
            for batch in file.iter_batches(batch_size=size, use_threads=False):
                for index in range(batch.num_rows):
                    row += 1
                    yield _parquet_row(name, row, batch.slice(index, 1))
        except BrokenStreamError as error:
            yield Unreadable(name, 1, "", error.what, "", error.fix)
        except (pa.ArrowException, OSError, NotImplementedError, ValueError) as error:
            what = "the Parquet file is damaged or uses a feature that cannot be read"
            yield Unreadable(name, row + 1, "", what, shorten(str(error)), "Write or download it again.")


def _parquet_row(name: str, line: int, batch: Any) -> Row | Problem:
    values: dict[str, Json] = {}
    for column, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[column] = _plain(array[0].as_py())
            check_characters(values[column], column)
        except UnicodeDecodeError as error:
            fix = "Write the column as UTF-8 text."
            return Problem(name, line, column, "not UTF-8", shorten(error.object[:40]), fix, DAMAGE)
        except BadJsonError as error:
            return Problem(name, line, error.field, error.what, error.got, error.fix, error.finding)
        except (ValueError, OverflowError) as error:  # dates beyond year 9999, …
            return Problem(name, line, column, "the value cannot be read", shorten(str(error)), "Store it as text.")
    return Row(line, values)


def _plain(value: Any) -> Json:
    """A value of Arrow's as JSON has it; bytes stay, for the field's own check to refuse."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
