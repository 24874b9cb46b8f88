"""Answers in a file of their own, joined to their rows by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.guess import guess_kind
from burnish.data.load import iter_examples, read_examples
from burnish.errors import Problem

QUESTIONS: list[dict[str, Any]] = [{"id": f"q{i}", "question": f"What is {i} and {i}?"} for i in range(1, 5)]
ANSWERS: list[dict[str, Any]] = [{"id": f"q{i}", "answer": f"{i} and {i} are {2 * i}."} for i in range(4, 0, -1)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def bad(questions: Path, *answers: Path) -> list[Problem]:
    return [one for one in iter_examples(questions, kind="generation", answers=answers) if isinstance(one, Problem)]


def test_rows_get_the_answer_of_their_id(tmp_path: Path) -> None:
    questions = write(tmp_path / "questions.jsonl", QUESTIONS)
    first, second = write(tmp_path / "a.jsonl", ANSWERS[:1]), write(tmp_path / "b.jsonl", ANSWERS[1:])
    made = read_examples(questions, kind="generation", answers=[first, second]).examples
    assert [one.target for one in made] == [f"{i} and {i} are {2 * i}." for i in range(1, 5)]
    assert {one.source.file for one in made} == {str(questions)}


def test_the_leaderboards_possible_answers(tmp_path: Path) -> None:
    tool = {"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": "integer"}}}}
    row = {"id": "simple_0", "question": [[{"role": "user", "content": "q"}]], "function": [tool]}
    questions = write(tmp_path / "BFCL_v3_simple.json", [row])
    answers = write(tmp_path / "answers.json", [{"id": "simple_0", "ground_truth": [{"f": {"x": [1, 2]}}]}])
    assert guess_kind(questions, answers=[answers]) == "tool_calling"
    reading = read_examples(questions, kind="tool_calling", answers=[answers])
    assert (reading.format, reading.examples[0].target[0]["arguments"]) == ("bfcl", {"x": {"any_of": [1, 2]}})
    (problem,) = [one for one in iter_examples(questions, kind="tool_calling") if isinstance(one, Problem)]
    assert "data.answers" in problem.fix
    write(answers, [{"id": "other", "ground_truth": []}, {"id": "simple_0", "ground_truth": [{"f": {"x": ["1"]}}]}])
    (problem,) = [
        one for one in iter_examples(questions, kind="tool_calling", answers=[answers]) if isinstance(one, Problem)
    ]
    assert (problem.file, problem.line, problem.field) == (str(answers), 2, "ground_truth[0].f.x")


@pytest.mark.parametrize(
    ("question", "answer", "at", "line", "field", "what", "got"),
    [
        ({"id": "q9"}, {}, "questions", 5, "id", "no answer has its id", "'q9'"),
        ({"id": None}, {}, "questions", 5, "id", "no id", "None"),
        ({"id": "q5", "answer": "4"}, {"id": "q5"}, "questions", 5, "answer", "different values", "'4'"),
        ({"id": "q5", "question": 7}, {"id": "q5"}, "questions", 5, "question", "must be a string", "7"),
        ({"id": "q5"}, {"id": "q5", "answer": ""}, "answers", 5, "answer", "empty", "''"),
        ({"id": "q1"}, {"id": "q1"}, "answers", 5, "id", "two answers", "'q1'"),
        ({"id": "q1"}, {"id": True}, "answers", 5, "id", "no id", "True"),
        ({"id": 5}, {"id": "5"}, None, 0, "", "", ""),  # a table has no numbers
    ],
)
def test_what_does_not_join(
    tmp_path: Path, question: Any, answer: Any, at: str | None, line: int, field: str, what: str, got: str
) -> None:
    questions = write(tmp_path / "questions.jsonl", [*QUESTIONS, QUESTIONS[0] | question])
    answers = write(tmp_path / "answers.jsonl", [*ANSWERS, *([ANSWERS[0] | answer] if answer else [])])
    problems = bad(questions, answers)
    if at is None:
        assert problems == []
        return
    (problem,) = problems
    assert (Path(problem.file).stem, problem.line, problem.field, problem.got) == (at, line, field, got)
    assert what in problem.what
    assert problem.fix


def test_a_missing_file_of_answers_is_told(tmp_path: Path) -> None:
    questions = write(tmp_path / "questions.jsonl", QUESTIONS)
    assert "no such file" in bad(questions, tmp_path / "answers.jsonl")[0].what
