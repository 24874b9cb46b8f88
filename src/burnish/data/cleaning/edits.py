"""What is done to the values of one row: sensitive text redacted, damage and markup repaired."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from burnish.data.checks.base import strings_in
from burnish.data.checks.encoding import repaired
from burnish.data.checks.markup import without_markup
from burnish.data.checks.masking import masked
from burnish.records import Json

Edit = Callable[[str], str]

DROPPED = (
    "exact_duplicate", "near_duplicate", "equal_pair", "schema_violation", "invalid_tool_call", "empty_field",
    "refusal", "truncated", "contamination",
)  # fmt: skip
COPIES = ("exact_duplicate", "near_duplicate")
REDACTED = ("personal_data", "secret")
SPELLING = "label_spelling"
FORMAT = "inconsistent_format"  # space at an end; the other styles need a decision
REPAIRS: Mapping[str, Edit] = {
    "encoding_damage": repaired,
    "html": without_markup,
}


def edit_of(kinds: Collection[str], mask: Edit = masked) -> Edit:
    """One function for what is to be done to each text of a row with these findings."""
    steps: list[Edit] = [step for kind, step in REPAIRS.items() if kind in kinds]
    if any(kind in kinds for kind in REDACTED):
        steps.append(mask)

    def edit(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return edit


def edited(value: Json, edit: Edit) -> Json:
    """A JSON value with every string in it edited; keys stay."""
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, dict):
        return {key: edited(item, edit) for key, item in value.items()}
    if isinstance(value, list):
        return [edited(item, edit) for item in value]
    return value


def respelled(value: Json, instead: Mapping[str, str]) -> Json:
    """A row's values with its label in its usual spelling; as they are where the spelling stands in several places.

    Which of those is the label, and which belongs to the input, cannot be told then.
    """
    if sum(text.strip() in instead for text in strings_in(value)) != 1:
        return value
    return edited(value, lambda text: instead.get(text.strip(), text))
