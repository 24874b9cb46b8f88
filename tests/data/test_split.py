"""A row's part depends on its content and the seed; groups, copies and equal inputs are never divided."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from burnish.data.fingerprint import example_id, input_key, sealed_hash
from burnish.data.split import ENOUGH_UNITS, split_examples, split_given
from burnish.errors import ConfigError, DataError
from burnish.records import Example, Message, Source, Split

PARTS = ("train", "validation", "test")
SHARES = st.sampled_from([(0.1, 0.15), (0.2, 0.2), (0.0, 0.3), (0.3, 0.0), (0.05, 0.5)])


def make(text: str, label: str = "a", group: str | None = None, line: int = 1) -> Example:
    messages = (Message("user", text),)
    return Example(example_id(messages, label), messages, label, Source("f", line), group=group)


def label_of(example: Example) -> str:
    return str(example.target)


def where(split: Split) -> dict[tuple[str, int], str]:
    """(text, line) -> part; every row of these tests has its own line."""
    return {(row.messages[0].content, row.source.line): name for name in PARTS for row in getattr(split, name)}


ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.none() | st.integers(0, 12)), min_size=12, max_size=80
).map(
    lambda rows: [
        make(f"t{t}", label, None if g is None else f"g{g}", line) for line, (t, label, g) in enumerate(rows)
    ]
)


def units(rows: list[Example]) -> int:
    """The number of connected components, found in another way than the code under test: by flooding."""
    by_key: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_key["i" + input_key(row)].append(index)
        if row.group is not None:
            by_key["g" + row.group].append(index)
    seen: set[int] = set()
    count = 0
    for start in range(len(rows)):
        if start in seen:
            continue
        count += 1
        edge = [start]
        while edge:
            index = edge.pop()
            if index in seen:
                continue
            seen.add(index)
            row = rows[index]
            edge += by_key["i" + input_key(row)] + (by_key["g" + row.group] if row.group is not None else [])
    return count


@given(rows=ROWS, shares=SHARES, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_every_row_once_and_nothing_divided(rows: list[Example], shares: tuple[float, float], seed: int) -> None:
    if units(rows) < ENOUGH_UNITS:
        return
    split = split_examples(rows, validation=shares[0], test=shares[1], seed=seed, stratum=label_of)
    parts = where(split)
    assert len(parts) == len(rows) == sum(len(getattr(split, name)) for name in PARTS)
    assert split.train
    assert bool(split.test) == (shares[1] > 0)
    for key in (input_key, lambda row: row.group):
        held: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            if (value := key(row)) is not None:
                held[value].add(parts[row.messages[0].content, row.source.line])
        assert all(len(of) == 1 for of in held.values())
    for name in PARTS:  # the given order is kept
        lines = [row.source.line for row in getattr(split, name)]
        assert lines == sorted(lines)


@given(
    rows=ROWS, shares=SHARES | st.sampled_from([(3, 4), (0.1, 5), (5, 0.2)]), order=st.randoms(use_true_random=False)
)
@settings(max_examples=100, deadline=None)
def test_order_does_not_matter(rows: list[Example], shares: tuple[float, float], order: random.Random) -> None:
    if units(rows) < ENOUGH_UNITS:
        return
    shuffled = rows[:]
    order.shuffle(shuffled)
    one = split_examples(rows, validation=shares[0], test=shares[1], seed=1, stratum=label_of)
    two = split_examples(shuffled, validation=shares[0], test=shares[1], seed=1, stratum=label_of)
    assert where(one) == where(two)
    assert one.sealed_hash == two.sealed_hash


def test_a_validation_of_so_many_rows_leaves_one_for_the_test() -> None:
    """Ten copies and two other inputs: five rows of validation would be both of these."""
    rows = [make("t0", "a", None, line) for line in range(10)] + [
        make("t1", "a", None, 10),
        make("t2", "a", None, 11),
    ]
    split = split_examples(rows, validation=5, test=0.2, seed=1, stratum=label_of)
    assert sorted(len(getattr(split, name)) for name in PARTS) == [1, 1, 10]
    assert len(split.train) == 10


@given(old=st.integers(30, 300), new=st.integers(1, 300), seed=st.integers(0, 50), joins=st.booleans())
@settings(max_examples=60, deadline=None)
def test_added_rows_move_nothing(old: int, new: int, seed: int, joins: bool) -> None:
    """Without labels, and with groups that new rows join to one another, an old test row stays in the test."""
    rows = [make(f"t{i}", group=f"g{i // 2}" if i % 3 else None, line=i) for i in range(old)]
    more = [make(f"t{i * 7 % old}" if joins else f"n{i}", group=f"g{i}", line=old + i) for i in range(new)]
    before = split_examples(rows, validation=0.2, test=0.3, seed=seed)
    if not joins:
        after = where(split_examples([*more, *rows], validation=0.2, test=0.3, seed=seed))
        assert {key: after[key] for key in where(before)} == where(before)
        return
    more = more[: old // 6]  # so few that enough units stay apart to train on
    after = where(split_examples(rows + more, validation=0.2, test=0.3, seed=seed))
    kept = [after[row.messages[0].content, row.source.line] for row in before.test]
    assert kept == ["test"] * len(kept)


def test_added_rows_move_nothing_of_labels_with_rows_in_the_test() -> None:
    rows = [make(f"t{i}", f"label {i % 9}", line=i) for i in range(900)]
    more = [make(f"n{i}", f"label {i % 15}", line=1000 + i) for i in range(900)]
    for seed in range(10):
        before = where(split_examples(rows, validation=0.1, test=0.15, seed=seed, stratum=label_of))
        after = where(split_examples(more + rows, validation=0.1, test=0.15, seed=seed, stratum=label_of))
        assert {key: after[key] for key in before} == before


@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=12), shares=SHARES, seed=st.integers(0, 99))
@example(sizes=[1, 1, 1], shares=(0.05, 0.5), seed=34)
@settings(max_examples=100, deadline=None)
def test_every_label_with_three_rows_is_in_train_and_test(
    sizes: list[int], shares: tuple[float, float], seed: int
) -> None:
    rows = [
        make(f"{label} {i}", str(label), line=100 * label + i)
        for label, size in enumerate(sizes)
        for i in range(size)
    ]
    if len(rows) < ENOUGH_UNITS:
        return
    split = split_examples(rows, validation=shares[0], test=shares[1], seed=seed, stratum=label_of)
    for label, size in enumerate(sizes):
        if size >= ENOUGH_UNITS:
            assert any(row.target == str(label) for row in split.train)
            assert not shares[1] or any(row.target == str(label) for row in split.test)
    if shares[0]:
        assert split.validation


def test_shares_are_near_for_the_whole_and_for_each_large_label() -> None:
    rows = [make(f"t{i}", "abcd"[i % 4], line=i) for i in range(8000)]
    split = split_examples(rows, validation=0.1, test=0.15, seed=3, stratum=label_of)
    # five standard deviations of the binomial
    assert abs(len(split.test) - 1200) < 5 * (8000 * 0.15 * 0.85) ** 0.5
    assert abs(len(split.validation) - 800) < 5 * (8000 * 0.1 * 0.9) ** 0.5
    for label, count in Counter(row.target for row in split.test).items():
        assert abs(count - 300) < 5 * (2000 * 0.15 * 0.85) ** 0.5, label


def test_draws_are_even_and_seeds_differ() -> None:
    rows = [make(f"t{i}", line=i) for i in range(400)]
    tests = [{row.id for row in split_examples(rows, validation=0, test=0.25, seed=seed).test} for seed in range(40)]
    assert len({frozenset(test) for test in tests}) == 40
    hits = Counter(row for test in tests for row in test)
    assert abs(sum(hits.values()) / (40 * 400) - 0.25) < 0.02
    assert max(hits.values()) < 25  # P(binomial(40, 1/4) >= 25) is 2e-7 a row
    shared = len(tests[0] & tests[1]) / 400
    assert abs(shared - 1 / 16) < 0.06


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    test=st.integers(1, 40),
    validation=st.integers(0, 30),
    seed=st.integers(0, 20),
)
@example(sizes=[3, 13], test=8, validation=4, seed=0)
@settings(max_examples=150, deadline=None)
def test_counts_are_exact_for_single_rows(sizes: list[int], test: int, validation: int, seed: int) -> None:
    rows = [
        make(f"{label} {i}", str(label), line=100 * label + i)
        for label, size in enumerate(sizes)
        for i in range(size)
    ]
    if test + validation >= len(rows):
        with pytest.raises(ConfigError):
            split_examples(rows, validation=validation, test=test, seed=seed, stratum=label_of)
        return
    split = split_examples(rows, validation=validation, test=test, seed=seed, stratum=label_of)
    assert (len(split.test), len(split.validation)) == (test, validation)
    held = Counter(row.target for row in split.test)
    for label, size in enumerate(sizes):
        fair = test * size / len(rows)
        assert held[str(label)] <= fair + 1 + len(sizes)
        if size >= ENOUGH_UNITS and test >= len(sizes):
            assert held[str(label)] >= 1
        if size >= ENOUGH_UNITS and test + validation <= len(rows) - 2 * len(sizes):
            assert any(row.target == str(label) for row in split.train)


@given(
    groups=st.lists(st.integers(1, 9), min_size=4, max_size=40), share=st.floats(0.1, 0.6), seed=st.integers(0, 20)
)
@settings(max_examples=100, deadline=None)
def test_counts_are_as_near_as_groups_allow(groups: list[int], share: float, seed: int) -> None:
    rows = [make(f"{g} {i}", group=str(g), line=100 * g + i) for g, size in enumerate(groups) for i in range(size)]
    count = max(1, int(share * len(rows)))
    split = split_examples(rows, validation=0, test=count, seed=seed)
    assert abs(len(split.test) - count) <= max(groups) / 2 or len(split.test) == min(groups)


def test_sizes_that_leave_nothing_are_refused() -> None:
    rows = [make(f"t{i}", line=i) for i in range(20)]
    for validation, test in ((0.5, 0.5), (0.1, 20), (10, 10), (-0.1, 0.2), (0.1, 2.5), (0.1, float("nan"))):
        with pytest.raises(ConfigError) as caught:
            split_examples(rows, validation=validation, test=test, seed=1)
        assert caught.value.where in ("split", "split.validation", "split.test")


def test_one_group_is_refused() -> None:
    rows = [make(f"t{i}", group="all", line=i) for i in range(20)]
    with pytest.raises(DataError):
        split_examples(rows, validation=0.1, test=0.2, seed=1)


def test_given_parts_are_kept_and_sealed() -> None:
    rows = [make(f"t{i}", line=i) for i in range(6)]
    split = split_given(rows[:2], rows[2:4], rows[4:])
    assert (split.train, split.validation, split.test) == (tuple(rows[:2]), tuple(rows[2:4]), tuple(rows[4:]))
    assert split.sealed_hash == sealed_hash(reversed(rows[4:])) != sealed_hash(rows[3:])
    assert split.sealed_hash != split_given(rows[:2], [], [*rows[4:], rows[5]]).sealed_hash
    assert split.sealed_hash != split_given([], [], [rows[4], make("t5", "b")]).sealed_hash


def test_the_assignment_is_fixed_for_ever() -> None:
    """Changing it would move rows that are sealed in people's runs into training."""
    rows = [make(f"t{i}", line=i) for i in range(40)]
    split = split_examples(rows, validation=0.1, test=0.15, seed=7)
    assert [row.source.line for row in split.test] == FIXED_TEST
    assert split.sealed_hash == FIXED_SEAL


FIXED_TEST = [11, 18, 34]
FIXED_SEAL = "62f505cd09abfe947f92818c1546147d47a467703433f3f82e52bbfcd5986405"
