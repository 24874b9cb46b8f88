"""JSON answers: reading, key order, exact and per-field scores."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_makers import config, example, measure, metric_of

from burnish.records import JsonSchema, Parsed
from burnish.tasks import make_task
from burnish.tasks.json_text import canonical, compact, in_schema_order, json_equal, leaves, path_name

OPEN = {"type": "object"}
ORDERED = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["a", "b"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "who": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"first": {}, "last": {}}}]},
    },
    "required": ["intent"],
    "$defs": {"line": {"type": "object", "properties": {"price": {"type": "number"}, "item": {"type": "string"}}}},
}


def task(schema: dict[str, Any] = OPEN):
    return make_task(config("extraction", schema=schema))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.[]é", max_size=3), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip
objects = st.dictionaries(st.text('abcé "', max_size=3), json_values, max_size=5)


@given(objects)
@settings(max_examples=100, deadline=None)
def test_round_trip_of_any_object(target: dict[str, Any]) -> None:
    made, e = task(), example(target)
    text = made.answer(e).content
    for shown in (
        text,
        f"Here it is:\n```json\n{text}\n```\nDone.",
        f"Sure: {text} ok?",
        json.dumps(target, indent=2),
    ):
        parsed = made.parse(shown, e)
        assert parsed.error is None
        assert json_equal(parsed.value, target)
        assert all(measure(metric, [(e, parsed)]) == 1 for metric in made.metrics)


@given(objects, objects)
@settings(max_examples=100, deadline=None)
def test_field_f1_equals_counting_leaves(target: dict[str, Any], answer: dict[str, Any]) -> None:
    wanted, found = leaves(target), leaves(answer)
    rest = list(wanted)
    for leaf in found:
        if leaf in rest:
            rest.remove(leaf)
    hits = len(wanted) - len(rest)
    got = measure(metric_of(task(), "field_f1"), [(example(target), Parsed(answer))])
    assert got == pytest.approx(2 * hits / (len(wanted) + len(found)))
    exact = measure(metric_of(task(), "exact_match"), [(example(target), Parsed(answer))])
    assert exact == float(canonical(target) == canonical(answer))


@given(json_values)
def test_equality_does_not_mind_key_order_and_minds_everything_else(value: Any) -> None:
    def turned(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: turned(node[key]) for key in reversed(node)}
        return [turned(item) for item in node] if isinstance(node, list) else node

    assert json_equal(value, turned(value))
    assert not json_equal(value, [value])


def test_equality_of_numbers_and_booleans() -> None:
    assert json_equal({"a": 1}, {"a": 1.0})
    assert not json_equal(1, True)
    assert not json_equal(0, False)
    assert not json_equal("1", 1)
    assert not json_equal([1, 2], [2, 1])
    assert not json_equal(None, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty answer"),
        ("nothing here", "no JSON that is an object"),
        ("[1, 2]", "no JSON that is an object"),
        ('{"intent": "a"', "no JSON that is an object"),
        ("{'intent': 'a'}", "no JSON that is an object"),
        ('{"intent": "c"}', "intent: 'c' is not one of ['a', 'b']"),
        ('{"lines": []}', "'intent' is a required property"),
        ('{"intent": "a", "lines": [{"price": "x"}]}', "lines[0].price: 'x' is not of type 'number'"),
    ],
)
def test_answers_that_are_not_valid(text: str, said: str) -> None:
    parsed = task(ORDERED).parse(text, example({"intent": "a"}))
    assert parsed.value is None
    assert said in str(parsed.error)


def test_keys_are_written_in_schema_order() -> None:
    target = {"more": 1, "who": {"last": "B", "first": "A"}, "lines": [{"item": "x", "price": 1}], "intent": "a"}
    assert task(ORDERED).answer(example(target)).content == (
        '{"intent":"a","lines":[{"price":1,"item":"x"}],"who":{"first":"A","last":"B"},"more":1}'
    )
    both = {"allOf": [{"properties": {"b": {}}}, {"properties": {"a": {}}}]}
    assert list(in_schema_order({"a": 1, "b": 2}, both)) == ["b", "a"]
    heads = {"prefixItems": [{"properties": {"b": {}, "a": {}}}], "items": {"properties": {"d": {}, "c": {}}}}
    assert compact(in_schema_order([{"a": 1, "b": 2}, {"c": 1, "d": 2}], heads)) == '[{"b":2,"a":1},{"d":2,"c":1}]'
    endless: dict[str, Any] = {"$ref": "#"}
    assert in_schema_order({"a": 1}, endless) == {"a": 1}


def test_prompt_and_constraint() -> None:
    made = task({"$schema": "x", "type": "object", "title": "é"})
    assert made.messages(example({}), full=True)[0].content.endswith(':\n{"type":"object","title":"é"}')
    assert made.constraint(example({})) == JsonSchema({"$schema": "x", "type": "object", "title": "é"})
    assert made.stratum(example({})) is None


def test_scores_by_hand() -> None:
    target = {"name": "A", "tags": ["x", "y", "y"], "at": {"city": "C"}}
    answer = {"name": "A", "tags": ["y", "x", "z"], "at": {"city": "D", "zip": 1}}
    pairs = [(example(target), Parsed(answer)), (example({"name": "B"}), Parsed(None, "empty answer"))]
    made = task()
    # leaves: name, tags x y y, city | found name, tags y x z, city, zip: 3 of 5 and 6 are common; then 1 missed
    assert measure(metric_of(made, "field_f1"), pairs) == pytest.approx(2 * 3 / (6 + 6))
    # paths: name right; tags[], at.city, at.zip wrong; then name missed
    assert measure(metric_of(made, "field_accuracy"), pairs) == pytest.approx(1 / 5)
    assert measure(metric_of(made, "exact_match"), pairs) == 0
    assert measure(metric_of(made, "valid"), pairs) == 0.5
    table = made.tables([e for e, _ in pairs], [p for _, p in pairs])["per_field"]
    rows = {row.pop("field"): row for row in table}
    assert list(rows) == ["name", "at.city", "tags[]", "at.zip"]
    assert rows["name"] == {
        "examples": 2,
        "accuracy": 0.5,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
    assert rows["tags[]"]["precision"] == rows["tags[]"]["recall"] == pytest.approx(2 / 3)
    assert rows["at.zip"] == {"examples": 0, "accuracy": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_paths() -> None:
    assert [path_name(path) for path, _ in leaves({"a": [{"b": 1}, []], "c": {}})] == ["a[].b", "a[]", "c"]
    assert [path_name(path) for path, _ in leaves({})] == ["(whole)"]
