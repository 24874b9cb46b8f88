"""Answers that stand in files of their own, joined to their rows by the column `id`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from burnish.data.read import read_rows
from burnish.data.streams import Row
from burnish.errors import MISSING, Problem, shorten
from burnish.records import Json, Source

ID = "id"


class Answer(NamedTuple):
    """What a file of answers says of one id, and where."""

    source: Source
    values: Mapping[str, Json]


class Answers:
    """The answers of some files by id, all in memory, and the problems found while reading them."""

    def __init__(self, files: Sequence[str | Path]) -> None:
        self.files = ", ".join(map(str, files))
        self.problems: list[Problem] = []
        self._by_id: dict[str, Answer] = {}
        for file in files:
            for item in read_rows(file):
                problem = item if isinstance(item, Problem) else self._add(str(file), item)
                if problem is not None:
                    self.problems.append(problem)

    def _add(self, file: str, row: Row) -> Problem | None:
        key = _key(row)
        if key is None:
            return _no_id(file, row, "Give every answer the id of its row.")
        if key in self._by_id:
            first = self._by_id[key].source
            fix = f"Keep one of the two: the other stands in {first.file}:{first.line}."
            return Problem(file, row.line, ID, "two answers have one id", shorten(key), fix)
        self._by_id[key] = Answer(Source(file, row.line), row.values)
        return None

    def join(self, file: str, row: Row) -> Row | Problem:
        """The row with the fields of its answer, or why it has none."""
        key = _key(row)
        if key is None:
            return _no_id(file, row, f"Give the row the id of its answer in {self.files}.")
        answer = self._by_id.get(key)
        if answer is None:
            what = "the row is unlabelled: no answer has its id"
            fix = f"Write the answer into {self.files}, or remove the row."
            return Problem(file, row.line, ID, what, shorten(key), fix, "empty_field")
        for field, value in answer.values.items():
            if field != ID and field in row.values and row.values[field] != value:
                fix = f"Keep one of the two: the other stands in {answer.source.file}:{answer.source.line}."
                what = "the row and its answer have different values here"
                return Problem(file, row.line, field, what, shorten(row.values[field]), fix)
        return Row(row.line, {**answer.values, **row.values})

    def placed(self, row: Row, problem: Problem) -> Problem:
        """A problem with a joined row, told where the field stands: in the row's file or in that of its answer."""
        answer = self._by_id[str(row.values[ID])]
        column = problem.field.split(".", 1)[0].split("[", 1)[0]
        if column == ID or column not in answer.values:
            return problem
        return replace(problem, file=answer.source.file, line=answer.source.line)


def joined(file: str, rows: Iterable[Row | Problem], answers: Answers) -> Iterable[Row | Problem]:
    """Rows with their answers; problems as they are."""
    return (answers.join(file, item) if isinstance(item, Row) else item for item in rows)


def _key(row: Row) -> str | None:
    value = row.values.get(ID)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _no_id(file: str, row: Row, fix: str) -> Problem:
    value = row.values.get(ID, MISSING)
    got = "" if value is MISSING else shorten(value)
    return Problem(file, row.line, ID, "the row has no id to join its answer by, a text or a whole number", got, fix)
