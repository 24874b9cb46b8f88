"""Which rows an epoch holds: shares, coverage, determinism, stability."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.fingerprint import example_id
from burnish.data.mixture import Extra, epoch_counts, epoch_places, in_hash_order, mixture_leaks, needed, read_extra
from burnish.errors import DataError
from burnish.records import Example, Message, Source

sizes = st.integers(1, 500)
shares = st.lists(st.floats(0.001, 0.3), min_size=1, max_size=3)


def row(text, target="fine", *, system=None):
    messages = ((Message("system", system),) if system else ()) + (Message("user", text),)
    return Example(example_id(messages, target), messages, target, Source("x.jsonl", 1))


@given(st.integers(1, 5000), st.lists(st.tuples(sizes, st.floats(0.01, 5)), max_size=3), shares)
def test_shares_are_met_within_one_row(own, weighted, wanted):
    extras = [(size, weight, None) for size, weight in weighted] + [(7, None, share) for share in wanted]
    counts = epoch_counts(own, extras)
    total = own + sum(counts)
    for count, (size, weight, share) in zip(counts, extras, strict=True):
        if share is not None:
            assert abs(count - share * total) < 1 + 1e-6
        else:
            assert count == max(1, round(weight * size))


def test_counts_of_a_plain_case():
    assert epoch_counts(900, [(64, None, 0.1)]) == [100]
    assert epoch_counts(600, [(200, 0.5, None), (50, None, 0.2), (64, None, 0.1)]) == [100, 200, 100]
    assert epoch_counts(5, []) == []
    assert epoch_counts(3, [(64, None, 0.01)]) == [0]  # a hundredth of three rows


@pytest.mark.parametrize("bad", [(0, 1.0, None), (5, None, None), (5, 1.0, 0.1), (5, None, 1.0)])
def test_counts_refuse_what_has_no_meaning(bad):
    with pytest.raises(ValueError):
        epoch_counts(10, [bad])


@given(sizes, st.integers(0, 700), st.integers(1, 8))
def test_rows_are_seen_equally_often_over_any_number_of_epochs(size, count, epochs):
    seen = Counter(place for epoch in range(epochs) for place in epoch_places(size, count, epoch))
    times = [seen[place] for place in range(size)]
    assert sum(times) == count * epochs
    assert max(times) - min(times) <= 1
    assert set(seen) == set(range(needed(size, count, epochs)))


@given(st.sets(st.integers(0, 10_000), min_size=2, max_size=80), st.integers(0, 100), st.randoms())
def test_order_follows_from_content_and_seed_alone(numbers, seed, random):
    rows = [row(f"question {number}") for number in numbers]
    shuffled = random.sample(rows, len(rows))
    assert in_hash_order(rows, "a", seed) == in_hash_order(shuffled, "a", seed)


@given(st.integers(5, 60), st.integers(1, 5), st.integers(0, 3), st.integers(0, 50))
def test_an_added_row_hardly_moves_an_epoch(size, added, epoch, seed):
    rows = [row(f"question {number}") for number in range(size + added)]
    before, after = in_hash_order(rows[:size], "a", seed), in_hash_order(rows, "a", seed)
    count = size // 5
    if (epoch + 1) * count > size:
        return  # around the end the place of the beginning counts, too
    one = {before[place].id for place in epoch_places(len(before), count, epoch)}
    two = {after[place].id for place in epoch_places(len(after), count, epoch)}
    assert len(one - two) <= added


def test_seed_and_name_give_other_orders():
    rows = [row(f"question {number}") for number in range(30)]
    orders = {tuple(r.id for r in in_hash_order(rows, name, seed)) for name in "ab" for seed in (1, 2)}
    assert len(orders) == 4


def test_reading_keeps_turns_and_adds_an_instruction_only_where_none_is(tmp_path):
    path = tmp_path / "chat.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "and you?"},
                      {"role": "assistant", "content": "well"}]},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    extra = read_extra([path], name="chat", seed=1, weight=1.0, instruction="be kind")
    systems = {one.messages[-1].content: one.messages[0].content for one in extra.rows}
    assert systems == {"hi": "be kind", "and you?": "be brief"}
    assert {one.target for one in extra.rows} == {"hello", "well"}
    path.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    with pytest.raises(DataError):
        read_extra([path], name="chat", seed=1, weight=1.0)
    unlabelled = read_extra([path], name="chat", seed=1, share=0.1, base_answers=True)
    assert [one.target for one in unlabelled.rows] == [None]


def test_the_fingerprint_does_not_depend_on_order_but_on_content():
    rows = (row("a"), row("b"))
    assert Extra("x", rows, 1.0).fingerprint == Extra("x", rows[::-1], 1.0).fingerprint
    assert Extra("x", rows, 1.0).fingerprint != Extra("x", rows[:1], 1.0).fingerprint


def test_leaks_see_through_system_text_case_and_spaces():
    test = [row("Where is my parcel?", "delivery")]
    extras = [
        Extra("faq", (row("where is  my PARCEL?", "Look in the app.", system="Help."), row("other")), 1.0),
        Extra("chats", (row("something else"),), None, 0.1),
    ]
    [finding] = mixture_leaks(extras, test, [row("never asked")])
    assert (finding.kind, finding.severity, finding.count) == ("mixture_leak", "error", 1)
    assert "faq" in finding.message
    assert "chats" not in finding.message
    [warning] = mixture_leaks(extras, [], test)
    assert warning.severity == "warning"
    assert list(mixture_leaks(extras, [row("a")], [row("b")])) == []
