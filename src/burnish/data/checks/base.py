"""What a check on text is given, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from burnish.calls import first_accepted
from burnish.records import Example, Finding, Json


class TextRow(NamedTuple):
    """One row as the checks see it.

    asked: the input's turns without system text; answers: every text in the answer (the label; the strings of an
    object or of arguments; the completion; chosen and rejected); whole: all of it with the system text.
    """

    example: Example
    asked: str
    answers: tuple[str, ...]
    whole: str


class Check(Protocol):
    """Sees every row once, keeps little, and tells at the end."""

    def add(self, row: TextRow) -> None: ...

    def findings(self) -> Iterator[Finding]: ...


def text_row(example: Example) -> TextRow:
    """The texts of an example, in the order in which a reader meets them.

    Of several values that an argument of a call accepts the checks see the one that is learned.
    """
    if isinstance(example.target, list):
        example = replace(example, target=first_accepted(example.target))
    asked: list[str] = []
    system: list[str] = []
    for message in example.messages:
        (system if message.role in ("system", "developer") else asked).append(message.content)
        for call in message.tool_calls:
            asked.extend(strings_in(call.arguments))
    answers = tuple(strings_in(example.target))
    return TextRow(example, "\n".join(asked), answers, "\n".join([*system, *asked, *answers]))


def strings_in(value: Json) -> Iterator[str]:
    """Every string among the values of a JSON value; keys are not among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings_in(item)


def rows_text(count: int) -> str:
    """`1 row`, `2,345 rows`."""
    return "1 row" if count == 1 else f"{count:,} rows"


def repeat(count: int, how: str = "") -> str:
    """`1 row repeats`, `2 rows nearly repeat`."""
    return " ".join(filter(None, [rows_text(count), how, "repeats" if count == 1 else "repeat"]))


def have(count: int) -> str:
    return f"{rows_text(count)} {'has' if count == 1 else 'have'}"
