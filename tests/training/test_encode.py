"""Examples to rows: what is rendered, weighted, and left out."""

from __future__ import annotations

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
