"""Examples to rows: what is rendered, weighted, and left out."""

from __future__ import annotations

import pytest

from burnish.errors import TrainingError
from burnish.models.chat import Chat
from burnish.records import Example, Message, Source
from burnish.tasks.generation import Generation, generation_metrics
from burnish.training.encode import encode
from tiny import tiny_tokenizer

TASK = Generation("echo", "Say it again.", None, generation_metrics(None))
CHAT = Chat(tiny_tokenizer())


def example(number: int, text: str, weight: float = 1.0) -> Example:
    return Example(str(number), (Message("user", text),), text.upper(), Source("f.jsonl", number), weight=weight)


def test_rows_keep_order_weight_and_source():
    encoding = encode([example(1, "cat"), example(2, "dog", 0.5)], TASK, CHAT, full=False, max_length=200)
    assert [row.source.line for row in encoding.rows] == [1, 2]
    assert [row.weight for row in encoding.rows] == [1.0, 0.5]
    row = encoding.rows[0]
    (sequence,) = row.sequences
    (span,) = sequence.spans
    assert CHAT.tokenizer.decode(sequence.tokens[span.first :]) == "CAT</s>"
    assert row.labelled == len(sequence.tokens) - span.first
    assert "Say it again." in CHAT.tokenizer.decode(sequence.tokens[: span.first])


def test_too_long_rows_are_left_out_whole_and_told():
    long = example(7, "the cat sat " * 50)
    encoding = encode([example(1, "cat"), long], TASK, CHAT, full=False, max_length=100)
    assert [row.source.line for row in encoding.rows] == [1]
    [(source, length)] = encoding.too_long
    assert (source.line, length > 100) == (7, True)
    assert not encode([long], TASK, CHAT, full=False, max_length=length).too_long


def conversation(weight=None):
    messages = (
        Message("user", "cat?"),
        Message("assistant", "dog", weight=weight),
        Message("user", "sat?"),
    )
    return Example("1", messages, "ran", Source("f", 1))


def learned(turns, weight=None):
    task = Generation("chat", "Answer.", None, ())
    (item,) = encode([conversation(weight)], task, CHAT, full=False, max_length=500, turns=turns).rows
    (sequence,) = item.sequences
    return [CHAT.tokenizer.decode(sequence.tokens[span.first : span.last]) for span in sequence.spans], sequence


@pytest.mark.parametrize(
    ("turns", "weight", "expected"),
    [
        ("last", None, ["ran</s>"]),
        ("all", None, ["dog</s>", "ran</s>"]),
        ("last", 1.0, ["dog</s>", "ran</s>"]),
        ("all", 0.0, ["ran</s>"]),
    ],
)
def test_which_turns_are_learned(turns, weight, expected):
    """The earlier turn's weight decides; without one the setting does. The tokens are the same either way."""
    spoken, sequence = learned(turns, weight)
    assert spoken == expected
    prompt = Generation("chat", "Answer.", None, ()).messages(conversation(), full=False)
    assert CHAT.tokenizer.decode(sequence.tokens).startswith(CHAT.text(prompt, generation_prompt=True))


def test_where_a_template_rewrites_earlier_turns_each_is_an_item_of_its_own():
    template = (
        "{% for message in messages %}{{ '<s>' + message['role'] + '\n' }}"
        "{% if loop.last or message['role'] == 'user' %}{{ message['content'] }}{% else %}...{% endif %}"
        "{{ '</s>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
    )
    chat = Chat(CHAT.tokenizer, template=template)
    task = Generation("chat", "Answer.", None, ())
    assert len(encode([conversation()], task, chat, full=False, max_length=500).rows) == 1
    rows = encode([conversation()], task, chat, full=False, max_length=500, turns="all").rows
    [first], [second] = (row.sequences for row in rows)
    learned = [
        chat.tokenizer.decode(one.tokens[span.first : span.last]) for one in (first, second) for span in one.spans
    ]
    assert learned == ["dog</s>", "ran</s>"]
    assert "..." not in chat.tokenizer.decode(first.tokens)
    assert "..." in chat.tokenizer.decode(second.tokens)
    assert rows[0].source == rows[1].source


def test_objectives_with_pairs_need_a_rejected_answer():
    task = Generation("chat", "Answer.", None, ())
    with pytest.raises(TrainingError, match="needs a rejected answer") as caught:
        encode([conversation()], task, CHAT, full=False, max_length=500, objective="dpo")
    assert "f:1" in str(caught.value)
