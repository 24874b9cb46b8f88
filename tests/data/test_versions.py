"""Versions of data compared: by hand, and by properties that hold for any two."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from burnish.data.versions import VersionRow, diff_versions, version_row
from burnish.records import Example, Message, Source


def row(content: str, asked: str, part: str = "train", line: int = 1) -> VersionRow:
    return VersionRow(content, asked, part, Source("rows.jsonl", line))


def test_each_kind_of_change():
    before = [row("a1", "a"), row("b1", "b"), row("c1", "c"), row("d1", "d", "test"), row("e1", "e")]
    after = [row("a1", "a"), row("b2", "b"), row("d1", "d"), row("e1", "e"), row("f1", "f")]
    found = diff_versions(before, after)
    assert found.same == 2
    assert [gone.id for gone in found.removed] == ["c1"]
    assert [come.id for come in found.added] == ["f1"]
    assert [(change.before.id, change.after.id) for change in found.changed] == [("b1", "b2")]
    assert found.moves() == {"test → train": 1}
    assert not found.equal


def test_copies_are_counted_and_the_part_is_kept_where_it_can_be():
    before = [row("a1", "a", "train"), row("a1", "a", "test")]
    after = [row("a1", "a", "test"), row("a1", "a", "train"), row("a1", "a", "train")]
    found = diff_versions(before, after)
    assert (found.same, len(found.added), len(found.moved)) == (2, 1, 0)


def test_rows_without_parts_do_not_move():
    found = diff_versions([row("a1", "a", "")], [row("a1", "a", "test")])
    assert (found.same, found.moved) == (1, ())


def test_a_changed_answer_in_another_part_is_one_change():
    found = diff_versions([row("a1", "a", "train")], [row("a2", "a", "test")])
    assert (len(found.changed), found.added, found.removed) == (1, (), ())


rows = st.lists(
    st.builds(
        lambda asked, answer, part: row(f"{asked}{answer}", asked, part),
        st.sampled_from("abcd"),
        st.sampled_from("123"),
        st.sampled_from(["train", "validation", "test"]),
    ),
    max_size=25,
)


@given(rows, rows)
def test_every_row_is_counted_once(before: list[VersionRow], after: list[VersionRow]):
    found = diff_versions(before, after)
    pairs = len(found.changed) + len(found.moved) + found.same
    assert pairs + len(found.removed) == len(before)
    assert pairs + len(found.added) == len(after)
    assert not {gone.input for gone in found.removed} & {come.input for come in found.added}
    both = Counter(each.id for each in before) & Counter(each.id for each in after)
    assert found.same + len(found.moved) == both.total()
    assert diff_versions(before, before).equal


@given(rows, rows)
def test_the_other_way_round_is_the_mirror_image(before: list[VersionRow], after: list[VersionRow]):
    there, back = diff_versions(before, after), diff_versions(after, before)
    assert (there.same, len(there.changed), len(there.moved)) == (back.same, len(back.changed), len(back.moved))
    assert Counter(each.id for each in there.added) == Counter(each.id for each in back.removed)


def test_an_example_is_named_by_content_and_input():
    one = Example("0" * 16, (Message("user", "hello"),), "greeting", Source("a.csv", 2))
    other = Example("1" * 16, (Message("user", "hello"),), "farewell", Source("b.csv", 9))
    assert version_row(one, "train").input == version_row(other, "test").input
    assert version_row(one, "train").target == "greeting"
    assert version_row(one, "train", keep_target=False).target is None
