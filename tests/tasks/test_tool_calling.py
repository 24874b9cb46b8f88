"""Calls: several accepted values, any order, schemas of tools in the wild."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_makers import config, example, measure, metric_of

from burnish.records import Example, JsonSchema, Parsed
from burnish.tasks import have_shared_tools, make_task
from burnish.tasks.tool_calling import accepts, calls_schema


def tool(name: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


AREA = tool("area", ("base",), base={"type": "integer"}, unit={"type": "string"})
PING = tool("ping")
TOOLS = (AREA, PING)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def task(shared: bool = False):
    return make_task(config("tool_calling"), shared_tools=shared)


def calls(*target: dict[str, Any], tools: tuple[dict[str, Any], ...] = TOOLS) -> Example:
    return example(list(target), tools=tools)


def scores(target: Example, answer: list[dict[str, Any]] | None) -> dict[str, float]:
    parsed = Parsed(answer) if answer is not None else Parsed(None, "empty answer")
    return {metric.name: measure(metric, [(target, parsed)]) for metric in task().metrics}


ANY = {"any_of": [10, 12]}
UNIT = {"any_of": ["cm", "centimetre", ""]}


@pytest.mark.parametrize(
    ("target", "answer", "match", "names", "f1"),
    [
        ([call("area", base=3)], [call("area", base=3)], 1, 1, 1),
        ([call("area", base=3)], [call("area", base=3.0)], 1, 1, 1),
        ([call("area", base=1)], [call("area", base=True)], 0, 1, 0),
        ([call("area", base=ANY)], [call("area", base=12)], 1, 1, 1),
        ([call("area", base=ANY)], [call("area", base=11)], 0, 1, 0),
        ([call("area", base=3, unit=UNIT)], [call("area", base=3)], 1, 1, 1),
        ([call("area", base=3, unit=UNIT)], [call("area", base=3, unit="cm")], 1, 1, 1),
        ([call("area", base=3, unit=UNIT)], [call("area", base=3, unit="m")], 0, 1, 0.5),
        ([call("area", base=3)], [call("area", base=3, unit="m")], 0, 1, 2 / 3),
        ([call("area", base=3), call("ping")], [call("ping"), call("area", base=3)], 1, 1, 1),
        ([call("area", base=3), call("ping")], [call("area", base=3)], 0, 0, 2 / 3),
        ([call("area", base=3)], [call("area", base=3)] * 2, 0, 0, 2 / 3),
        ([call("ping")], [call("area", base=3)], 0, 0, 0),
        ([call("ping")], [call("ping")], 1, 1, 1),
        ([], [], 1, 1, 1),
        ([], None, 0, 0, 0),
        ([call("ping")], None, 0, 0, 0),
        ([], [call("ping")], 0, 0, 0),
    ],
)
def test_scores(target: Any, answer: Any, match: float, names: float, f1: float) -> None:
    got = scores(calls(*target), answer)
    assert (got["call_match"], got["name_match"]) == (match, names)
    assert got["argument_f1"] == pytest.approx(f1)
    assert got["valid"] == float(answer is not None)


def test_targets_with_several_values_are_assigned_so_that_all_fit() -> None:
    target = calls(call("area", base={"any_of": [1, 2]}), call("area", base=1))
    assert scores(target, [call("area", base=1), call("area", base=2)])["call_match"] == 1
    assert scores(target, [call("area", base=2), call("area", base=2)])["call_match"] == 0


specs = st.one_of(
    st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=3).map(lambda some: {"any_of": some})
)


@given(st.lists(specs, max_size=4), st.lists(st.integers(0, 2), max_size=4))
@settings(max_examples=100, deadline=None)
def test_call_match_equals_trying_every_order(targets: list[Any], answers: list[int]) -> None:
    wanted = len(targets) == len(answers) and any(
        all(accepts(spec, value) for spec, value in zip(targets, order, strict=True))
        for order in itertools.permutations(answers)
    )
    target = calls(*(call("area", base=spec) for spec in targets))
    assert scores(target, [call("area", base=value) for value in answers])["call_match"] == float(wanted)


def test_values_inside_values() -> None:
    spec = {
        "size": {"any_of": [{"w": {"any_of": [1, 2]}, "h": {"any_of": [1, ""]}}]},
        "tags": ["a", {"any_of": ["b"]}],
    }
    assert accepts(spec, {"size": {"w": 2}, "tags": ["a", "b"]})
    assert accepts(spec, {"size": {"w": 2, "h": 1}, "tags": ["a", "b"]})
    assert not accepts(spec, {"size": {"w": 2, "h": 2}, "tags": ["a", "b"]})
    assert not accepts(spec, {"size": {"w": 2}, "tags": ["b", "a"]})
    assert not accepts(spec, {"size": {"w": 2}, "tags": ["a", "b"], "more": 1})


def test_the_answer_takes_the_first_value_that_is_given() -> None:
    target = calls(call("area", unit={"any_of": ["", "cm"]}, base=ANY), call("ping", x={"any_of": [""]}))
    made = task()
    text = made.answer(target).content
    assert text == '[{"name":"area","arguments":{"base":10,"unit":"cm"}},{"name":"ping","arguments":{}}]'
    assert scores(target, json.loads(text))["call_match"] == 1


@given(st.lists(st.tuples(st.integers(), st.none() | st.text(st.characters(exclude_categories=["Cs"]))), max_size=4))
@settings(max_examples=60, deadline=None)
def test_round_trip(rows: list[tuple[int, str | None]]) -> None:
    target = [call("area", base=base, **({} if unit is None else {"unit": unit})) for base, unit in rows]
    made, e = task(), calls(*target)
    text = made.answer(e).content
    assert made.parse(f"Calls: {text}" if target else text, e) == Parsed(target)
    jsonschema.validate(json.loads(text), calls_schema(e))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("area(3)", "no JSON that is a list or an object"),
        ("[1]", "call 1 has no name"),
        ('[{"name": "area"}]', "call 1 (area) has no arguments object"),
        ('[{"name": "area", "arguments": "{}"}]', "no arguments object"),
        ('[{"name": "volume", "arguments": {}}]', "there is no tool 'volume'"),
        ('[{"name": "area", "arguments": {}}]', "'base' is a required property"),
        ('[{"name": "area", "arguments": {"base": "3"}}]', "base: '3' is not of type 'integer'"),
        ('[{"name": "area", "arguments": {"base": 3, "height": 1}}]', "'height' was unexpected"),
        ('[{"name": "ping", "arguments": {}, "id": 1}]', "has other keys: id"),
    ],
)
def test_answers_that_are_no_calls(text: str, said: str) -> None:
    parsed = task().parse(text, calls())
    assert parsed.value is None
    assert said in str(parsed.error)


def test_one_call_without_its_list_is_read() -> None:
    assert task().parse('{"name": "ping", "arguments": {}}', calls()) == Parsed([call("ping")])


def test_tools_are_in_the_prompt_where_they_must_be() -> None:
    e = calls(call("ping"))
    assert task(shared=True).messages(e, full=False)[0].content == "Do the work."
    for made, full in ((task(), False), (task(), True), (task(shared=True), True)):
        system = made.messages(e, full=full)[0].content
        assert '\nTools:\n[{"name":"area","description":"Does area.","parameters":{"type":"object"' in system
        assert ("Answer with a JSON list" in system) == full
    assert have_shared_tools([e, calls()])
    assert not have_shared_tools([e, calls(tools=(PING,))])
    assert have_shared_tools([])


def test_the_constraint_accepts_the_tools_calls_only() -> None:
    constraint = task().constraint(calls())
    assert isinstance(constraint, JsonSchema)
    validator = jsonschema.Draft202012Validator(constraint.schema)
    validator.check_schema(constraint.schema)
    assert validator.is_valid([call("area", base=1), call("ping")])
    assert validator.is_valid([])
    for bad in ([call("area")], [call("ping", x=1)], [call("other")], {}, [{"name": "ping"}]):
        assert not validator.is_valid(bad)


def test_references_inside_a_tools_schema_keep_working() -> None:
    parameters = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/point"}},
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    }
    e = calls(tools=(PING, {"type": "function", "function": {"name": "go", "parameters": parameters}}))
    validator = jsonschema.Draft202012Validator(calls_schema(e))
    assert validator.is_valid([call("go", at={"x": 1})])
    assert not validator.is_valid([call("go", at={"x": "1"})])
    assert task().parse('[{"name":"go","arguments":{"at":{}}}]', e).value is None


def test_pythons_type_names_are_understood() -> None:
    wild = {
        "name": "wild",
        "parameters": {
            "type": "dict",
            "properties": {
                "r": {"type": "float"}, "n": {"type": "int"}, "any": {"type": "any"}, "type": {"type": "String"},
                "pair": {"type": "tuple", "items": {"type": "float"}},
                "deep": {"type": "dict", "properties": {"x": {"type": "bool"}}},
            },
            "required": ["r"],
        },
    }  # fmt: skip
    e = calls(tools=(wild,))
    jsonschema.Draft202012Validator.check_schema(calls_schema(e))
    good = call("wild", r=1.5, n=2, any=None, type="x", pair=[1, 2.5], deep={"x": True})
    assert task().parse(json.dumps([good]), e) == Parsed([good])
    assert task().parse(json.dumps([call("wild", r="1")]), e).value is None


def test_without_tools_any_call_is_read() -> None:
    e = calls(call("anything", x=1), tools=())
    assert task().parse('[{"name":"anything","arguments":{"x":1}}]', e) == Parsed([call("anything", x=1)])
    jsonschema.validate([call("anything", x=1)], calls_schema(e))


def test_the_table_and_the_stratum() -> None:
    examples = [calls(call("area", base=1)), calls(call("ping"), call("area", base=2)), calls()]
    answers = [Parsed([call("area", base=1)]), Parsed([call("area", base=3)]), Parsed(None, "empty answer")]
    made = task()
    assert [made.stratum(e) for e in examples] == ["area", "area+ping", "no call"]
    area, ping = made.tables(examples, answers)["per_tool"]
    assert (area["tool"], area["wanted"], area["called"], area["exact"], area["f1"]) == ("area", 2, 2, 0.5, 1.0)
    assert (ping["tool"], ping["wanted"], ping["called"], ping["recall"]) == ("ping", 1, 0, 0.0)
    assert metric_of(made, "call_match").rate
