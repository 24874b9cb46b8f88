"""JSON as data must be: no duplicate keys, no NaN, no lone surrogates, no bottomless nesting; arrays are streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from burnish.data.streams import (
    DAMAGE,
    MAX_ROW_BYTES,
    BrokenStreamError,
    Row,
    Unreadable,
    encoding_problem,
    too_long,
)
from burnish.errors import Problem, shorten
from burnish.records import Json

MAX_DEPTH = 100
_SPECIAL = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


class BadJsonError(ValueError):
    """Text that is not acceptable JSON. line: 1-based within the text. Never leaves this package."""

    def __init__(
        self, what: str, *, line: int = 1, field: str = "", got: str = "", fix: str = "", finding: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.field = field
        self.got = got
        self.fix = fix or "Write the value as valid JSON."
        self.finding = finding


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, value in pairs:
            if key in seen:
                raise BadJsonError(
                    f"the key {shorten(key, 60)} occurs twice in one object",
                    field=key,
                    got=shorten(value),
                    fix="Keep one of the two: readers disagree on which one counts.",
                )
            seen.add(key)
    return made


def _constant(name: str) -> Json:
    raise BadJsonError(f"{name} is not JSON", got=name, fix="Use null, or leave the field or the row out.")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadJsonError("a number too large for a float", got=shorten(text), fix="Write it as a string.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)


def parse_json(text: str) -> Json:
    """The value of a JSON text. Raises BadJsonError."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 30) : error.pos + 30]
        raise BadJsonError(
            f"not valid JSON: {error.msg} at column {error.colno}",
            line=error.lineno,
            got=shorten(near),
            fix=_advice(error, text),
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except BadJsonError:
        raise
    except ValueError:  # an integer above Python's limit of digits
        raise BadJsonError("an integer with too many digits", fix="Write it as a string.") from None
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    if _SPECIAL.search(text):
        check_characters(value)
    return value


def _too_deep() -> BadJsonError:
    return BadJsonError(f"nested more than {MAX_DEPTH} deep", fix="Flatten the value.")


def _advice(error: json.JSONDecodeError, text: str) -> str:
    at = text[error.pos : error.pos + 1]
    if error.msg.startswith("Extra data"):
        return "Put one JSON value on a line (or the rows in one array); nothing may follow it."
    if at == "'" or (at and text[max(0, error.pos - 1) : error.pos] == "'"):
        return "JSON strings take double quotes: write rows with json.dumps, not str()."
    if error.msg.startswith("Invalid control character"):
        return "Escape line breaks and tabs inside strings (\\n, \\t): write rows with json.dumps."
    if error.msg.startswith("Invalid \\escape"):
        return "Write a backslash inside a string as \\\\."
    if error.msg.startswith(("Expecting property name", "Illegal trailing comma")):
        return "Remove a trailing comma; put keys in double quotes."
    if error.msg.startswith("Unterminated string") or not at:
        return "The row is cut off: complete it or remove it."
    if at in "NTF":
        return "Write null, true and false in JSON, not None, True and False."
    return "Correct the row at this column; json.dumps writes valid rows."


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise _too_deep()


def check_characters(value: Json, field: str = "") -> None:
    """Raises BadJsonError at the first string with a lone surrogate or a NUL, naming its field."""
    if isinstance(value, str):
        if "\0" in value:
            what = "a NUL character in the text"
            raise BadJsonError(what, field=field, got=shorten(value), fix="Remove it.", finding=DAMAGE)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadJsonError(
                "half of a surrogate pair (\\ud800 to \\udfff alone) is not a character",
                field=field,
                got=ascii(value[max(0, error.start - 20) : error.start + 20]),
                fix="Write the row again with a correct encoder: the text was cut inside an emoji or a rare letter.",
                finding=DAMAGE,
            ) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            check_characters(key, field)
            check_characters(item, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_characters(item, f"{field}[{index}]")


_KIND = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}


def kind_of(value: object) -> str:
    """A JSON value's type in words."""
    return _KIND.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def row_from_json(name: str, line: int, raw: bytes) -> Row | Problem:
    """One row from the bytes of one JSON object that starts on `line`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text, damage = "", error.start
    else:
        damage = raw.find(b"\0")
    if damage >= 0 and (bad := encoding_problem(name, line + raw.count(b"\n", 0, damage), raw)):
        return bad
    try:
        value = parse_json(text.strip())
    except BadJsonError as error:
        return Problem(name, line + error.line - 1, error.field, error.what, error.got, error.fix, error.finding)
    if not isinstance(value, dict):
        fix = 'Write each row as an object with named fields, such as {"text": …, "label": …}.'
        return Problem(name, line, "", f"a row must be a JSON object, this is {kind_of(value)}", shorten(value), fix)
    return Row(line, value)


# A string ends at its quote, or at a line break, where it is broken anyway: so damage stays within one row.
_TOKEN = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+(["\n])|([{\[])|([}\]])|(")', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|[^,\]\[{}\s"]+|"[^\n]*', re.DOTALL)


class _Element(NamedTuple):
    line: int
    raw: bytes
    size: int


def stream_values(
    chunks: Iterable[bytes], name: str, *, array: bool, limit: int = MAX_ROW_BYTES
) -> Iterator[Row | Problem]:
    """Rows of one big array (`array`), or of objects that follow one another and may span lines.

    Each element is cut out by counting brackets and then parsed by itself, so memory is one element and one chunk,
    and a bad element does not take its neighbours along.
    """
    for item in _Scanner(iter(chunks), name, limit).scan(array):
        if isinstance(item, Problem):
            yield item
        elif item.size > limit:
            yield too_long(name, item.line, item.size, item.raw, limit)
        else:
            yield row_from_json(name, item.line, item.raw)


class _Scanner:
    """Cuts a stream of JSON text into top-level elements.

    buffer[pos:] is what has not been looked at; line is the 1-based line of pos.
    """

    def __init__(self, chunks: Iterator[bytes], name: str, limit: int) -> None:
        self.chunks = chunks
        self.name = name
        self.limit = limit
        self.buffer = b""
        self.pos = 0
        self.line = 1
        self.ended = False
        self.broken: BrokenStreamError | None = None
        self._fill()
        if self.buffer.startswith(b"\xef\xbb\xbf"):
            self.pos = 3

    def _fill(self, wanted: int = 1) -> bool:
        """Append `wanted` bytes or more behind what is left; False at the end."""
        parts = [self.buffer[self.pos :]]
        while wanted > 0 and not self.ended:
            try:
                chunk = next(self.chunks, None)
            except BrokenStreamError as error:
                self.broken = error
                chunk = None
            self.ended = chunk is None
            if chunk is not None:
                parts.append(chunk)
                wanted -= len(chunk)
        self.buffer = b"".join(parts)
        self.pos = 0
        return len(parts) > 1

    def _advance(self, end: int) -> None:
        self.line += self.buffer.count(b"\n", self.pos, end)
        self.pos = end

    def _peek(self) -> bytes:
        """The next byte that is not white space (b"" at the end), with pos on it."""
        while True:
            match = _SPACE.match(self.buffer, self.pos)
            self._advance(match.end() if match else self.pos)
            if self.pos < len(self.buffer):
                return self.buffer[self.pos : self.pos + 1]
            if not self._fill():
                return b""

    def _stop(self, what: str, fix: str, line: int | None = None, got: str = "") -> Unreadable:
        if self.broken is not None:
            what, fix = self.broken.what, self.broken.fix
        return Unreadable(self.name, line or self.line, "", what, got, fix)

    def scan(self, array: bool) -> Iterator[_Element | Problem]:
        if array:
            self._peek()
            self._advance(self.pos + 1)
        comma_due = False
        comma_line = 0  # line of a comma that no element has followed yet
        while byte := self._peek():
            if array and byte == b"]":
                if comma_line:
                    yield self._problem("a comma without a row behind it", ",", "Remove the comma.", comma_line)
                self._advance(self.pos + 1)
                if (after := self._peek()) or self.broken:
                    fix = "Remove what follows the closing bracket, or put all rows in one array."
                    yield self._stop(
                        "text after the end of the array", fix, got=shorten(self._show()) if after else ""
                    )
                return
            if array and byte == b",":
                if not comma_due:
                    yield self._problem("a comma without a row in front of it", ",", "Remove the comma.")
                comma_due, comma_line = False, self.line
                self._advance(self.pos + 1)
                continue
            if array and comma_due:
                yield self._problem("no comma between two rows", self._show(), "Put a comma between the rows.")
            element = self._nested() if byte in (b"{", b"[") else self._scalar()
            yield element
            if isinstance(element, Unreadable):
                return
            comma_due, comma_line = array, 0
        if array or self.broken:
            yield self._stop(
                "the file ends inside the array", "Complete it: a closing ] is missing, rows may be too."
            )

    def _problem(self, what: str, got: str, fix: str, line: int | None = None) -> Problem:
        return Problem(self.name, line or self.line, "", what, shorten(got), fix)

    def _show(self) -> str:
        while len(self.buffer) - self.pos < 40 and self._fill():
            pass
        return self.buffer[self.pos : self.pos + 40].decode("utf-8", "replace")

    def _scalar(self) -> _Element:
        while True:
            match = _SCALAR.match(self.buffer, self.pos)
            end = match.end() if match else self.pos + 1  # a stray closing bracket or quote
            if end < len(self.buffer) or end - self.pos > self.limit or not self._fill(end - self.pos):
                break
        line, raw = self.line, self.buffer[self.pos : end]
        self._advance(end)
        return _Element(line, raw, len(raw))

    def _nested(self) -> _Element | Unreadable:
        """The element in brackets that starts at pos. Of one above the limit only the beginning is kept."""
        line, depth, size = self.line, 0, 0
        head = b""  # kept beginning of an element above the limit
        at = self.pos
        while True:
            for match in _TOKEN.finditer(self.buffer, at):
                at = match.end()
                if match[4]:  # a string that goes on behind the buffer
                    at = match.start()
                    break
                depth, end = _after(match, depth)
                if not depth and end:
                    raw = head or self.buffer[self.pos : end]
                    size += end - self.pos
                    self._advance(end)
                    return _Element(line, raw, size)
            else:
                at = len(self.buffer)
            if at - self.pos > self.limit or (head and at > self.pos):
                head = head or self.buffer[self.pos : self.pos + 100]
                size += at - self.pos
                self._advance(at)
            elif len(self.buffer) - self.pos > 2 * self.limit:
                what = f"a string of more than {self.limit:,} bytes in the row that starts on line {line}"
                return self._stop(what, "Close its quote, or split the document.", line, shorten(self._show()))
            at -= self.pos
            if not self._fill(len(self.buffer) - self.pos):  # doubling: a long string is scanned again each time
                what = f"the file ends inside the row that starts on line {line}"
                return self._stop(what, "Complete the row, or remove it.", line, shorten(self._show()))


def _after(match: re.Match[bytes], depth: int) -> tuple[int, int]:
    """The depth behind a token, and where the token ends (0 for a string, which closes nothing)."""
    if match[2]:
        return depth + 1, match.end()
    if match[3]:
        return depth - 1, match.end()
    if match[1] != b"\n":
        return depth, 0
    # the quote is missing, so the brackets that close the row on this line look like text
    text = match[0].rstrip(b", \t\r\n")
    closers = [index for index in range(len(text.rstrip(b"]} \t")), len(text)) if text[index] in b"]}"]
    if len(closers) < depth:
        return depth - len(closers), 0
    return 0, match.start() + closers[depth - 1] + 1
