"""Hashes follow content alone, and every part of the content."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from burnish.data.fingerprint import (
    example_id,
    examples_fingerprint,
    file_fingerprint,
    files_fingerprint,
    input_key,
)
from burnish.errors import DataError
from burnish.records import Example, Message, Source, ToolCall

USER = Message("user", "hello")


def make(
    *messages: Message, target: object = "a", tools: tuple[dict[str, object], ...] = (), line: int = 1
) -> Example:
    return Example(example_id(messages, target, tools), messages, target, Source("f", line), tools)


def test_every_part_of_the_content_counts() -> None:
    rows = [
        make(USER),
        make(USER, target="b"),
        make(USER, target={"a": 1}),
        make(USER, target={"a": "1"}),
        make(Message("system", "hello"), USER),
        make(Message("system", "hello")),
        make(Message("user", "hello", name="x")),
        make(USER, tools=({"type": "function"},)),
        make(USER, Message("assistant", "", (ToolCall("f", {"a": 1}),)), Message("tool", "x")),
        make(USER, Message("assistant", "", (ToolCall("f", {"a": 2}),)), Message("tool", "x")),
        make(USER, Message("assistant", "", (ToolCall("f", {"a": 2}),)), Message("tool", "x", tool_call_id="1")),
    ]
    assert len({row.id for row in rows}) == len(rows)
    assert all(len(row.id) == 16 and int(row.id, 16) >= 0 for row in rows)
    assert input_key(rows[0]) == input_key(rows[1]) != input_key(rows[4])


def test_places_key_order_and_weights_do_not_count() -> None:
    assert make(USER, line=1).id == make(USER, line=9).id
    assert make(USER, target={"a": 1, "b": 2}).id == make(USER, target={"b": 2, "a": 1}).id
    assert make(USER, target="a").id == example_id([USER], "a")


def test_ids_are_fixed_for_ever() -> None:
    assert make(USER).id == FIXED


def test_a_collection_is_the_same_in_any_order_but_not_with_a_copy_more() -> None:
    rows = [make(Message("user", str(i))) for i in range(20)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert examples_fingerprint(rows) == examples_fingerprint(shuffled)
    assert examples_fingerprint(rows) != examples_fingerprint([*rows, rows[0]])
    assert examples_fingerprint(rows) != examples_fingerprint(rows[1:])


def test_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a")
    two.write_bytes(b"b")
    assert file_fingerprint(one) == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert files_fingerprint([one, two]) == files_fingerprint([two, one]) != files_fingerprint([one])
    with pytest.raises(DataError):
        file_fingerprint(tmp_path / "none")


FIXED = "32fee714b0f29176"
