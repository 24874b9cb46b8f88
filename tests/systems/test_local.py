"""Systems with a local model: what they send, and that all are held to the same form."""

from __future__ import annotations

import pytest

from burnish.models.generate import Engine
from burnish.progress import Silent
from burnish.records import Example, Message, Source
from burnish.systems.local import LocalSystem
from burnish.tasks.classification import Classification, classification_metrics
from tiny import tiny_config, tiny_loaded

LABELS = ("red", "green", "blue")
TASK = Classification("colours", "Which colour?", LABELS, classification_metrics(LABELS))


def example(number: int, label: str = "red") -> Example:
    return Example(f"{number:016x}", (Message("user", f"the thing {number}"),), label, Source("f.csv", number))


class Always:
    """The same shots for all."""

    def __init__(self, shots):
        self.shots = shots

    def select(self, examples):
        return [list(self.shots) for _ in examples]


def system(engine, **options):
    return LocalSystem("prompt", TASK, engine, **{"full": True, "max_new_tokens": 8} | options)


@pytest.fixture(scope="module")
def engine():
    return Engine(*tiny_loaded())


def test_answers_are_labels_in_order_of_the_examples(engine):
    examples = [example(i) for i in range(7)]
    predictions = system(engine).predict(examples, Silent())
    assert [p.example_id for p in predictions] == [e.id for e in examples]
    assert all(p.parsed.value in LABELS and p.parsed.error is None for p in predictions)
    assert all(0 < p.confidence <= 1 and p.prompt_tokens > 0 and p.score == {} for p in predictions)


def test_without_the_constraint_a_random_model_gives_no_label(engine):
    predictions = system(engine, constrain=False).predict([example(i) for i in range(5)], Silent())
    assert all(p.parsed.value is None and p.parsed.error for p in predictions)


def test_the_target_is_not_looked_at(engine):
    first = system(engine).predict([example(1, "red"), example(2, "red")], Silent())
    second = system(engine).predict([example(1, "blue"), example(2, "blue")], Silent())
    assert [p.text for p in first] == [p.text for p in second]


def test_full_prompt_is_longer_and_shots_make_it_longer_still(engine):
    short, full, shots = (
        system(engine, **options).predict([example(1), example(2)], Silent())[0].prompt_tokens
        for options in ({"full": False}, {"full": True}, {"full": True, "shots": Always([example(8), example(9)])})
    )
    assert short < full < shots


def test_shots_are_dropped_where_the_context_is_too_short():
    few = Engine(*tiny_loaded(config=tiny_config(max_position_embeddings=150)))
    many = Always([example(i) for i in range(10, 40)])
    predictions = system(few, shots=many).predict([example(1), example(2)], Silent())
    assert all(p.prompt_tokens <= 150 - 8 and p.parsed.value in LABELS for p in predictions)


def test_prompt_that_fills_the_context_is_a_wrong_answer_with_its_reason():
    small = Engine(*tiny_loaded(config=tiny_config(max_position_embeddings=40)))
    [prediction] = system(small).predict([example(1)], Silent())
    assert prediction.parsed.value is None
    assert "fills the model's context" in prediction.parsed.error
