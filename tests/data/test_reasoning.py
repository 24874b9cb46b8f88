"""Rows whose answers come with reasoning: read, found alike however it is written, and cleaned where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.data.check import check_files
from burnish.data.cleaning.clean import clean_files, read_actions
from burnish.data.load import read_examples
from burnish.records import Example, Json
from burnish.tasks.generation import Generation, generation_metrics
from burnish.tasks.preference import answers_think
from burnish.thoughts import has_thought, is_cut_thought, without_thought

WHY = "I add 2 and 2."
THOUGHT = f"<think>\n{WHY}\n</think>\n\nIt is four."


TASK = Generation("sums", "Add.", None, generation_metrics(None))


def read(path: Path) -> list[Example]:
    return list(read_examples(path, kind="generation").examples)


def rows(path: Path, *answers: dict[str, Json]) -> Path:
    turns = [
        [{"role": "user", "content": f"2 + 2, {i}?"}, {"role": "assistant", **one}] for i, one in enumerate(answers)
    ]
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns), encoding="utf-8")
    return path


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_an_answer_is_a_thought_in_front_of_it(tmp_path: Path, key: str) -> None:
    path = rows(
        tmp_path / "rows.jsonl",
        {"content": "It is four.", key: f" {WHY}\n"},
        {"content": "It is four.", key: None},
        {"content": THOUGHT},
    )
    examples = read(path)
    assert [example.target for example in examples] == [THOUGHT, "It is four.", THOUGHT]
    assert answers_think(TASK, examples)
    assert not answers_think(TASK, examples[1:2])


def test_a_thought_is_left_out_where_answers_are_judged() -> None:
    assert without_thought(THOUGHT) == "It is four."
    assert without_thought("It is four. <think>so</think>") == "It is four. <think>so</think>"
    assert has_thought("  <think>")
    assert is_cut_thought("<think>\nI add")
    assert not is_cut_thought(THOUGHT)
    assert without_thought("<think>\nI add") == "<think>\nI add"


def test_metrics_of_generation_look_behind_thoughts(tmp_path: Path) -> None:
    [example] = read(rows(tmp_path / "rows.jsonl", {"content": "It is four.", "reasoning": WHY}))
    scored: list[list[float]] = []
    for text in (
        THOUGHT,
        "<think>\nelse\n</think>\nIt is four.",
        "It is four.",
        "<think>\nso\n</think>\nIt is five.",
    ):
        parsed = TASK.parse(text, example)
        scored.append([float(metric.value(metric.counts(example, parsed))) for metric in TASK.metrics])
    assert scored[0] == scored[1] == scored[2] == [1.0] * len(TASK.metrics)
    assert max(scored[3]) < 1
    assert TASK.parse("<think>\nI add 2", example).error == "the thought does not end"


def test_reasoning_is_cleaned_where_it_stands(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "rows.jsonl",
        *(
            {"content": f"It is {i}.", "reasoning_content": f"I asked anna.berg@clinic.example, who said {i}."}
            for i in range(3)
        ),
    )
    report = check_files(path, kind="generation").report
    [cleaned] = clean_files(report.findings, read_actions("redact"))
    copy = Path(cleaned.written)
    told = [json.loads(line)["messages"][1] for line in copy.read_text(encoding="utf-8").splitlines()]
    assert told[1] == {
        "role": "assistant",
        "content": "It is 1.",
        "reasoning_content": "I asked [EMAIL], who said 1.",
    }
    assert read(copy)[1].target == "<think>\nI asked [EMAIL], who said 1.\n</think>\n\nIt is 1."
