"""Files of labelled rows to Examples: streamed, or read whole within a limit of bad rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from burnish.data.answers import Answers, joined
from burnish.data.checks.masking import masked_problem
from burnish.data.formats import to_examples
from burnish.data.places import SHOWN
from burnish.data.prompts import is_conversation
from burnish.data.read import container, read_rows
from burnish.data.shapes import NAME_THEM, Columns, Format, Rules, detect_shape
from burnish.data.streams import Row, Unreadable
from burnish.data.targets import schema_check
from burnish.data.turns import BadFieldError
from burnish.data.unused import unused_columns
from burnish.errors import MISSING, DataError, Problem
from burnish.records import Example, Json, Kind

_OF_A_ROW = ("tools", "function", "functions", "instances")  # lists of objects that one row may well have
_FIRST_ROWS = 20  # the shape of a file is what most of its first rows have


class FileFormat(NamedTuple):
    """What was detected in one file. container: "jsonl", "csv.gz", …; shape: "messages", "columns text → label", …

    answer: the column with the answer, or with the turns of which it is the last. unused: columns that are not read.
    """

    file: str
    container: str
    shape: str
    answer: str
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" and {len(self.unused) - SHOWN} more" if len(self.unused) > SHOWN else ""
        unused = f"; not used: {', '.join(self.unused[:SHOWN])}{more}" if self.unused else ""
        return f"{self.file}: {self.container}, {self.shape}{unused}"


class Reading(NamedTuple):
    """What read_examples found.

    problems: the first bad rows; bad: the number of all; rows: good and bad together;
    format: the shapes found, in words; files: one entry a file.
    """

    examples: list[Example]
    problems: tuple[Problem, ...]
    bad: int
    format: str
    files: tuple[FileFormat, ...]
    rows: int


def iter_examples(
    paths: str | Path | Sequence[str | Path],
    *,
    kind: Kind,
    format: Format = "auto",
    text: str | None = None,
    target: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    document: str | None = None,
    tools: str | None = None,
    slices: Sequence[str] = (),
    labels: Collection[str] | None = None,
    schema: Mapping[str, Json] | None = None,
    answers: Sequence[str | Path] = (),
    on_file: Callable[[FileFormat], None] | None = None,
) -> Iterator[Example | Problem]:
    """Every row of the files, in order, as an Example or a Problem, in bounded memory.

    slices: columns whose values the examples keep.
    text, target, group, weight, document, tools: columns; None: the usual names (group, weight, document: none).
    labels, schema: what targets must keep to. answers: files with the answers, joined by id (answers.py).
    on_file is told what was detected in each file.
    Raises ConfigError when the schema is not a JSON Schema; never anything for what the files hold.
    """
    check = schema_check(schema) if schema is not None else None
    known = frozenset(labels) if labels is not None else None
    columns = Columns(text, target, tools, group, weight, tuple(slices), document)
    rules = Rules(kind, columns, format, known, check)
    known_answers = Answers(answers) if answers else None
    if known_answers is not None:
        yield from known_answers.problems
    for path in [paths] if isinstance(paths, str | Path) else paths:
        yield from _file_examples(Path(path), rules, known_answers, on_file)


def _file_examples(
    path: Path, rules: Rules, answers: Answers | None, on_file: Callable[[FileFormat], None] | None
) -> Iterator[Example | Problem]:
    name = str(path)
    rows = read_rows(path) if answers is None else iter(joined(name, read_rows(path), answers))
    first: list[Row | Problem] = []
    for item in rows:
        if isinstance(item, Problem) and not first:
            yield item
            continue
        first.append(item)
        if len(first) >= _FIRST_ROWS:
            break
    good = [item for item in first if isinstance(item, Row)]
    if not good:
        return
    try:
        _refuse_columns(first)
        shape = detect_shape(good, rules)
    except BadFieldError as error:
        error = _wrapped(first) or error
        unnamed = error.fix == NAME_THEM and _is_table(path)
        header = " The first line must name the columns." if unnamed else ""
        yield from (item for item in first if isinstance(item, Problem))
        yield Unreadable(name, good[0].line, error.field, error.what, error.got, error.fix + header)
        return
    if on_file is not None:
        unused = unused_columns([row.values for row in good], shape, rules.columns)
        on_file(FileFormat(name, str(container(path)), str(shape), shape.target or shape.text, unused))
    for item in chain(first, rows):
        if not isinstance(item, Row):
            yield item
            continue
        for made in to_examples(name, item, shape, rules):
            yield answers.placed(item, made) if answers is not None and isinstance(made, Problem) else made


def _is_table(path: Path) -> bool:
    found = container(path)
    return not isinstance(found, Problem) and found.kind in ("csv", "tsv")


def _only(first: Sequence[Row | Problem]) -> Mapping[str, Json]:
    """The values of the one row that a file has; nothing for more rows."""
    return first[0].values if len(first) == 1 and isinstance(first[0], Row) else {}


def _wrapped(first: Sequence[Row | Problem]) -> BadFieldError | None:
    """What is wrong with a file of one object that holds the rows below a key."""
    for key, value in _only(first).items():
        rows = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        if rows and key not in _OF_A_ROW and not is_conversation(value):
            fix = f"Write the rows alone: jq -c '.[\"{key}\"][]' OLD > NEW.jsonl"
            return BadFieldError(key, f"the file is one object, whose {key!r} holds the rows", MISSING, fix)
    return None


def _refuse_columns(first: Sequence[Row | Problem]) -> None:
    """Raise BadFieldError for a file of one object that holds a list of values, or {"0": …}, for each column."""
    only = _only(first)
    if len(only) > 1 and all(map(_is_column, only.values())):
        fix = "Write rows; with pandas: to_json(NEW, orient='records', lines=True, force_ascii=False)."
        raise BadFieldError("", "the file is one object of columns, not of rows", list(only), fix)


def _is_column(value: Json) -> bool:
    if isinstance(value, dict):
        return "0" in value
    return isinstance(value, list) and len(value) > 1 and not any(isinstance(item, list | dict) for item in value)


def read_examples(
    paths: str | Path | Sequence[str | Path],
    *,
    kind: Kind,
    format: Format = "auto",
    text: str | None = None,
    target: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    document: str | None = None,
    tools: str | None = None,
    slices: Sequence[str] = (),
    labels: Collection[str] | None = None,
    schema: Mapping[str, Json] | None = None,
    answers: Sequence[str | Path] = (),
    allow_bad_rows: int = 0,
    show: int = 20,
) -> Reading:
    """All examples of the files; arguments as for iter_examples.

    Reads to the end, so that all bad rows are counted, and raises DataError with the first `show` of them when
    there are more than `allow_bad_rows`, when a file (or the rest of one) cannot be read, or when nothing is left.
    """
    examples: list[Example] = []
    bad = BadRows(show)
    files: list[FileFormat] = []
    for item in iter_examples(
        paths,
        kind=kind,
        format=format,
        text=text,
        target=target,
        group=group,
        weight=weight,
        document=document,
        tools=tools,
        slices=slices,
        labels=labels,
        schema=schema,
        answers=answers,
        on_file=files.append,
    ):
        if isinstance(item, Example):
            examples.append(item)
            continue
        bad.add(item)
    bad.require_readable(len(examples), allow_bad_rows)
    shapes = "; ".join(dict.fromkeys(file.shape for file in files))
    return Reading(examples, bad.shown(), bad.count, shapes, tuple(files), len(examples) + bad.count)


class BadRows:
    """The count of all bad rows and the first `show` of them; files that could not be read on come first."""

    def __init__(self, show: int) -> None:
        self.show = show
        self.count = 0
        self.lost: list[Problem] = []
        self.rows: list[Problem] = []

    def add(self, problem: Problem) -> None:
        problem = masked_problem(problem)
        self.count += 1
        held = self.lost if isinstance(problem, Unreadable) else self.rows
        if len(held) < self.show or not held:
            held.append(problem)

    def shown(self) -> tuple[Problem, ...]:
        return tuple([*self.lost, *self.rows][: self.show])

    def require_readable(self, good: int, allow_bad_rows: int) -> None:
        """Raise DataError unless there are good rows and the bad ones are within what is allowed."""
        if self.lost:
            what = "a file cannot be used" if len(self.lost) == 1 else f"{len(self.lost)} files cannot be used"
            raise DataError(what, problems=self.shown(), count=self.count)
        if self.count > allow_bad_rows:
            what = f"{self.count:,} bad row{'s' if self.count != 1 else ''} of {good + self.count:,}"
            fix = f"Correct the rows, or go on without them: --allow-bad-rows {self.count}."
            fix = fix if good else "Correct the rows: none of them can be read."
            raise DataError(what, problems=self.shown(), count=self.count, fix=fix)
        if not good:
            fix = "Name a file with labelled rows."
            raise DataError("there are no labelled rows", problems=self.shown(), count=self.count, fix=fix)
