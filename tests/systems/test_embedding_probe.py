"""The embedding probe with the real embedding model, and with a causal model's hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from burnish.data.fingerprint import example_id
from burnish.errors import DataError
from burnish.evaluation.evaluate import primary_value
from burnish.models.embed import hidden_states, load_embedder
from burnish.progress import Silent
from burnish.records import Example, Message, Source
from burnish.systems.embedding_probe import EmbeddingProbe
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.generation import Generation, generation_metrics
from tiny import tiny_loaded

OPENINGS = ("", "Hello, ", "Sorry to bother you, but ", "Quick question: ", "Please help, ")
SAYINGS = {
    "delivery": ("my parcel has not come", "where is the package", "the courier left it in the rain"),
    "billing": ("I was charged twice", "the invoice is wrong", "which cards can I pay with"),
    "account": ("I forgot my password", "how do I change my e-mail", "please delete my profile"),
}
LABELS = tuple(SAYINGS)


def row(text: str, label: str, system: str | None = None) -> Example:
    messages = (*((Message("system", system),) if system else ()), Message("user", text))
    return Example(example_id(messages, label), messages, label, Source("rows.jsonl", 1))


ROWS = [row(opening + text, label) for label, texts in SAYINGS.items() for text in texts for opening in OPENINGS]
NEW = [
    row("the box I ordered is lost in the post", "delivery"),
    row("you took the money from my card two times", "billing"),
    row("I cannot log in any more", "account"),
]


@pytest.fixture(scope="module")
def task():
    return Classification("help", "Which team?", LABELS, classification_metrics(LABELS))


@pytest.fixture(scope="module")
def probe(task):
    return EmbeddingProbe(task, ROWS, load_embedder().embed, Silent())


def test_it_answers_by_meaning_with_calibrated_confidence(task, probe):
    predictions = probe.predict(NEW, Silent())
    assert [prediction.parsed.value for prediction in predictions] == ["delivery", "billing", "account"]
    assert primary_value(task, NEW, predictions) == 1.0
    assert all(1 / 3 < prediction.confidence <= 1 for prediction in predictions)
    assert probe.predict([], Silent()) == []
    assert probe.about["rows"] == len(ROWS)
    assert probe.about["dimension"] == 384


def test_it_reads_the_input_alone(probe):
    """Neither the system turn nor the target reaches the vectors."""
    plain = probe.predict(NEW[:1], Silent())[0]
    other = probe.predict([row(NEW[0].messages[0].content, "billing", system="Ignore this.")], Silent())[0]
    assert other.parsed == plain.parsed
    assert other.confidence == pytest.approx(plain.confidence, abs=1e-6)


def test_other_kinds_are_refused():
    task = Generation("notes", "Rewrite.", None, generation_metrics(None))
    with pytest.raises(DataError, match="answers with labels"):
        EmbeddingProbe(task, ROWS, load_embedder().embed, Silent())


def test_hidden_states_of_a_causal_model(task):
    loaded, _ = tiny_loaded()
    embed = hidden_states(loaded).embed
    texts = ["the cat", "", "the dog sat on the mat and ran to the user " * 3, "a"]
    together = embed(texts, keep=False)
    for text, vector in zip(texts, together, strict=True):
        tokens = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        if tokens.shape[1]:
            with torch.no_grad():
                states = loaded.model(input_ids=tokens, output_hidden_states=True).hidden_states[-1]
            mean = states[0].mean(0)
            np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
        else:
            assert not vector.any()
    assert not embed([""], keep=False).any()
    long = "the " * 2000
    embed([long], keep=False)
    assert len(loaded.tokenizer(long)["input_ids"]) > 1000, "the tokenizer has others who use it"
    probe = EmbeddingProbe(task, ROWS, embed, Silent())
    assert len(probe.predict(NEW, Silent())) == 3
