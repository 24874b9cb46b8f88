"""Multiple-choice questions from a file of any usual shape, read strictly.

lists      {"question", "choices": [text, …], "answer": place from 0, letter from A, or the choice's text}
labelled   {"question", "choices": {"text": […], "label": […]}, "answerKey": label}, and a list of {"text", "label"}
columns    question, then A, B, C … or choice1, choice2 … or option_a, option_b …, and answer: label or text
in line    {"instruction": "… Answer1: … Answer2: …", "answer": "answer2"} (LLM-Adapters)
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from burnish.data.fingerprint import canonical
from burnish.data.load import BadRows
from burnish.data.read import Row, read_rows
from burnish.data.strict_json import BadJsonError, parse_json
from burnish.data.turns import BadFieldError, nearest
from burnish.errors import DataError, Problem
from burnish.records import Json

BUILT_IN = Path(__file__).with_name("questions.jsonl")
QUESTION = ("question", "question_stem", "prompt", "input", "query", "text")
CHOICES = ("choices", "options", "answers", "endings")
ANSWER = ("answer", "answerKey", "answer_key", "answer_idx", "label", "target", "correct")
_IN_LINE = re.compile(r"\b(Answer|Option|Solution|Ending)(\d+):\s*")
_FORMAT = re.compile(r"\s*Answer format:.*\Z", re.DOTALL)
_LEAD = re.compile(r"\A(?:Please choose|Choose)[^:]{0,80}:\s*")
_SHOWN = 20
_MOST = 26  # choices in columns


class Question(NamedTuple):
    """choices: at least two, all different. answer: place of the right one, from 0. id: hash of the content."""

    id: str
    text: str
    choices: tuple[str, ...]
    answer: int


def read_questions(path: Path | None = None, *, limit: int | None = None) -> list[Question]:
    """The questions of a file (None: the built-in ones), copies left out.

    limit: at most this many, those with the smallest hashes, in the file's order: other rows hardly move the sample.
    Raises DataError with every bad row's file, line and field.
    """
    path = path or BUILT_IN
    found: dict[str, Question] = {}
    bad = BadRows(_SHOWN)
    rows = 0
    for item in read_rows(path):
        made = item if isinstance(item, Problem) else _question(str(path), item)
        if isinstance(made, Problem):
            bad.add(made)
            continue
        rows += 1
        found.setdefault(made.id, made)
    if bad.lost or bad.count:
        what = f"{bad.count:,} bad question{'s' if bad.count != 1 else ''} of {rows + bad.count:,}"
        raise DataError(what, problems=bad.shown(), count=bad.count, fix="Correct the rows: a probe leaves none out.")
    if limit is not None and len(found) > limit:
        kept = set(sorted(found)[:limit])
        return [question for id_, question in found.items() if id_ in kept]
    return list(found.values())


def _question(file: str, row: Row) -> Question | Problem:
    try:
        text, choices, answer = _parts(row.values)
    except BadFieldError as error:
        return Problem(file, row.line, error.field, error.what, error.got, error.fix)
    digest = hashlib.sha256(canonical([text, list(choices), answer])).hexdigest()
    return Question(digest[:16], text, choices, answer)


class _Choices(NamedTuple):
    """names: for each choice what an answer may call it, besides its text. field: where the choices stand."""

    texts: tuple[str, ...]
    names: tuple[tuple[Json, ...], ...]
    field: str


def _parts(values: Mapping[str, Json]) -> tuple[str, tuple[str, ...], int]:
    answer_field = _column(values, ANSWER, "answer")
    in_line = _in_line(values)
    if in_line is not None:
        text, choices = in_line
    else:
        field = _column(values, QUESTION, "question")
        text, choices = _text(values[field], field), _choices(values)
    if len(choices.texts) < 2:
        raise BadFieldError(
            choices.field, "a question needs two choices or more", list(choices.texts), "Add choices."
        )
    repeated = next((one for one in choices.texts if choices.texts.count(one) > 1), None)
    if repeated is not None:
        raise BadFieldError(choices.field, "a choice appears twice", repeated, "Make all choices different.")
    return text, choices.texts, _place(values[answer_field], answer_field, choices)


def _column(values: Mapping[str, Json], names: Sequence[str], what: str) -> str:
    for name in names:
        if values.get(name) not in (None, ""):
            return name
    if what == "question" and isinstance(values.get("instruction"), str):
        return "instruction"
    fix = f"Name the column {' or '.join(names[:3])}.{nearest(what, list(values))}"
    raise BadFieldError(what, f"there is no column with the {what}", list(values), fix)


def _text(value: Json, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadFieldError(field, "must be text that is not empty", value, "Write the text.")
    return value.strip()


def _choices(values: Mapping[str, Json]) -> _Choices:
    for field in CHOICES:
        value = values.get(field)
        if isinstance(value, str):  # a table's cell
            try:
                value = parse_json(value)
            except BadJsonError as error:
                fix = "Write a JSON list of texts, or one column for each choice (A, B, C …)."
                raise BadFieldError(field, f"not a JSON list: {error.what}", values[field], fix) from None
        if isinstance(value, list):
            return _listed(value, field)
        if isinstance(value, Mapping):
            return _labelled(value.get("text"), value.get("label"), field)
        if value is not None:
            raise BadFieldError(field, "must be a list of texts", value, 'Write ["first", "second"].')
    return _by_columns(values)


def _listed(value: Sequence[Json], field: str) -> _Choices:
    if value and all(isinstance(one, Mapping) for one in value):
        return _labelled([one.get("text") for one in value], [one.get("label") for one in value], field)
    texts = tuple(_text(one, f"{field}[{index}]") for index, one in enumerate(value))
    return _Choices(texts, tuple((index, str(index), _letter(index)) for index in range(len(texts))), field)


def _labelled(texts: Json, labels: Json, field: str) -> _Choices:
    if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
        what = "must hold as many labels as texts"
        raise BadFieldError(field, what, {"text": texts, "label": labels}, 'Write {"text": […], "label": […]}.')
    shown = tuple(_text(one, f"{field}.text[{index}]") for index, one in enumerate(texts))
    return _Choices(shown, tuple((label, str(label)) for label in labels), field)


def _by_columns(values: Mapping[str, Json]) -> _Choices:
    """One column for each choice: A, B … or choice1, option_a …; empty ones may stand at the end alone."""
    lowered = {name.lower(): name for name in values}
    for pattern in ("{}", "choice{}", "choice_{}", "option{}", "option_{}", "choice {}", "option {}", "ending{}"):
        for labels in (string.ascii_lowercase, [str(number) for number in range(_MOST)]):
            names = [(lowered.get(pattern.format(label), ""), label) for label in labels]
            given = [place for place, (name, _) in enumerate(names) if name and values[name] not in (None, "")]
            if len(given) < 2:
                continue
            if given[-1] - given[0] >= len(given) or given[0] > 1 or (given[0] and labels[0] == "a"):
                first = 0 if labels[0] == "a" else min(given[0], 1)
                missing = next(pattern.format(names[place][1]) for place in range(first, _MOST) if place not in given)
                got = [names[place][0] for place in given]
                raise BadFieldError(missing, "a choice is missing between others", got, "Close the gap.")
            found = [names[place] for place in given]
            texts = tuple(_text(_as_text(values[name]), name) for name, _ in found)
            called = tuple((name, int(label) if label.isdigit() else label, label.upper()) for name, label in found)
            return _Choices(texts, called, found[0][0])
    fix = "Add a list `choices`, or columns A, B, C …"
    raise BadFieldError("choices", "there are no choices", list(values), fix)


def _as_text(value: Json) -> Json:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _in_line(values: Mapping[str, Json]) -> tuple[str, _Choices] | None:
    """A question with its choices written behind it: "… Answer1: … Answer2: …", None when it has none."""
    field = next((name for name in ("instruction", *QUESTION) if isinstance(values.get(name), str)), None)
    if field is None or any(values.get(name) is not None for name in CHOICES):
        return None
    text = _FORMAT.sub("", values[field])
    marks = list(_IN_LINE.finditer(text))
    if len(marks) < 2:
        return None
    if [int(mark[2]) for mark in marks] != list(range(1, len(marks) + 1)):
        got = [mark[0].strip() for mark in marks]
        raise BadFieldError(field, "the choices are not numbered 1, 2, 3 …", got, "Number them from 1, each once.")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    texts = tuple(_text(text[mark.end() : end], field) for mark, end in zip(marks, ends, strict=True))
    asked = _text(_LEAD.sub("", text[: marks[0].start()].strip()), field)
    names = tuple((f"{mark[1]}{mark[2]}", f"{mark[1].lower()}{mark[2]}", mark[2]) for mark in marks)
    return asked, _Choices(texts, names, field)


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else ""


def _place(value: Json, field: str, choices: _Choices) -> int:
    """Which choice an answer means: the one whose text it is, else the one that is called so."""
    if isinstance(value, bool):
        raise BadFieldError(field, "names none of the choices", value, "Write the choice's text or its place.")
    wanted = value.strip() if isinstance(value, str) else value
    if wanted in choices.texts:
        return choices.texts.index(str(wanted))
    for index, names in enumerate(choices.names):
        if any(wanted == name and type(wanted) is type(name) for name in names):
            return index
    known = ", ".join(str(names[-1] or names[0]) for names in choices.names)
    counted = ", or its place, counted from 0" if isinstance(choices.names[0][0], int) else ""
    fix = f"Write the text of a choice, or {known}{counted}."
    raise BadFieldError(field, "names none of the choices", value, fix)


def chance(questions: Sequence[Question]) -> float:
    """Share of right answers that guessing reaches on average."""
    return sum(1 / len(question.choices) for question in questions) / len(questions)
