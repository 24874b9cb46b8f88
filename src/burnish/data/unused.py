"""Columns of a file that nothing is read from: told, so that no part of an input is left out unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from burnish.data.answers import ID
from burnish.data.gemini import SYSTEM
from burnish.data.leaderboard import FUNCTION
from burnish.data.preferences import LABELS, REJECTED
from burnish.data.shapes import Columns, Shape
from burnish.records import Json

_BESIDE = {ID, "system", "system_prompt", "tools", "functions", "parallel_tool_calls"}
_ALSO: Mapping[str, set[str]] = {
    "alpaca": {"input", "context", "history"},
    "self_instruct": {"history"},
    "bfcl": {FUNCTION},
    "gemini": {*SYSTEM},
    "pairs": {REJECTED, "input", "history"},
    "preferred_output": {"non_preferred_output"},
    "unpaired": {*LABELS, "input", "history"},
}


def unused_columns(rows: Sequence[Mapping[str, Json]], shape: Shape, columns: Columns) -> tuple[str, ...]:
    """Columns of some rows, in their order, that hold something and that nothing is read from."""
    named = {columns.tools, columns.group, columns.weight, columns.document, *columns.slices}
    used = {shape.text, shape.target, *named, *_BESIDE, *_ALSO.get(shape.name, ())}
    held = dict.fromkeys(column for row in rows for column, value in row.items() if value not in (None, "", [], {}))
    return tuple(column for column in held if column not in used)
