"""Helpers of error messages."""

from __future__ import annotations

import pytest

from burnish.errors import first_line


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one\n two"), "one"),
        (ValueError(), ""),
        (ValueError(" \n"), ""),
        ("one\rtwo", "one"),
    ],
)
def test_the_first_line_with_words(value: object, line: str) -> None:
    assert first_line(value) == line
