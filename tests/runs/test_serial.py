from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import RunError
from burnish.records import (
    DataReport,
    Evaluation,
    Example,
    Finding,
    Interval,
    Message,
    Paired,
    Parsed,
    Prediction,
    Source,
    Split,
    ToolCall,
    TrainingResult,
    Verdict,
)
from burnish.runs.serial import dumps, from_json, to_json

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
intervals = st.builds(Interval, finite, finite, finite, words, finite)
predictions = st.builds(
    Prediction, words, words, st.builds(Parsed, json_values, st.none() | words), st.none() | finite,
    st.integers(0, 9999), st.integers(0, 9999), finite, st.dictionaries(words, finite, max_size=3),
)  # fmt: skip
evaluations = st.builds(
    Evaluation, words, words, st.integers(0, 9999), st.dictionaries(words, intervals, max_size=3), finite, finite,
    finite, st.dictionaries(words, json_values, max_size=2),
)  # fmt: skip
pairs = st.builds(
    Paired, words, words, words, finite, finite, finite, finite, words, st.integers(0, 99), st.integers(0, 99)
)
verdicts = st.builds(
    Verdict, st.sampled_from(["ship", "hold"]), words, words, words, st.lists(words, max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple), finite, st.none() | finite, st.integers(0, 99),
)  # fmt: skip
calls = st.builds(ToolCall, words, st.dictionaries(words, json_values, max_size=2), st.none() | words)
messages = st.builds(
    Message, st.sampled_from(["system", "user", "assistant", "tool"]), words, st.lists(calls, max_size=1).map(tuple),
    st.none() | words, st.none() | words, st.none() | finite,
)  # fmt: skip
examples = st.builds(
    Example, words, st.lists(messages, max_size=2).map(tuple), json_values,
    st.builds(Source, words, st.integers(1, 99)),
    st.lists(st.dictionaries(words, json_values, max_size=2), max_size=1).map(tuple), st.none() | words, finite,
)  # fmt: skip
some_examples = st.lists(examples, max_size=1).map(tuple)
splits = st.builds(Split, some_examples, some_examples, some_examples, words)


@settings(max_examples=120, deadline=None)
@given(st.one_of(predictions, evaluations, pairs, verdicts, splits))
def test_records_survive_the_way_to_json_and_back(record):
    assert from_json(type(record), json.loads(dumps(record))) == record


def test_the_other_records_survive_too():
    finding = Finding("duplicate", "warning", 2, "m", "a", (Source("f", 1),))
    result = TrainingResult("a", 1, 1, 2, 3, 4.0, 5.0, 6, 7, False, None, ({"step": 1},))
    for record in (DataReport(3, (finding,), {"classes": {"a": 1}}), result):
        assert from_json(type(record), json.loads(dumps(record))) == record


def test_numbers_that_json_lacks_are_told_apart_and_read_back():
    interval = Interval(float("inf"), float("-inf"), float("nan"), "none")
    plain = to_json(interval)
    assert [plain["value"], plain["low"], plain["high"]] == ["Infinity", "-Infinity", "NaN"]
    back = from_json(Interval, json.loads(dumps(interval)))
    assert (back.value, back.low) == (float("inf"), float("-inf"))
    assert np.isnan(back.high)


def test_numpy_paths_and_tuples_have_a_json_form():
    value = {
        "a": np.float32(0.5),
        "b": np.arange(3),
        "c": np.int64(4),
        "d": Path("x/y"),
        "e": (1, (2,)),
        "f": np.True_,
    }
    assert to_json(value) == {"a": 0.5, "b": [0, 1, 2], "c": 4, "d": "x/y", "e": [1, [2]], "f": True}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {1: "a"}, [lambda: 0], Interval])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(TypeError):
        to_json(value)


def test_half_a_surrogate_pair_can_be_written():
    assert json.loads(dumps({"text": "\ud83d ü"}).encode()) == {"text": "\ud83d ü"}
    assert dumps({"text": "ü"}) == '{"text":"ü"}'


def test_a_damaged_record_names_its_fields():
    with pytest.raises(RunError, match=r"verdict.json: not a saved Verdict: decision: .*margin: "):
        from_json(Verdict, {"decision": "perhaps", "candidate": "a", "baseline": "b", "metric": "m", "reasons": [],
                            "advice": [], "margin": "much", "target": None, "looks": 1}, "verdict.json")  # fmt: skip
    with pytest.raises(RunError, match="not a saved Interval: low: Field required"):
        from_json(Interval, {"value": 1, "high": 2, "method": "x"})
