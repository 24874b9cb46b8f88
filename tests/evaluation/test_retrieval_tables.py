"""Recall and the outcomes of answers, counted by hand."""

from __future__ import annotations

import pytest

from burnish.evaluation.evaluate import evaluate
from burnish.evaluation.retrieval import retrieval_tables
from burnish.evaluation.statistics import wilson
from burnish.records import Example, Message, Parsed, Passage, Prediction, Source
from burnish.tasks.generation import Generation, generation_metrics
from burnish.tasks.metrics import primary_first

TASK = Generation("t", "Answer.", None, primary_first(generation_metrics(None), "exact_match"))


def asked(number: int, document: str | None, target: str = "nine days") -> Example:
    return Example(f"e{number}", (Message("user", f"{number}?"),), target, Source("q", number), document=document)


def answered(number: int, text: str, shown: str, ranking: str) -> Prediction:
    sources = tuple(Passage(one, "", f"Text of {one}: NINE  days.", "f", "line 1") for one in shown)
    return Prediction(f"e{number}", text, Parsed(text), None, 9, 2, 0.1, sources=sources, ranking=tuple(ranking))


EXAMPLES = [asked(number, "a") for number in range(5)]
PREDICTIONS = [
    answered(0, "nine days", "a", "abcdefghij"),
    answered(1, "ten days", "ba", "bacdefghij"),
    answered(2, "ten days", "b", "bcdefghija"),
    answered(3, "nine days", "b", "bcdefghijk"),
    answered(4, "nine days", "a", "abcdefghij"),
]


def test_recall_and_outcomes():
    table = evaluate("rag", TASK, EXAMPLES, PREDICTIONS, split="test", seed=0)[0].tables["retrieval"]
    assert {depth: found["value"] for depth, found in table["recall"].items()} == {"1": 0.4, "5": 0.6, "10": 0.8}
    bounds = wilson(3, 5)
    assert (table["recall"]["5"]["low"], table["recall"]["5"]["high"]) == pytest.approx((bounds.low, bounds.high))
    assert table["outcomes"] == {"right": 2, "wrong_context": 1, "wrong_behaviour": 1, "right_without": 1}
    assert (table["examples"], table["named"], table["shown"]) == (5, 5, 1.2)


def test_without_documents_the_answer_itself_is_looked_for():
    examples = [asked(0, None), asked(1, None, "ten days")]
    predictions = [answered(0, "wrong", "a", "a"), answered(1, "wrong", "a", "a")]
    table = evaluate("rag", TASK, examples, predictions, split="test", seed=0)[0].tables["retrieval"]
    assert table["recall"] == {}
    assert table["outcomes"] == {"right": 0, "wrong_context": 1, "wrong_behaviour": 1, "right_without": 0}


def test_other_systems_have_no_such_table():
    plain = [Prediction(f"e{number}", "x", Parsed("x"), None, 1, 1, 0.1) for number in range(5)]
    assert "retrieval" not in evaluate("prompt", TASK, EXAMPLES, plain, split="test", seed=0)[0].tables
    assert retrieval_tables(EXAMPLES, plain, "exact_match") == {}
