"""Files of multiple-choice questions: shapes, strictness, the built-in set."""

from __future__ import annotations

import json

import pytest

from burnish.data.mixture import BUILT_IN_REPLAY
from burnish.data.questions import BUILT_IN, chance, read_questions
from burnish.errors import DataError

TEXT = "What colour is grass?"
CHOICES = ["red", "green", "blue"]


def write(tmp_path, *rows, name="q.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"question": TEXT, "choices": CHOICES, "answer": 1},
        {"question": TEXT, "choices": CHOICES, "answer": "1"},
        {"question": TEXT, "choices": CHOICES, "answer": "B"},
        {"question": TEXT, "choices": CHOICES, "answer": " green "},
        {"prompt": TEXT, "options": CHOICES, "label": 1},
        {"question": TEXT, "choices": {"text": CHOICES, "label": ["1", "2", "3"]}, "answerKey": "2"},
        {"question": TEXT, "choices": {"text": CHOICES, "label": [1, 2, 3]}, "answerKey": 2},
        {
            "question": TEXT,
            "choices": [{"text": text, "label": label} for text, label in zip(CHOICES, "ABC", strict=True)],
            "answerKey": "B",
        },
        {"question": TEXT, "A": "red", "B": "green", "C": "blue", "answer": "B"},
        {"question": TEXT, "a": "red", "b": "green", "c": "blue", "answer": "b"},
        {"question": TEXT, "choice1": "red", "choice2": "green", "choice3": "blue", "answer": 2},
        {"question": TEXT, "choice1": "red", "choice2": "green", "choice3": "blue", "answer": "choice2"},
        {"question": TEXT, "option_a": "red", "option_b": "green", "option_c": "blue", "answer": "green"},
        {"question": TEXT, "ending0": "red", "ending1": "green", "ending2": "blue", "label": 1},
        {
            "instruction": f"Please choose the correct answer to the question: {TEXT}\n\nAnswer1: red Answer2: green "
            "Answer3: blue\n\nAnswer format: answer1/answer2/answer3",
            "input": "",
            "output": "the correct answer is answer2",
            "answer": "answer2",
        },
    ],
)
def test_every_shape_gives_the_same_question(tmp_path, row):
    [question] = read_questions(write(tmp_path, row))
    assert (question.text, question.choices, question.answer) == (TEXT, tuple(CHOICES), 1)


def test_a_table_holds_choices_as_columns_or_as_a_json_list(tmp_path):
    (tmp_path / "columns.csv").write_text(f"question,A,B,C,answer\n{TEXT},red,green,blue,B\nTwo?,1,2,,2\n")
    first, second = read_questions(tmp_path / "columns.csv")
    assert (first.choices, first.answer) == (tuple(CHOICES), 1)
    assert (second.choices, second.answer) == (("1", "2"), 1)
    (tmp_path / "list.csv").write_text(f'question,choices,answer\n{TEXT},"[""red"", ""green""]",1\n')
    assert read_questions(tmp_path / "list.csv")[0].choices == ("red", "green")


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        ({"question": TEXT, "choices": CHOICES, "answer": 3}, "answer", "names none of the choices"),
        ({"question": TEXT, "choices": CHOICES, "answer": -1}, "answer", "names none of the choices"),
        ({"question": TEXT, "choices": CHOICES, "answer": True}, "answer", "names none of the choices"),
        ({"question": TEXT, "choices": CHOICES, "answer": "yellow"}, "answer", "names none of the choices"),
        ({"question": TEXT, "choices": ["red", "red"], "answer": 0}, "choices", "a choice appears twice"),
        ({"question": TEXT, "choices": ["red"], "answer": 0}, "choices", "two choices or more"),
        ({"question": TEXT, "choices": ["red", ""], "answer": 0}, "choices[1]", "must be text"),
        ({"question": TEXT, "choices": ["red", 3], "answer": 0}, "choices[1]", "must be text"),
        ({"question": TEXT, "choices": "red, green", "answer": 0}, "choices", "not a JSON list"),
        ({"question": TEXT, "choices": 3, "answer": 0}, "choices", "must be a list"),
        ({"question": " ", "choices": CHOICES, "answer": 0}, "question", "must be text"),
        (
            {"question": TEXT, "choices": {"text": CHOICES, "label": ["A"]}, "answer": "A"},
            "choices",
            "as many labels",
        ),
        ({"question": TEXT, "choices": CHOICES}, "answer", "no column with the answer"),
        ({"choices": CHOICES, "answer": 0}, "question", "no column with the question"),
        ({"question": TEXT, "answer": "red"}, "choices", "there are no choices"),
        ({"question": TEXT, "A": "red", "B": "green", "D": "blue", "answer": "A"}, "c", "missing between"),
        ({"question": TEXT, "B": "green", "C": "blue", "answer": "B"}, "a", "missing between"),
        ({"question": TEXT, "choice2": "green", "choice3": "blue", "answer": 2}, "choice1", "missing between"),
        ({"instruction": "Q Answer1: a Answer3: b", "answer": "answer1"}, "instruction", "not numbered"),
    ],
)
def test_a_bad_row_names_file_line_and_field(tmp_path, row, field, what):
    path = write(tmp_path, {"question": "Fine?", "choices": ["yes", "no"], "answer": 0}, row)
    with pytest.raises(DataError) as caught:
        read_questions(path)
    [problem] = caught.value.problems
    assert (problem.line, problem.field) == (2, field)
    assert what in problem.what
    assert problem.fix


def test_a_missing_or_broken_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_questions(tmp_path / "nowhere.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"question": \n')
    with pytest.raises(DataError, match="bad question"):
        read_questions(tmp_path / "broken.jsonl")


def test_the_built_in_questions_are_sound():
    questions = read_questions()
    rows = [json.loads(line) for line in BUILT_IN.read_text(encoding="utf-8").splitlines()]
    assert len(questions) == len(rows) >= 100
    assert len({question.text for question in questions}) == len(questions)
    assert chance(questions) == 0.25
    places = [sum(question.answer == place for question in questions) for place in range(4)]
    assert min(places) > len(questions) / 8, "the right choice must not stand in one place"


def test_replay_teaches_none_of_the_built_in_questions():
    asked = {question.text.casefold() for question in read_questions()}
    prompts = [json.loads(line)["prompt"] for line in BUILT_IN_REPLAY.read_text(encoding="utf-8").splitlines()]
    assert len(set(prompts)) == len(prompts) >= 60
    assert not asked & {prompt.casefold() for prompt in prompts}


def test_a_limit_takes_a_sample_that_other_rows_hardly_move(tmp_path):
    rows = [{"question": f"Number {i}?", "choices": ["one", "two"], "answer": i % 2} for i in range(60)]
    few = read_questions(write(tmp_path, *rows[:50]), limit=20)
    more = read_questions(write(tmp_path, *rows), limit=20)
    assert len(few) == len(more) == 20
    assert len({q.id for q in few} - {q.id for q in more}) <= 10  # at most the number of rows that came in
    assert [q.text for q in few] == sorted((q.text for q in few), key=lambda text: int(text.split()[1][:-1]))
