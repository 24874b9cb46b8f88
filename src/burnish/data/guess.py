"""Which kind of task a file of labelled rows is for, guessed from its first rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from burnish.data.answers import Answers, joined
from burnish.data.gemini import CONTENTS, answer_of
from burnish.data.instances import INSTANCES, OUTPUT, instances
from burnish.data.leaderboard import ANSWER, FUNCTION, QUESTION
from burnish.data.preferences import is_preference
from burnish.data.read import read_rows
from burnish.data.shapes import held
from burnish.data.streams import Row
from burnish.data.strict_json import BadJsonError, parse_json
from burnish.data.turns import BadFieldError
from burnish.errors import Problem
from burnish.records import Json, Kind

_ROWS = 200
_LABEL = ("label", "category", "class")
_ANSWER = ("target", "output", "completion", "response", "answer", "answers", "json", "tool_calls")
_SHORT = 80  # characters of a label, at most


def guess_kind(path: str | Path, target: str | None = None, answers: Sequence[str | Path] = ()) -> Kind:
    """The kind whose data these are; generation where nothing says otherwise.

    target: the answer's column, None for the usual ones. answers: files with the answers, joined by id. Bad rows are
    passed over: reading will name them.
    """
    found: Iterable[Row | Problem] = islice(read_rows(path), _ROWS)
    if answers:
        found = joined(str(path), found, Answers(answers))
    rows = [item.values for item in found if isinstance(item, Row)]
    if target is None and rows and _most(is_preference(row) for row in rows):
        return "preference"
    answers = [_answer(row, target) for row in rows]
    given = [answer for answer in answers if answer is not None]
    if not given:
        return "generation"
    if _most(_is_calls(answer) for answer in given):
        return "tool_calling"
    if _most(isinstance(answer, Mapping) for answer in given):
        return "extraction"
    if target is None and _most(any(held(_LABEL, row)) for row in rows):
        return "classification"
    texts = [str(answer) for answer in given]
    few = len(set(texts)) <= len(texts) / 3 and max(map(len, texts)) <= _SHORT
    return "classification" if few else "generation"


def _most(tests: Iterable[bool]) -> bool:
    found = list(tests)
    return sum(found) > len(found) / 2


def _answer(row: Mapping[str, Json], target: str | None) -> Json:
    """The row's answer, decoded where it is the text of an object or a list."""
    if target is not None:
        return _decoded(row.get(target))
    if {QUESTION, FUNCTION, ANSWER} <= row.keys():  # BFCL's own form of a call
        return [{"function": None}]
    for one in instances(row) if INSTANCES in row else ():
        if not isinstance(one, BadFieldError):
            return _decoded(one.values.get(OUTPUT))
    if CONTENTS in row:
        return _decoded(answer_of(_decoded(row[CONTENTS])))
    for turns in (row.get("messages"), row.get("conversations"), row.get("completion")):
        if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping):
            last = turns[-1]
            return last.get("tool_calls") or _decoded(last.get("content", last.get("value")))
    column = next((column for column in held((*_LABEL, *_ANSWER), row) if row[column] is not None), None)
    return None if column is None else _decoded(row[column])


def _decoded(value: Json) -> Json:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parse_json(value.strip())
        except BadJsonError:
            return value
    return value


def _is_calls(answer: Json) -> bool:
    if not isinstance(answer, list) or not answer or not isinstance(answer[0], Mapping):
        return False
    return "function" in answer[0] or {"name", "arguments"} <= answer[0].keys()
