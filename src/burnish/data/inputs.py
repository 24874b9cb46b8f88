"""Inputs without answers, for prediction: the same shapes as labelled rows, read with the same code.

A row that has its answer is taken without it, so a labelled file can be answered again. What a model was trained on
and what it is asked must not differ by a space: both come from `formats.take_apart`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from burnish.data.checks.masking import masked_problem
from burnish.data.fingerprint import example_id
from burnish.data.formats import CONVERSATIONS, Draft, check_input, conversation, take_apart, tools_of
from burnish.data.gemini import CONTENTS
from burnish.data.instances import INSTANCES, INSTRUCTION, instances
from burnish.data.leaderboard import FUNCTION, QUESTION, question_turns
from burnish.data.preferences import COMPLETIONS, preference_shape
from burnish.data.read import NO_ROWS, read_rows
from burnish.data.shapes import TARGET_COLUMNS, TEXT_COLUMNS, Columns, Format, Shape, ShapeName, held
from burnish.data.streams import Line, Row, Unreadable, encoding_problem, read_lines
from burnish.data.turns import BadFieldError, nearest
from burnish.errors import DataError, Problem
from burnish.records import Example, Json, Kind, Message, Source

_PLAIN = (".txt", ".text", ".log", ".md", "")
_PACKED = (".gz", ".gzip", ".zst", ".zstd")


def is_plain_text(path: Path) -> bool:
    """Whether a file holds one input a line, by its name (.txt, also packed, or no extension)."""
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return name.suffix.lower() in _PLAIN


def read_inputs(
    path: str | Path,
    *,
    kind: Kind,
    format: Format = "auto",
    text: str | None = None,
    target: str | None = None,
    tools: str | None = None,
    show: int = 20,
) -> list[Example]:
    """Every input of a file as an Example whose target is None.

    Plain text has one input a line; other files are read as data files are, with or without answers.
    text, target, tools: columns; None: the usual ones. Raises DataError with the first `show` bad rows: an answer
    for every row, or none at all.
    """
    path = Path(path)
    found: list[Example] = []
    problems: list[Problem] = []
    bad = 0
    columns = Columns(text=text, target=target, tools=tools)
    items = _lines(path) if is_plain_text(path) and path.is_file() else _rows(path, kind, format, columns)
    for item in items:
        if isinstance(item, Example):
            found.append(item)
            continue
        bad += 1
        if len(problems) < show:
            problems.append(masked_problem(item))
    if bad:
        lost = isinstance(problems[-1], Unreadable)
        what = "the file cannot be used" if lost else f"{bad:,} of {bad + len(found):,} inputs cannot be read"
        raise DataError(what, problems=problems, count=bad, fix=None if lost else "correct or remove these rows")
    if not found:
        raise DataError("there are no inputs", where=str(path), fix="write one input a line")
    return found


def text_input(text: str, source: Source, tools: tuple[Mapping[str, Json], ...] = ()) -> Example:
    """One text as an unlabelled example."""
    messages = (Message("user", text),)
    return Example(example_id(messages, None, tools), messages, None, source, tools)


def _lines(path: Path) -> list[Example | Problem]:
    name = str(path)
    found: list[Example | Problem] = []
    for line in read_lines(path, name):
        if not isinstance(line, Line):
            found.append(line)
            continue
        problem = encoding_problem(name, line.number, line.raw)
        if problem is not None:
            found.append(problem)
            continue
        text = line.raw.decode("utf-8").removesuffix("\r")
        if text.strip():
            found.append(text_input(text, Source(name, line.number)))
        else:
            fix = "remove it: every line is one input, and its answer stands on the same line of the output"
            found.append(Problem(name, line.number, "", "the line is empty", "", fix))
    return found


def _rows(path: Path, kind: Kind, format: Format, columns: Columns) -> list[Example | Problem]:
    name = str(path)
    found: list[Example | Problem] = []
    for item in read_rows(path):
        if isinstance(item, Unreadable) and item.what == NO_ROWS:
            found.append(replace(item, fix="write a row for every input"))
            continue
        if not isinstance(item, Row):
            found.append(item)
            continue
        for values in _asked(item.values, format, columns):
            try:
                if isinstance(values, BadFieldError):
                    raise values
                found.append(_input(name, Row(item.line, values), kind, format, columns))
            except BadFieldError as error:
                found.append(Problem(name, item.line, error.field, error.what, error.got, error.fix))
    return found


def _asked(values: dict[str, Json], format: Format, columns: Columns) -> Iterator[dict[str, Json] | BadFieldError]:
    """The values of a row, or of each of its instances."""
    nested = (
        columns.text is None and format in ("auto", "self_instruct") and {INSTRUCTION, INSTANCES} <= values.keys()
    )
    for one in instances(values) if nested else ():
        yield one if isinstance(one, BadFieldError) else one.values
    if not nested:
        yield values


def _input(name: str, row: Row, kind: Kind, format: Format, columns: Columns) -> Example:
    values = row.values
    shape = _judged_shape(values, format, columns) if kind == "preference" else None
    if shape is None:
        kind = "generation" if kind == "preference" else kind  # without its answers a row is like any other input
        shape = input_shape(values, kind, format, columns)
    messages, tools = _messages(values, shape, kind), tools_of(values, columns, shape)
    check_input(Draft(messages, None, "", shape.text))
    return Example(example_id(messages, None, tools), messages, None, Source(name, row.line), tools)


def _judged_shape(values: Mapping[str, Json], format: Format, columns: Columns) -> Shape | None:
    """The shape of a preference row that still has its answers, None without them."""
    try:
        return Shape(*preference_shape(values, columns.text, columns.target, format))
    except BadFieldError:
        return None


def _messages(values: Mapping[str, Json], shape: Shape, kind: Kind) -> tuple[Message, ...]:
    if shape.name == "bfcl":
        return question_turns(values[QUESTION])
    if shape.name in CONVERSATIONS:
        return _without_answer(conversation(values, shape)[0])
    return take_apart(values, shape, kind).messages


def _without_answer(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[:-1] if len(messages) > 1 and messages[-1].role == "assistant" else messages


def input_shape(values: Mapping[str, Json], kind: Kind, format: Format, columns: Columns) -> Shape:
    """The shape of a row that may have no answer. Raises BadFieldError when no input column is found.

    The order is that of labelled rows, so that the same column is the input in both.
    """
    text = columns.text
    if text is not None and text not in values:
        what = f"there is no column {text!r}"
        raise BadFieldError(text, what, list(values), f"Name the input's column so.{nearest(text, list(values))}")
    if format == "messages" or (text is None and "messages" in values and format == "auto"):
        return _at(values, "messages" if columns.target is None else "columns", text or "messages")
    if format == "sharegpt" or (text is None and "conversations" in values and format == "auto"):
        return _at(values, "sharegpt", text or "conversations")
    if format == "gemini" or (text is None and CONTENTS in values and format == "auto"):
        return _at(values, "gemini", text or CONTENTS)
    if format in ("alpaca", "self_instruct") or (text is None and format == "auto" and _is_alpaca(values, kind)):
        return _at(values, "alpaca", text or "instruction")
    if format == "bfcl" or (text is None and {QUESTION, FUNCTION} <= values.keys() and format == "auto"):
        return _at(values, "bfcl", QUESTION)
    if text is not None:
        return Shape("columns", text)
    answered = "completion" in values or "response" in values
    if "prompt" in values and (format == "prompt_completion" or answered):
        return Shape("columns", "prompt")
    for column in held(TEXT_COLUMNS, values):
        if column != columns.target:
            return Shape("columns", column)
    fix = f"Name the input's column {' or '.join(TEXT_COLUMNS[:3])}, or write one input a line into a .txt file."
    raise BadFieldError("", "no column with the input was found", list(values), fix)


def _is_alpaca(values: Mapping[str, Json], kind: Kind) -> bool:
    """`input` beside an instruction is its context, unless the answer stands in a column of another shape."""
    if "instruction" not in values:
        return False
    answered = any(column in values for column in COMPLETIONS)
    return answered or not any(column in values for column in TARGET_COLUMNS[kind])


def _at(values: Mapping[str, Json], name: ShapeName, column: str) -> Shape:
    if column not in values:
        fix = f"Add the column to the row.{nearest(column, list(values))}"
        raise BadFieldError(column, f"there is no column {column!r}", list(values), fix)
    return Shape(name, column, "output" if name == "alpaca" else None)
