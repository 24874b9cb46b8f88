"""Search by words and meaning with the real embedding model, and systems that are shown what was found."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.data.fingerprint import example_id
from burnish.errors import DataError
from burnish.models.embed import load_embedder
from burnish.progress import Silent
from burnish.records import Example, Message, Parsed, Passage, Prediction, Source
from burnish.systems.bm25 import WordIndex
from burnish.systems.rag import Context, WithContext
from burnish.systems.retrieval import Retriever
from burnish.tasks.prompts import with_passages

TEXTS = {
    "returns": "Goods may be sent back within thirty days of delivery. The refund takes a week.",
    "shipping": "Parcels leave the warehouse every morning and take two days in Europe.",
    "warranty": "A broken machine is repaired free of charge for two years. Code E47 means a blocked pump.",
    "account": "A forgotten password is replaced by a link that comes by e-mail.",
    "opening": "The shop in Zurich opens at nine and closes at six, except on Sundays.",
}
PASSAGES = [Passage(name, name.title(), text, f"{name}.md", "line 1") for name, text in TEXTS.items()]


def question(text: str, *before: Message) -> Example:
    messages = (*before, Message("user", text))
    return Example(example_id(messages, "x"), messages, "x", Source("q.jsonl", 1))


@pytest.fixture(scope="module")
def retriever():
    return Retriever(PASSAGES, load_embedder().embed)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("What does E47 mean?", "warranty"),  # a word that no meaning tells
        ("How long do I have to change my mind about what I bought?", "returns"),  # no word in common
        ("I do not remember my password", "account"),
        ("Is it open at the weekend?", "opening"),
    ],
)
def test_words_and_meaning_both_find(retriever, query, document):
    assert retriever.search([query], 1)[0][0].document == document


def test_fusion_is_the_sum_of_reciprocal_places(retriever):
    """By hand, from the two rankings alone (Cormack et al. 2009)."""
    query = "When does the shop send parcels?"
    texts = [f"{passage.title}\n{passage.text}" for passage in PASSAGES]
    by_words = WordIndex(texts).scores(query)
    vectors = load_embedder().embed([query, *texts])
    by_meaning = vectors[1:] @ vectors[0]

    def place(scores, at):
        return 1 + sum(other > scores[at] for other in scores)

    fused = [
        (1 / (60 + place(by_words, at)) if by_words[at] > 0 else 0) + 1 / (60 + place(by_meaning, at))
        for at in range(len(texts))
    ]
    expected = [PASSAGES[at].document for at in np.argsort([-score for score in fused], kind="stable")]
    assert [passage.document for passage in retriever.search([query], 5)[0]] == expected
    assert len(retriever.search([query], 99)[0]) == 5
    assert retriever.search([], 3) == []


def test_a_query_without_words_is_answered(retriever):
    assert len(retriever.search(["?!"], 2)[0]) == 2


def test_nothing_to_search_in_is_refused():
    with pytest.raises(DataError, match="no passages"):
        Retriever([], load_embedder().embed)


def test_passages_stand_in_front_of_the_last_question():
    earlier = (Message("system", "Be kind."), Message("user", "Hello"), Message("assistant", "Hello!"))
    example = question("When?", *earlier)
    shown = with_passages(example, PASSAGES[:2])
    assert shown.messages[:3] == earlier
    assert shown.messages[3].content == (
        f"[1] Returns\n{TEXTS['returns']}\n\n[2] Shipping\n{TEXTS['shipping']}\n\nWhen?"
    )
    assert (shown.id, shown.target) == (example.id, example.target)
    assert with_passages(example, ()) is example


class Echo:
    """Answers with the prompt it was given."""

    name = "echo"

    def predict(self, examples, progress):
        return [
            Prediction(example.id, example.messages[-1].content, Parsed("x"), None, 0, 0, 0.5) for example in examples
        ]


def test_answers_keep_the_passages_they_were_given(retriever):
    system = WithContext("rag", Echo(), Context(retriever, 2))
    examples = [question("What does E47 mean?"), question("Is it open on Sundays?")]
    first, second = system.predict(examples, Silent())
    assert first.sources[0] == PASSAGES[2]
    assert len(first.sources) == 2
    assert all(source.text in first.text for source in first.sources)
    assert first.ranking[0] == "warranty"
    assert len(first.ranking) == 5
    assert second.sources[0].document == "opening"
    assert first.seconds > 0.5


def test_passages_that_leave_no_room_are_left_out(retriever):
    def fits(example):
        return len(example.messages[-1].content) < 150

    found = Context(retriever, 3, fits).of([question("What does E47 mean?")])[0]
    assert [source.document for source in found.sources] == ["warranty"]
    assert len(found.ranking) == 5
    none = Context(retriever, 3, lambda example: False).of([question("What?")])[0]
    assert none.sources == ()
    assert none.example == question("What?")
