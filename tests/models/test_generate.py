"""The generation engine against the plain way: one request at a time, everything read again for every token."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import ModelError
from burnish.models import batch_state
from burnish.models.batch_state import read_width
from burnish.models.chat import Chat
from burnish.models.constrain import Constrainer, JsonMatcher, LabelMatcher, bits_to_bool
from burnish.models.generate import Engine, Request, shared_length
from burnish.models.load import load_model
from burnish.records import JsonSchema, Labels, Message
from tiny import tiny_config, tiny_loaded
from tiny_families import TINY

WORDS = ["the cat", "a dog ran to the mat", "sat", "system", "x" * 30]


def requests(chat, system="the assistant sat on the mat", limit=12, constraint=None):
    return [
        Request(tuple(chat.prompt([Message("system", system), Message("user", word)])), limit, constraint)
        for word in WORDS
    ]


def slow_greedy(loaded, chat, request):
    tokens = list(request.tokens)
    logprobs = []
    while len(tokens) - len(request.tokens) < request.max_new_tokens:
        with torch.no_grad():
            scores = torch.log_softmax(loaded.model(torch.tensor([tokens])).logits[0, -1].float(), -1)
        token = int(scores.argmax())
        logprobs.append(float(scores[token]))
        if token in chat.stop_ids:
            break
        tokens.append(token)
    return tokens[len(request.tokens) :], logprobs


@pytest.mark.parametrize("attention", ["burnish", "sdpa"])
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_batched_with_shared_prefix_equals_one_by_one(attention, seed):
    loaded, chat = tiny_loaded(attention=attention, seed=seed)
    asked = requests(chat)
    answers = Engine(loaded, chat).generate(asked)
    for request, answer in zip(asked, answers, strict=True):
        tokens, logprobs = slow_greedy(loaded, chat, request)
        assert list(answer.tokens) == tokens
        assert answer.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert answer.cached_tokens > 8
        assert answer.prompt_tokens == len(request.tokens)


@pytest.mark.parametrize("limit", [3, 12])
@pytest.mark.parametrize("family", TINY)
def test_every_family_answers_as_it_does_without_a_cache(family, limit):
    """Rows of several lengths in one batch, with what they share read once: padding lies within windows, and would
    run through the states of models that keep one."""
    loaded, chat = tiny_loaded(config=TINY[family])
    for request, answer in zip(
        asked := requests(chat, limit=limit), Engine(loaded, chat).generate(asked), strict=True
    ):
        tokens, logprobs = slow_greedy(loaded, chat, request)
        assert list(answer.tokens) == tokens
        assert answer.logprobs == pytest.approx(logprobs, abs=1e-3)
        assert answer.cached_tokens > 8


def test_rows_that_end_early_are_dropped_from_what_was_read():
    """Half of the rows stop at once: those left go on from keys, values and states of their own."""
    for family in ("qwen3_5", "jamba", "gemma3", "llama"):
        loaded, chat = tiny_loaded(config=TINY[family])
        asked = [request._replace(max_new_tokens=2 + 9 * (i % 2)) for i, request in enumerate(requests(chat))]
        for request, answer in zip(asked, Engine(loaded, chat).generate(asked), strict=True):
            assert list(answer.tokens) == slow_greedy(loaded, chat, request)[0]


def test_a_model_that_does_not_go_on_is_refused(monkeypatch):
    """Planted: one that forgets what it has read."""
    loaded, chat = tiny_loaded(config=TINY["qwen3_5"])
    real = type(loaded.model).forward

    def forgetful(self, *args, past_key_values=None, **kwargs):
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(loaded.model), "forward", forgetful)
    with pytest.raises(ModelError, match="cannot go on from what it has read") as error:
        Engine(loaded, chat).generate(requests(chat))
    assert error.value.got == "qwen3_5_text"


@pytest.mark.parametrize("prefill", [1, 30, 64, 10**6])
def test_answers_do_not_depend_on_the_batch(monkeypatch, prefill):
    """Neither on the rows of a batch, nor on how many prompt tokens are read at a time."""
    loaded, chat = tiny_loaded()
    asked = requests(chat)
    small = Engine(loaded, chat, tokens_per_batch=64, max_rows=1).generate(asked)
    monkeypatch.setattr(batch_state, "PREFILL_TOKENS", prefill)
    large = Engine(loaded, chat).generate(asked)
    assert [answer.tokens for answer in small] == [answer.tokens for answer in large]
    for one, other in zip(small, large, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_sampling_is_seeded_per_request():
    loaded, chat = tiny_loaded()
    engine = Engine(loaded, chat)
    first = engine.generate(requests(chat), temperature=1.0, seed=1)
    assert [a.tokens for a in first] == [a.tokens for a in engine.generate(requests(chat), temperature=1.0, seed=1)]
    assert [a.tokens for a in first] != [a.tokens for a in engine.generate(requests(chat), temperature=1.0, seed=2)]


def label_probability(loaded, chat, request, labels, label):
    """Probability of a label by walking the tree of all labels' tokens and renormalising at every branch."""
    encoded = {name: [*chat.answer(name), chat.end_of_turn] for name in labels}
    total = 0.0
    for depth in range(len(encoded[label])):
        prefix = encoded[label][:depth]
        options = {path[depth] for path in encoded.values() if path[:depth] == prefix and len(path) > depth}
        with torch.no_grad():
            scores = loaded.model(torch.tensor([[*request.tokens, *prefix]])).logits[0, -1].float()
        chosen = torch.log_softmax(scores[sorted(options)], -1)
        total += float(chosen[sorted(options).index(encoded[label][depth])])
    return math.exp(total)


def test_label_confidence_is_normalised_over_the_labels():
    loaded, chat = tiny_loaded(seed=2)
    labels = ("cat", "cat sat", "dog", "mat on", "mat off")
    for request, answer in zip(
        asked := requests(chat, constraint=Labels(labels)), Engine(loaded, chat).generate(asked), strict=True
    ):
        assert answer.text in labels
        chances = {label: label_probability(loaded, chat, request, labels, label) for label in labels}
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-4)
        assert answer.confidence == pytest.approx(chances[answer.text], abs=1e-4)
        assert answer.finish == "stop"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "count": {"type": "integer", "maximum": 99}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


def test_json_constraint_gives_compact_json_of_the_schema():
    loaded, chat = tiny_loaded(seed=4)
    answers = Engine(loaded, chat).generate(requests(chat, limit=80, constraint=JsonSchema(SCHEMA)), temperature=1.0)
    for answer in answers:
        assert answer.finish == "stop"
        value = json.loads(answer.text)
        jsonschema.validate(value, SCHEMA)
        assert list(value) == ["name", "count"]
        assert answer.text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        assert 0 < answer.confidence <= 1


class Passes:
    """Counts a model's forward passes."""

    def __init__(self, model):
        self.count = 0
        self.hook = model.register_forward_hook(self._one)

    def _one(self, *_):
        self.count += 1


CLOSED = {
    "type": "object",
    "properties": {
        "section": {"enum": ["Medical and Surgical", "Imaging"]},
        "root_operation": {"enum": ["Excision", "Extirpation", "Inspection"]},
        "contrast": {"type": "boolean"},
    },
    "required": ["section", "root_operation", "contrast"],
    "additionalProperties": False,
}


@pytest.mark.model
def test_forced_tokens_save_passes_and_change_no_answer(monkeypatch):
    """The starter model, on the demo's schema and on one with few choices: the same tokens from fewer passes."""
    folder = Path(__file__).parents[2] / "examples" / "procedure-coding"
    loaded = load_model("smollm2-135m-instruct", dtype="float32")
    chat = Chat(loaded.tokenizer, [])
    passes = Passes(loaded.model)
    texts = ["lap chole", "CT head w/o contrast", "R knee arthroscopy", "open repair of the left hernia"]
    for schema, share in ((json.loads((folder / "schema.json").read_text()), 1.0), (CLOSED, 0.7)):
        made = [
            Request(tuple(chat.prompt([Message("user", f"Code it: {text}")])), 40, JsonSchema(schema))
            for text in texts
        ]
        passes.count = 0
        forced = Engine(loaded, chat).generate(made)
        few, passes.count = passes.count, 0
        with monkeypatch.context() as patched:
            patched.setattr(JsonMatcher, "forced", lambda _: [])
            chosen = Engine(loaded, chat).generate(made)
        assert few < share * passes.count
        for left, right in zip(forced, chosen, strict=True):
            assert (left.tokens, left.finish) == (right.tokens, right.finish)
            assert len(left.logprobs) == len(right.logprobs)
            # Where the text is forced, splits other than the tokenizer's took a little of the probability.
            assert right.confidence * 0.999 <= left.confidence <= right.confidence * 1.2


VALUES = st.recursive(
    st.sampled_from([{"type": "boolean"}, {"enum": ["cat", "catalogue"]}, {"const": "the dog"}, {"type": "null"}]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "sat", "the"]), inner, min_size=1, max_size=3).map(
        lambda properties: {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    ),
    max_leaves=5,
)
CHAT = tiny_loaded()[1]


@given(VALUES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_forced_text_is_what_any_way_of_choosing_would_write(schema, rng):
    """Two walks through the tokens that may come next; one takes what is forced, the other chooses every token."""
    constrainer = Constrainer(CHAT, 304)
    taken, free = (constrainer.matcher(JsonSchema(schema)) for _ in range(2))
    tokens = []
    while not taken.finished():
        for token in taken.forced():
            assert bits_to_bool(taken.allowed(), 304)[token]
            taken.accept(token)
            tokens.append(token)
        if taken.finished():
            break
        token = rng.choice(np.flatnonzero(bits_to_bool(taken.allowed(), 304)).tolist())
        taken.accept(token)
        if token == CHAT.end_of_turn:
            break
        tokens.append(token)
    text = CHAT.decode(tokens)
    jsonschema.validate(json.loads(text), schema)
    for token in CHAT.answer(text):  # in the tokenizer's own split, every step of which must be allowed
        assert bits_to_bool(free.allowed(), 304)[token]
        free.accept(token)


def test_how_much_is_read_at_once():
    """Forced tokens are read together where they are few; many rows are not padded for one of them."""
    assert read_width([6], "cpu") == 6
    assert read_width([6, 1], "cpu") == 6
    assert read_width([20, 1], "cpu") == 9
    assert read_width([6, *[1] * 23], "cpu") == 1
    assert read_width([6, *[3] * 23], "cpu") == 3
    assert read_width([6, *[1] * 23], "cuda") == 6
    assert read_width([], "cpu") == 1


def test_what_is_read_at_once_changes_no_answer(monkeypatch):
    """Rows whose forced tokens come at different times, read one by one and all together."""
    loaded, chat = tiny_loaded(seed=4)
    made = requests(chat, limit=80, constraint=JsonSchema(SCHEMA))
    found = []
    for tokens in (0, 10**6):
        monkeypatch.setattr(batch_state, "PASS_TOKENS", tokens)
        found.append(Engine(loaded, chat).generate(made, temperature=1.0))
    for one, other in zip(*found, strict=True):
        assert one.tokens == other.tokens
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_an_answer_that_is_forced_throughout_needs_no_choice():
    loaded, chat = tiny_loaded()
    for constraint, text in ((JsonSchema({"const": {"a": [1, 2]}}), '{"a":[1,2]}'), (Labels(("sat",)), "sat")):
        passes = Passes(loaded.model)
        answers = Engine(loaded, chat).generate(requests(chat, limit=30, constraint=constraint))
        passes.hook.remove()
        assert {(answer.text, answer.finish, answer.confidence) for answer in answers} == {(text, "stop", 1.0)}
        assert passes.count == 2  # the shared prefix, and the prompts


def test_cut_answers_say_so():
    loaded, chat = tiny_loaded()
    answers = Engine(loaded, chat).generate(requests(chat, limit=2, constraint=JsonSchema(SCHEMA)))
    assert {answer.finish for answer in answers} == {"length"}
    assert all(len(answer.tokens) == 2 for answer in answers)


def test_prompt_that_fills_the_context_gives_nothing():
    loaded, chat = tiny_loaded(config=tiny_config(max_position_embeddings=64))
    long = Request(tuple(itertools.islice(itertools.cycle(range(3, 99)), 70)), 5)
    short = Request((5, 6, 7), 5)
    first, second = Engine(loaded, chat).generate([long, short])
    assert (first.text, first.finish, first.confidence) == ("", "length", None)
    assert second.tokens


def test_context_is_never_overrun():
    loaded, chat = tiny_loaded(config=tiny_config(max_position_embeddings=40))
    answer = Engine(loaded, chat).generate([Request(tuple(range(3, 38)), 50)])[0]
    assert len(answer.tokens) <= 5


def test_model_is_left_in_its_mode():
    loaded, chat = tiny_loaded()
    loaded.model.train()
    Engine(loaded, chat).generate(requests(chat)[:1])
    assert loaded.model.training


def test_shared_length():
    assert shared_length([tuple(range(20)), (*range(15), 99)]) == 15
    assert shared_length([tuple(range(20)), tuple(range(20))]) == 19  # one token stays for each
    assert shared_length([(1, 2, 3), (1, 2, 4)]) == 0  # too few to pay
    assert shared_length([tuple(range(20))]) == 0


def test_label_that_starts_another_competes_with_the_end():
    _, chat = tiny_loaded()
    matcher = Constrainer(chat, 304).matcher(Labels(("cat", "catalogue")))
    assert isinstance(matcher, LabelMatcher)
    for token in chat.answer("cat"):
        if chat.end_of_turn not in matcher.allowed():
            matcher.accept(token)
    assert chat.end_of_turn in matcher.allowed()
    matcher.accept(chat.end_of_turn)
    assert matcher.finished()


def test_bits():
    import numpy as np

    assert bits_to_bool(np.array([0b101, 1], dtype=np.int32), 34).nonzero()[0].tolist() == [0, 2, 32]


def test_no_requests():
    loaded, chat = tiny_loaded()
    assert Engine(loaded, chat).generate([]) == []
