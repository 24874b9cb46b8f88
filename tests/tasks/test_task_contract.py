"""What every kind promises: round trip, prompts with a shared prefix, metrics as functions of summed counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_makers import config, example, measure, metric_of

from burnish.config import METRICS, init_task, load_task
from burnish.errors import ConfigError
from burnish.records import KINDS, Example, Kind, Message, Parsed, ToolCall
from burnish.tasks import Task, have_shared_tools, make_task, target_error

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "n": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["a"],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add numbers.",
        "parameters": {"type": "object", "properties": {"x": {"type": "number"}, "to": {"type": "string"}}},
    },
}
TARGETS: dict[Kind, list[Any]] = {
    "classification": ["no", "yes", "perhaps"],
    "extraction": [{"a": "é"}, {"a": "", "n": 3}, {"tags": [1, {"b": None}], "a": "x"}],
    "generation": ["One sentence.", "Zwei Sätze. Ja.", "三"],
    "tool_calling": [[], [{"name": "add", "arguments": {"x": 2}}], [{"name": "add", "arguments": {}}] * 2],
    "preference": [{"chosen": c, "rejected": r} for c, r in (("Yes.", "No."), ("", "Höh?"), ("a b c", "a"))],
}


def task_of(kind: Kind, **more: Any) -> Task:
    extra: dict[str, Any] = {"extraction": {"schema": SCHEMA}, "generation": {"pattern": r".*\."}}.get(kind, {})
    return make_task(config(kind, **{**extra, **more}), ["no", "perhaps", "yes"], shared_tools=True)


def examples_of(kind: Kind) -> list[Example]:
    tools = (TOOL,) if kind == "tool_calling" else ()
    return [example(target, f"input {i}", tools=tools) for i, target in enumerate(TARGETS[kind])]


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_is_read_back_and_scores_one(kind: Kind) -> None:
    task = task_of(kind)
    pairs = [(e, task.parse(task.answer(e).content, e)) for e in examples_of(kind)]
    for e, parsed in pairs:
        if kind == "preference":  # a choice is read, not an answer
            assert parsed.value["prefers"] == "chosen"
        else:
            assert parsed == Parsed(e.target)
        assert target_error(task, e) is None
    for metric in task.metrics:
        if metric.name in ("rouge_l", "pattern_match"):
            continue
        assert measure(metric, pairs) == 1, metric.name


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_keep_their_contract(kind: Kind) -> None:
    task = task_of(kind)
    assert tuple(sorted(m.name for m in task.metrics)) == tuple(sorted(METRICS[kind]))
    assert task.metrics[0].name == METRICS[kind][0]
    right = [(e, task.parse(task.answer(e).content, e)) for e in examples_of(kind)]
    none = [(e, Parsed(None, "empty answer")) for e in examples_of(kind)]
    for metric in task.metrics:
        rows = np.array([metric.counts(e, p) for e, p in right + none])
        assert rows.dtype == np.float64
        singles = metric.value(rows)
        assert singles.shape == (len(rows),)
        assert np.all((singles >= 0) & (singles <= 1))
        assert np.all(singles[len(right) :] == 0), metric.name
        resampled = metric.value(rows[np.arange(12).reshape(4, 3) % len(rows)].sum(axis=1))
        assert resampled.shape == (4,)
        if metric.rate:
            assert rows.shape[1] == 2
            assert set(rows[:, 0]) <= {0.0, 1.0}
            assert set(rows[:, 1]) == {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_system_turn_is_the_same_for_all_examples(kind: Kind) -> None:
    task = task_of(kind)
    for full in (False, True):
        prompts = [task.messages(e, full=full) for e in examples_of(kind)]
        assert len({prompt[0] for prompt in prompts}) == 1
        assert prompts[0][0].role == "system"
        assert prompts[0][0].content.startswith("Do the work.")
        assert [prompt[1:] for prompt in prompts] == [e.messages for e in examples_of(kind)]
    assert task.messages(examples_of(kind)[0], full=False)[0].content == "Do the work."


@pytest.mark.parametrize("kind", KINDS)
def test_shots_stand_before_the_input_with_their_answers(kind: Kind) -> None:
    task = task_of(kind)
    first, *rest = examples_of(kind)
    prompt = task.messages(first, full=True, shots=rest)
    assert [turn.role for turn in prompt] == ["system", *["user", "assistant"] * 2, "user"]
    assert prompt[2::2][:2] == tuple(task.answer(shot) for shot in rest)
    assert prompt[-1].content == "input 0"


def test_an_examples_own_system_text_follows_the_instruction() -> None:
    task = task_of("generation")
    own = (Message("system", "Be brief."), Message("user", "hello"))
    prompt = task.messages(example("x.", messages=own), full=False)
    assert [turn.content for turn in prompt] == ["Do the work.\n\nBe brief.", "hello"]
    shot = example("y.", messages=(Message("developer", "Be long."), Message("user", "bye")))
    with_shot = task.messages(example("x.", messages=own), full=False, shots=[shot])
    assert [turn.content for turn in with_shot] == ["Do the work.\n\nBe brief.", "Be long.\n\nbye", "y.", "hello"]


def test_earlier_calls_are_shown_as_the_answers_form() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("add", {"x": 1}, "c1"),))
    turns = (Message("user", "add 1"), call, Message("tool", "1", tool_call_id="c1"))
    prompt = task_of("tool_calling").messages(example([], messages=turns, tools=(TOOL,)), full=False)
    assert prompt[2].content == '[{"name":"add","arguments":{"x":1}}]'
    assert prompt[2].tool_calls == ()
    assert prompt[3].role == "tool"


@given(text=st.text(max_size=80) | st.lists(st.sampled_from(list('{}[]",:é1\\ nul`\n')), max_size=40).map("".join))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_parsing(text: str) -> None:
    for kind in KINDS:
        task, e = task_of(kind), examples_of(kind)[0]
        parsed = task.parse(text, e)
        assert (parsed.value is None) == (parsed.error is not None)
        for metric in task.metrics:
            assert 0 <= float(metric.value(metric.counts(e, parsed))) <= 1


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 3_000, '{"a":' * 20_000, "9" * 5_000, "[1e999]", '{"a": NaN}'])
def test_hostile_json_is_an_error_not_a_crash(text: str) -> None:
    for kind in ("extraction", "tool_calling"):
        assert task_of(kind).parse(text, examples_of(kind)[0]).value is None


@pytest.mark.parametrize("kind", KINDS)
def test_goal_metric_comes_first(kind: Kind) -> None:
    for name in METRICS[kind]:
        assert task_of(kind, goal={"metric": name}).metrics[0].name == name
    with pytest.raises(ConfigError, match=r"^goal\.metric: kind \w+ has no such metric"):
        task_of(kind, goal={"metric": "bleu"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_of_burnish_init_accepts_its_own_data(tmp_path: Path, kind: Kind) -> None:
    data = init_task(tmp_path, kind)[1]
    loaded = load_task(tmp_path)
    examples = []
    for line in data.read_text().splitlines():
        row = json.loads(line)
        if kind == "tool_calling":
            calls = [call["function"] for call in row["messages"][1]["tool_calls"]]
            target = [{"name": c["name"], "arguments": json.loads(c["arguments"])} for c in calls]
            examples.append(example(target, row["messages"][0]["content"], tools=tuple(row["tools"])))
        else:
            pair = {name: row[name] for name in ("chosen", "rejected") if name in row}
            target = pair or row.get("label", row.get("target", row.get("completion")))
            examples.append(example(target, row.get("text") or row.get("prompt")))
    assert have_shared_tools(examples)
    task = make_task(loaded.config, base_dir=loaded.base_dir)
    assert {target_error(task, e) for e in examples} == {None}
    if kind == "generation":
        pairs = [(e, Parsed(e.target)) for e in examples]
        assert measure(metric_of(task, "pattern_match"), pairs) == 1


def test_targets_that_cannot_be_answers() -> None:
    assert "not one of the task's labels" in str(target_error(task_of("classification"), example("maybe")))
    assert target_error(task_of("classification"), example(1)) == "the target must be text"
    assert "'a' is a required property" in str(target_error(task_of("extraction"), example({"n": 1})))
    assert target_error(task_of("extraction"), example("{}")) == "the target must be a JSON object"
    assert target_error(task_of("generation"), example("  ")) == "empty answer"
    tools = task_of("tool_calling")
    assert target_error(tools, example("add")) == "the target must be a list of calls"
    assert target_error(tools, example([{"arguments": {}}])) == "call 1 has no name"
    assert target_error(tools, example([{"name": "add"}])) == "call 1 has no arguments object"
    unknown = example([{"name": "mul", "arguments": {}}], tools=(TOOL,))
    assert target_error(tools, unknown) == "call 1: there is no tool 'mul'"
    wrong = example([{"name": "add", "arguments": {"x": "two"}}], tools=(TOOL,))
    assert target_error(tools, wrong) == "call 1 (add): x: 'two' is not of type 'number'"


def test_a_task_needs_its_labels_or_schema() -> None:
    with pytest.raises(ConfigError, match="at least two labels"):
        make_task(config("classification"), ["one"])
    with pytest.raises(ConfigError, match="needs a schema"):
        make_task(config("extraction"))
