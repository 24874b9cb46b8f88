from __future__ import annotations

import random

import pytest

from burnish.data.fingerprint import example_id
from burnish.errors import DataError
from burnish.progress import Silent
from burnish.records import Example, Message, Source
from burnish.systems.base import System
from burnish.systems.majority import Majority
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.extraction import Extraction, extraction_metrics
from burnish.tasks.generation import Generation, generation_metrics
from burnish.tasks.tool_calling import ToolCalling, tool_calling_metrics

LABELS = ("cat", "dog", "emu")
PETS = Classification("pets", "Name it.", LABELS, classification_metrics(LABELS))
POINT_SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": ["string", "null"]}},
    "required": ["x"],
    "additionalProperties": False,
}
POINTS = Extraction("points", "Read it.", POINT_SCHEMA, extraction_metrics())
TEXT = Generation("text", "Write it.", None, generation_metrics(None))
TOOL = {
    "type": "function",
    "function": {"name": "ring", "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}},
}
CALLS = ToolCalling("calls", "Call it.", True, tool_calling_metrics())


def rows(targets, tools=()):
    made = []
    for number, target in enumerate(targets):
        messages = (Message("user", f"text {number}"),)
        made.append(Example(example_id(messages, target, tools), messages, target, Source("f", number + 1), tools))
    return made


def test_the_most_frequent_label_is_the_answer_to_all():
    majority: System = Majority(PETS, rows(["cat", "dog", "dog", "emu"]))
    examples = rows(["cat", "emu"])
    predictions = majority.predict(examples, Silent())
    assert [p.example_id for p in predictions] == [example.id for example in examples]
    assert {(p.text, p.parsed.value, p.confidence, p.prompt_tokens, p.completion_tokens) for p in predictions} == {
        ("dog", "dog", 0.5, 0, 0)
    }
    assert majority.name == "majority"
    assert majority.predict([], Silent()) == []


def test_a_tie_does_not_depend_on_the_order():
    train = rows(["cat", "dog", "emu"] * 4 + ["emu"] * 0)
    answers = set()
    for seed in range(10):
        random.Random(seed).shuffle(train)
        answers.add(Majority(PETS, train).target)
    assert len(answers) == 1


def test_flat_objects_get_the_most_frequent_value_of_each_field():
    train = rows([{"x": 1, "y": "a"}, {"x": 1, "y": "b"}, {"x": 2, "y": "b"}, {"y": "b", "x": 3}])
    majority = Majority(POINTS, train)
    assert majority.target == {"x": 1, "y": "b"}
    assert majority.share == 0.25
    prediction = majority.predict(train[:1], Silent())[0]
    assert prediction.text == '{"x":1,"y":"b"}'
    assert prediction.parsed.value == {"x": 1, "y": "b"}


def test_a_field_that_most_targets_lack_is_left_out_and_null_is_a_value():
    assert Majority(POINTS, rows([{"x": 1}, {"x": 1}, {"x": 1, "y": "a"}])).target == {"x": 1}
    assert Majority(POINTS, rows([{"x": 1, "y": None}, {"x": 1, "y": None}, {"x": 1}])).target == {"x": 1, "y": None}


def test_fields_that_the_schema_refuses_together_give_way_to_a_whole_target():
    schema = {"enum": [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}, {"a": 3, "b": 3}]}
    task = Extraction("pairs", "Read it.", schema, extraction_metrics())
    train = rows([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}, {"a": 3, "b": 3}, {"a": 3, "b": 3}])
    majority = Majority(task, train + rows([{"a": 1, "b": 1}]) + rows([{"a": 1, "b": 2}]) + rows([{"a": 2, "b": 3}]))
    assert majority.target in ({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}, {"a": 3, "b": 3})
    assert majority.share == 0.25
    assert majority.predict(train[:1], Silent())[0].parsed.error is None


def test_nested_objects_texts_and_calls_are_taken_whole():
    nested = Extraction("nested", "Read it.", {"type": "object"}, extraction_metrics())
    targets = [{"a": {"b": 1}}, {"a": {"b": 1}}, {"a": {"b": 2}}, {"a": 3}]
    assert Majority(nested, rows(targets)).target == {"a": {"b": 1}}
    assert Majority(TEXT, rows(["hello", "hello", "bye"])).predict(rows(["x"]), Silent())[0].text == "hello"
    call = [{"name": "ring", "arguments": {"who": "Ann"}}]
    train = rows([call, call, []], tools=(TOOL,))
    prediction = Majority(CALLS, train).predict(train[2:], Silent())[0]
    assert prediction.parsed.value == call


def test_true_is_not_one():
    schema = {"type": "object"}
    task = Extraction("mixed", "Read it.", schema, extraction_metrics())
    assert Majority(task, rows([{"a": True}, {"a": True}, {"a": 1}])).target == {"a": True}


def test_an_empty_train_part_is_refused():
    with pytest.raises(DataError, match="needs training examples"):
        Majority(PETS, [])
