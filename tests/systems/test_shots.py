from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.fingerprint import example_id
from burnish.errors import DataError
from burnish.records import Example, Message, Source
from burnish.systems.shots import Fixed, Nearest, NearestByMeaning, Shots


def row(text, target="a", group=None, system=None):
    messages = (Message("system", system),) * (system is not None) + (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source("f", 1), group=group)


def label(example):
    return example.target


def nothing(example):
    return None


def texts(shots):
    return [shot.messages[-1].content for shot in shots]


TRAIN = [
    row("open a savings account"),
    row("close my savings account", "b"),
    row("my card was stolen", "c"),
    row("the card is lost", "c"),
    row("what is the weather", "d"),
]


def letters(texts):
    """Vectors of length 1 that depend on the letters alone: what an embedding model gives, without the model."""
    counts = np.array([[text.casefold().count(chr(code)) + 0.01 for code in range(97, 123)] for text in texts])
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture(params=["fixed", "nearest", "embedding"])
def shots_of(request):
    def make(train, k) -> Shots:
        if request.param == "embedding":
            return NearestByMeaning(train, k, letters)
        return Fixed(train, k, 0, label) if request.param == "fixed" else Nearest(train, k)

    return make


def test_nearest_puts_the_most_similar_last():
    chosen = Nearest(TRAIN, 2).select([row("I want to close the savings account"), row("a stolen card")])
    assert texts(chosen[0])[-1] == "close my savings account"
    assert texts(chosen[1])[-1] == "my card was stolen"
    assert {len(shots) for shots in chosen} == {2}


def test_nearest_is_bm25():
    """Scores by Lucene's formula, written out."""
    import math

    rng = random.Random(0)
    words = [f"w{number}" for number in range(30)]
    train = [row(" ".join(rng.choices(words, k=rng.randint(3, 12)))) for _ in range(60)]
    documents = [example.messages[0].content.split() for example in train]
    average = sum(map(len, documents)) / len(documents)

    def score(query, document):
        total = 0.0
        for word in query:
            n = sum(word in other for other in documents)
            if n:
                tf = document.count(word)
                idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
                total += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(document) / average))
        return total

    nearest = Nearest(train, 5)
    for _ in range(20):
        query = rng.choices(words, k=5)
        ours = [score(query, shot.messages[0].content.split()) for shot in nearest.select([row(" ".join(query))])[0]]
        best = sorted(score(query, document) for document in documents)[-5:]
        assert ours == pytest.approx(best, abs=1e-4)


def test_an_example_never_gets_itself_or_a_copy_of_its_input(shots_of):
    shots = shots_of([*TRAIN, row("open a savings account", "b"), row("Open a  SAVINGS account", "c")], 5)
    for query in ("open a savings account", " OPEN a savings account\n"):
        chosen = shots.select([row(query, "d")])[0]
        assert len(chosen) == 4
        assert all("open" not in text.casefold() for text in texts(chosen))


def test_copies_are_one_shot(shots_of):
    chosen = shots_of([TRAIN[0]] * 5 + [TRAIN[1]], 5).select([row("savings")])[0]
    assert sorted(texts(chosen)) == ["close my savings account", "open a savings account"]


def test_of_contradicting_copies_the_most_frequent_answer_is_shown(shots_of):
    train = [row("same", "b"), row("same", "a"), row("same", "b"), row("other", "c")]
    chosen = shots_of(train, 2).select([row("same old")])[0]
    assert {shot.messages[-1].content: shot.target for shot in chosen} == {"same": "b", "other": "c"}


def test_the_order_of_the_rows_and_of_the_queries_does_not_matter(shots_of):
    queries = [row("a savings card"), row("zzz"), row("the weather of my account")]
    expected = shots_of(TRAIN, 3).select(queries)
    for seed in range(5):
        train = TRAIN.copy()
        random.Random(seed).shuffle(train)
        assert shots_of(train, 3).select(queries) == expected
        assert shots_of(train, 3).select(queries[::-1]) == expected[::-1]


def test_queries_without_any_known_word_get_shots_all_the_same(shots_of):
    for text in ("zzz", "", "…"):
        assert len(shots_of(TRAIN, 3).select([row(text)])[0]) == 3


def test_a_train_part_without_any_word_works(shots_of):
    assert len(shots_of([row("…"), row("?"), row("!")], 2).select([row("hello")])[0]) == 2


def test_fewer_rows_than_shots_give_what_there_is(shots_of):
    assert len(shots_of(TRAIN[:2], 9).select([row("x")])[0]) == 2
    assert shots_of(TRAIN[:1], 9).select([TRAIN[0]]) == [[]]
    assert shots_of(TRAIN, 3).select([]) == []


def test_no_training_rows_or_no_shots_are_refused(shots_of):
    with pytest.raises(DataError, match="need training examples"):
        shots_of([], 3)
    with pytest.raises(DataError, match="at least 1"):
        shots_of(TRAIN, 0)


def test_the_system_turn_does_not_count_as_input():
    train = [row("cat", system="dog dog"), row("dog", system="cat cat")]
    assert texts(Nearest(train, 1).select([row("the cat")])[0]) == ["cat"]


def test_scripts_without_spaces_are_compared_by_character():
    train = [row("天気はどうですか"), row("口座を開きたい"), row("カードを盗まれた")]
    assert texts(Nearest(train, 1).select([row("今日の天気")])[0]) == ["天気はどうですか"]


def test_by_meaning_finds_what_shares_no_word():
    from burnish.models.embed import load_embedder

    query = row("somebody took my purse and my bank plastic")
    assert texts(NearestByMeaning(TRAIN, 2, load_embedder().embed).select([query])[0])[-1] == "my card was stolen"


def test_by_meaning_is_the_highest_cosine():
    rng = random.Random(1)
    train = [row("".join(rng.choices("abcdefgh ", k=12))) for _ in range(40)]
    vectors = letters([example.messages[0].content for example in train])
    chosen = NearestByMeaning(train, 4, letters).select([row("abc abc h")])[0]
    cosines = sorted(float(vector @ letters(["abc abc h"])[0]) for vector in vectors)
    ours = [float(letters([shot.messages[0].content])[0] @ letters(["abc abc h"])[0]) for shot in chosen]
    assert ours == pytest.approx(cosines[-4:], abs=1e-5)


def test_fixed_spreads_over_the_labels():
    train = [row(f"a{number}") for number in range(50)] + [row("b0", "b"), row("c0", "c"), row("c1", "c")]
    shots = Fixed(train, 5, 3, label).select([row("x"), row("y")])
    assert shots[0] == shots[1]
    assert sorted(shot.target for shot in shots[0])[-3:] == ["b", "c", "c"]
    assert {shot.target for shot in Fixed(train, 3, 3, label).select([row("x")])[0]} == {"a", "b", "c"}


def test_fixed_spreads_over_groups_where_there_are_no_strata():
    train = [row(f"text {number}", group=f"g{number % 4}") for number in range(40)]
    assert len({shot.group for shot in Fixed(train, 4, 0, nothing).select([row("x")])[0]}) == 4


def test_fixed_changes_with_the_seed_alone():
    train = [row(f"text {number}") for number in range(40)]
    chosen = {seed: texts(Fixed(train, 4, seed, nothing).select([row("x")])[0]) for seed in range(4)}
    assert len({tuple(shots) for shots in chosen.values()}) == 4
    assert texts(Fixed(train, 4, 2, nothing).select([row("x")])[0]) == chosen[2]


def test_fixed_replaces_only_the_copy():
    shots = Fixed(TRAIN, 3, 0, label)
    usual = shots.select([row("x")])[0]
    mended = shots.select([usual[1]])[0]
    assert len(mended) == 3
    assert mended[:2] == [usual[0], usual[2]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=12),
    st.lists(st.text(max_size=12), max_size=4),
    st.integers(1, 6),
)
def test_shots_are_distinct_training_rows_and_never_the_query(train_texts, query_texts, k):
    train = [row(text, str(number % 3)) for number, text in enumerate(train_texts)]
    queries = [row(text) for text in query_texts] + train[:1]

    def key(text):
        return " ".join(text.casefold().split())

    inputs = {key(text) for text in train_texts}
    for shots in (Nearest(train, k), NearestByMeaning(train, k, letters), Fixed(train, k, 1, label)):
        for query, chosen in zip(queries, shots.select(queries), strict=True):
            keys = [key(text) for text in texts(chosen)]
            own = key(query.messages[0].content)
            assert own not in keys
            assert len(set(keys)) == len(keys) == min(k, len(inputs - {own}))
            assert all(shot in train for shot in chosen)
