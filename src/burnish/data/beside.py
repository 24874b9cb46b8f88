"""What a row holds beside its input and its answer: group, document, slices and weight."""

from __future__ import annotations

import math
from collections.abc import Mapping

from burnish.data.turns import BadFieldError, nearest
from burnish.errors import MISSING
from burnish.records import Json


def name_in(values: Mapping[str, Json], column: str | None, setting: str, what: str) -> str | None:
    """The row's group or document. column: that the setting names, None for none."""
    if column is None:
        return None
    if column not in values:
        fix = f"Correct {setting}, or fill the column.{nearest(column, list(values))}"
        raise BadFieldError(column, f"the row has no {what}", list(values), fix)
    value = values[column]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        fix = f"Give every row the name or number of its {what}."
        raise BadFieldError(column, f"a {what} must be a text or a whole number", value, fix)
    return str(value)


def slice_of(values: Mapping[str, Json], column: str) -> str:
    """What the row is counted under in the results by this column."""
    value = values.get(column, MISSING)
    if value is MISSING:
        fix = f"Correct slices, or fill the column.{nearest(column, list(values))}"
        raise BadFieldError(column, "the row has no such column to slice by", list(values), fix)
    if isinstance(value, list | dict):
        raise BadFieldError(column, "a slice must be a text, a number or nothing", value, "Name a plain column.")
    return "(none)" if value is None or value == "" else str(value)


def weight_of(values: Mapping[str, Json], column: str | None) -> float:
    """The row's weight, 1 where no column has one."""
    if column is None:
        return 1.0
    value = values.get(column, MISSING)
    try:
        weight = float("nan") if isinstance(value, bool) or value is MISSING else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise BadFieldError(column, "a weight must be a number of at least 0", value, "Write 1 for the usual weight.")
    return weight
