"""Hosted models against a real server process that also fails, and against OpenAI's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.fingerprint import example_id
from burnish.errors import HostedError
from burnish.records import Example, Message, Source
from burnish.systems.hosted.cache import ReplyCache
from burnish.systems.hosted.endpoint import Address, Endpoint
from burnish.systems.hosted.spending import Ledger, TokenPrice
from burnish.systems.hosted.system import HostedSystem
from burnish.systems.hosted.wire import MalformedError, chat_body, is_strict, read_refusal, read_reply, without
from burnish.systems.shots import Fixed
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.extraction import Extraction, extraction_metrics
from chat_server import Server, serving
from notes import Notes

LABELS = ("blue", "green", "red", "yellow")
TASK = Classification("colours", "Which colour has it?", LABELS, classification_metrics(LABELS))
SCHEMA = {
    "type": "object", "properties": {"echo": {"type": "string"}}, "required": ["echo"], "additionalProperties": False,
}  # fmt: skip
KEY = "sk-very-secret-0123456789"


def row(text: str, target: Any = "red") -> Example:
    messages = (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source("f", 1))


THINGS = ["apple", "banana", "grass", "sky"]
ROWS = [row(f"the {THINGS[n % 4]} number {n}") for n in range(12)]
RIGHT = ["red", "yellow", "green", "blue"] * 3


def make(server: Server, folder, *, notes=None, task=TASK, price=None, limit=None, address=None, **options):
    """A system that asks the server."""
    where = Address("big", server.url, KEY, "BIG_KEY", 3, 5.0, 4, 0.01)._replace(**(address or {}))
    endpoint = Endpoint(where, Ledger(price, limit), ReplyCache(folder / "cache", server.url), notes or Notes())
    return HostedSystem("big", task, endpoint, "big-1", answer_tokens=4, **options), endpoint


def texts(predictions):
    return [prediction.text for prediction in predictions]


def test_answers_in_order_with_what_they_cost(tmp_path):
    with serving(tmp_path, key=KEY) as server:
        system, endpoint = make(server, tmp_path, price=TokenPrice(1.0, 10.0))
        found = system.predict(ROWS, Notes())
        assert texts(found) == RIGHT
        assert [one.parsed.value for one in found] == RIGHT
        assert all(request["path"] == "/v1/chat/completions" for request in server.requests)
        first = found[0]
        assert first.cost == pytest.approx((first.prompt_tokens * 1.0 + first.completion_tokens * 10.0) / 1e6)
        assert endpoint.ledger.paid == pytest.approx(sum(one.cost or 0.0 for one in found))
        assert first.completion_tokens == len("red")
        assert max(request["busy"] for request in server.requests) <= 3


def test_concurrency_is_used_and_bounded(tmp_path):
    with serving(tmp_path, delay=0.05) as server:
        system, _ = make(server, tmp_path)
        system.predict(ROWS, Notes())
        assert 2 <= max(request["busy"] for request in server.requests) <= 3


def test_what_openais_client_sends_is_what_we_send(tmp_path):
    """The oracle of the wire: the same call through the official package gives the same body, and reads the reply."""
    import openai

    messages = TASK.messages(ROWS[0], full=True)
    body = chat_body("big-1", messages, max_tokens=9, temperature=0.0, seed=7, schema=SCHEMA)
    with serving(tmp_path, key=KEY) as server:
        with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
            theirs = client.chat.completions.create(
                model="big-1",
                messages=[{"role": turn.role, "content": turn.content} for turn in messages],  # type: ignore[misc]
                max_tokens=9,
                temperature=0.0,
                seed=7,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                },
            )
        system, _ = make(server, tmp_path)
        [ours] = system._endpoint.ask([body], lambda done, total: None)
        sent = [request["body"] for request in server.requests]
    assert sent[0] == sent[1]
    assert ours.text == theirs.choices[0].message.content
    assert (ours.prompt_tokens, ours.completion_tokens) == (
        theirs.usage.prompt_tokens,
        theirs.usage.completion_tokens,
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "0.05"}},
        {"status": 500},
        {"status": 503, "body": "<html>busy</html>"},
        {"status": 200, "body": "<html>a proxy</html>"},
        {"status": 200, "body": "{}"},
        {"status": 200, "body": '{"choices": [{"message": {"content": null}}]}'},
        {"status": 408},
    ],
    ids=["429", "500", "503", "html", "no choices", "no content", "408"],
)
def test_faults_that_pass_are_tried_again(tmp_path, fault):
    with serving(tmp_path, faults=[fault, None, fault]) as server:
        system, _ = make(server, tmp_path)
        assert texts(system.predict(ROWS, Notes())) == RIGHT
        assert len(server.requests) == len(ROWS) + 2


def test_slow_answers_are_cut_off_and_tried_again(tmp_path):
    with serving(tmp_path, faults=[{"delay": 3.0}]) as server:
        system, _ = make(server, tmp_path, address={"timeout": 0.4})
        assert texts(system.predict(ROWS[:2], Notes())) == RIGHT[:2]
        assert len(server.requests) == 3


def test_what_does_not_pass_is_an_error_that_keeps_the_answers(tmp_path):
    faults = [None] * 5 + [{"status": 500, "body": "the disk is full"}] * 40
    with serving(tmp_path, faults=faults) as server:
        system, _ = make(server, tmp_path, address={"concurrency": 1, "retries": 2})
        with pytest.raises(HostedError, match="did not answer after 3 tries: status 500: the disk is full"):
            system.predict(ROWS, Notes())
        assert len(server.requests) == 5 + 3
    with serving(tmp_path) as later:
        again = Address("big", server.url, None, None, 3)
        endpoint = Endpoint(again, Ledger(None, None), ReplyCache(tmp_path / "cache", server.url), Notes())
        endpoint.address = again._replace(base_url=later.url)
        system, _ = make(later, tmp_path)
        system._endpoint = endpoint
        assert texts(system.predict(ROWS, Notes())) == RIGHT
        assert len(later.requests) == len(ROWS) - 5


def test_nothing_listens(tmp_path):
    with serving(tmp_path) as server:
        pass
    system, _ = make(server, tmp_path, address={"retries": 1})
    with pytest.raises(HostedError, match="no connection"):
        system.predict(ROWS[:1], Notes())


def test_a_wrong_key_is_refused_at_once_and_never_shown(tmp_path):
    with serving(tmp_path, key="another") as server:
        system, _ = make(server, tmp_path)
        with pytest.raises(HostedError, match="refuses the key") as caught:
            system.predict(ROWS, Notes())
        assert len(server.requests) <= 3
    shown = str(caught.value) + json.dumps(caught.value.to_dict())
    assert KEY not in shown
    assert "BIG_KEY" in shown
    assert all(KEY not in file.read_text() for file in (tmp_path / "cache").rglob("*.json"))


def test_an_unknown_model_is_an_error(tmp_path):
    with serving(tmp_path, models=["other"]) as server:
        system, _ = make(server, tmp_path)
        with pytest.raises(HostedError, match="knows no such model or address: The model big-1 does not exist"):
            system.predict(ROWS, Notes())


def test_equal_requests_are_sent_once_and_never_again(tmp_path):
    with serving(tmp_path) as server:
        system, _ = make(server, tmp_path)
        assert texts(system.predict([*ROWS[:3], *ROWS[:3]], Notes())) == RIGHT[:3] * 2
        assert len(server.requests) == 3
        system, endpoint = make(server, tmp_path, price=TokenPrice(1.0, 1.0), limit=0.0)
        notes = Notes()
        assert texts(system.predict(ROWS[:3], notes)) == RIGHT[:3]
        assert len(server.requests) == 3
        assert (endpoint.ledger.paid, endpoint.ledger.from_cache) == (0.0, 3)
        assert endpoint.ledger.kept > 0
        assert any("3 answers are kept from before" in text for text in notes.lines)


def test_a_damaged_cache_file_is_asked_again(tmp_path):
    with serving(tmp_path) as server:
        system, _ = make(server, tmp_path)
        system.predict(ROWS[:2], Notes())
        for file, content in zip(sorted((tmp_path / "cache").rglob("*.json")), ("{", '{"text": 3}'), strict=True):
            file.write_text(content)
        assert texts(make(server, tmp_path)[0].predict(ROWS[:2], Notes())) == RIGHT[:2]
        assert len(server.requests) == 4


def test_the_limit_is_never_passed(tmp_path):
    price = TokenPrice(1000.0, 1000.0)
    with serving(tmp_path) as server:
        system, endpoint = make(server, tmp_path, price=price, limit=0.6, max_new_tokens=200)
        with pytest.raises(HostedError, match=r"stops at its limit: \$0\.\d+ is spent on \d+ answers") as caught:
            system.predict(ROWS, Notes())
        spent = endpoint.ledger.total
        assert 0 < spent <= 0.6
        assert 0 < len(server.requests) < len(ROWS)
        assert "max_cost" in str(caught.value)
        system, _ = make(server, tmp_path, price=price, limit=40.0, max_new_tokens=200)
        assert texts(system.predict(ROWS, Notes())) == RIGHT
        assert len(server.requests) == len(ROWS)  # nothing was paid for twice


def test_an_estimate_above_the_limit_spends_nothing(tmp_path):
    notes = Notes()
    with serving(tmp_path) as server:
        system, _ = make(server, tmp_path, price=TokenPrice(1000.0, 1000.0), limit=0.1)
        with pytest.raises(HostedError, match="would cost about"):
            system.predict(ROWS, notes)
        assert server.requests == []
    assert any("12 requests to big-1 at 127.0.0.1" in text and "about $" in text for text in notes.lines)


@pytest.mark.parametrize("field", ["response_format", "temperature", "seed", "max_tokens"])
def test_what_an_endpoint_does_not_take_is_left_out(tmp_path, field):
    task = Extraction("echo", "Repeat it.", SCHEMA, extraction_metrics())
    notes = Notes()
    with serving(tmp_path, refuse=[field]) as server:
        system, _ = make(server, tmp_path, task=task, notes=notes, address={"concurrency": 1})
        found = system.predict([row(f"w{n}", {"echo": f"w{n}"}) for n in range(4)], Notes())
        assert [one.parsed.value for one in found] == [{"echo": f"w{n}"} for n in range(4)]
        bodies = [request["body"] for request in server.requests]
    assert len(bodies) == 5
    assert all(field not in body for body in bodies[1:])
    assert bodies[0]["response_format"]["json_schema"]["strict"] is True
    assert ("max_completion_tokens" in bodies[-1]) == (field == "max_tokens")
    assert sum(f"takes no {field}" in text for text in notes.lines) == 1


def test_shots_are_dropped_where_the_context_is_short(tmp_path):
    shots = Fixed(
        [row(f"the {thing} of before", colour) for thing, colour in zip(THINGS, LABELS, strict=True)],
        4,
        0,
        lambda e: e.target,
    )
    task = Classification("c", "Colour?", LABELS, classification_metrics(LABELS))
    size = sum(len(turn.content) for turn in task.messages(ROWS[0], full=True))
    with serving(tmp_path, context=size + 50) as server:
        system, _ = make(server, tmp_path, task=task, shots=shots)
        assert texts(system.predict(ROWS[:2], Notes())) == RIGHT[:2]
        turns = [len(request["body"]["messages"]) for request in server.requests]
    assert max(turns) == 2 + 8
    assert min(turns) < 10
    with serving(tmp_path, context=5) as server:
        system, _ = make(server, tmp_path / "none", task=task)
        [one] = system.predict(ROWS[:1], Notes())
    assert one.parsed.value is None
    assert "longer than the model's context" in str(one.parsed.error)


def test_tokens_that_are_not_told_are_estimated_and_said(tmp_path):
    notes = Notes()
    with serving(tmp_path, usage=False) as server:
        system, _ = make(server, tmp_path, notes=notes)
        assert system.predict(ROWS[:1], Notes())[0].prompt_tokens > 10
    assert any("estimated" in text for text in notes.lines)


def test_from_within_a_running_loop(tmp_path):
    with serving(tmp_path) as server:
        system, _ = make(server, tmp_path)

        async def notebook():
            return system.predict(ROWS[:2], Notes())

        assert texts(asyncio.run(notebook())) == RIGHT[:2]


# --- the wire, without a server ---

BODY = chat_body("m", [Message("user", "x")], max_tokens=5, temperature=0.0)


def reply(**message):
    choice = {"message": {"role": "assistant", **message}, "finish_reason": message.pop("ended", "stop")}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def test_replies_of_other_shapes():
    assert read_reply(reply(content="<think>hm\nhm</think>\n\nred"), BODY, 1.0).text == "red"
    assert (
        read_reply(reply(content=[{"type": "text", "text": "re"}, {"type": "text", "text": "d"}]), BODY, 1.0).text
        == "red"
    )
    assert read_reply(reply(content=None, refusal="I will not"), BODY, 1.0).finish == "refused"
    assert read_reply(reply(content=None, ended="length"), BODY, 1.0).finish == "length"
    for broken in ("", "[]", "null", '{"choices": []}', '{"choices": [3]}', '{"choices": [{"message": 3}]}'):
        with pytest.raises(MalformedError):
            read_reply(broken, BODY, 1.0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "usage", "finish_reason", "error", "code", "param"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_breaks_the_reader(value):
    text = json.dumps(value)
    with contextlib.suppress(MalformedError):
        read_reply(text, BODY, 0.0)
    assert read_refusal(400, {}, text, BODY).message is not None


def test_refusals():
    def kind(status, message="", code=None, param=None, headers=None):
        return read_refusal(
            status, headers or {}, json.dumps({"error": {"message": message, "code": code, "param": param}}), BODY
        )

    assert kind(401).kind == kind(403).kind == "key"
    assert kind(429, code="insufficient_quota").kind == "credit"
    assert kind(429, headers={"Retry-After": "7"}).wait == 7.0
    assert kind(429, headers={"retry-after": "Fri, 27 Nov 2020 00:00:00 GMT"}).wait == 0.0
    assert kind(429, headers={"retry-after": "soon"}).wait is None
    assert kind(400, "maximum context length is 99 tokens; lower max_tokens").kind == "too_long"
    assert kind(400, "Use max_completion_tokens instead", param="max_tokens")[::2] == ("unsupported", "max_tokens")
    assert kind(400, "seed is not known").kind == "other"  # it was not sent
    assert kind(302, headers={"location": "https://elsewhere"}).kind == "other"
    assert without({"max_tokens": 5, "a": 1}, "max_tokens") == {"max_completion_tokens": 5, "a": 1}


def test_strict_schemas():
    assert is_strict(SCHEMA)
    assert not is_strict({**SCHEMA, "required": []})
    assert not is_strict({**SCHEMA, "additionalProperties": True})
    inner = {"type": "array", "items": {"type": "object", "properties": {"a": {}}}}
    assert not is_strict({**SCHEMA, "properties": {"echo": inner}})


def test_prices_with_cached_tokens():
    assert TokenPrice(2.0, 8.0, 0.5).of(1_000_000, 500_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 4)
    assert TokenPrice(2.0, 8.0).of(1_000_000, 0, 400_000) == pytest.approx(2.0)
