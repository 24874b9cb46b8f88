"""Instructions with several instances in one row, as self-instruct writes them: one example each.

{"instruction", "instances": [{"input", "output"}, …]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from burnish.data.strict_json import kind_of
from burnish.data.turns import BadFieldError, decoded, nearest
from burnish.records import Json

INSTRUCTION, INSTANCES, OUTPUT = "instruction", "instances", "output"
_KEYS = ("input", OUTPUT)
_FORM = 'Write [{"input": …, "output": …}].'


class Instance(NamedTuple):
    """A row with one of its instances, in Alpaca's columns. place: where the instance stands."""

    values: dict[str, Json]
    place: str

    def field(self, name: str) -> str:
        """Where a field of this row stands in the file."""
        inside = name.split(".", 1)[0].split("[", 1)[0] in _KEYS
        return f"{self.place}.{name}" if inside else name


def instances(values: Mapping[str, Json]) -> Iterator[Instance | BadFieldError]:
    """Each instance of a row, or what is wrong with it (with the whole list: once)."""
    try:
        found = decoded(values[INSTANCES], INSTANCES, "the list of instances")
    except BadFieldError as error:
        yield error
        return
    if not isinstance(found, list) or not found:
        what = f"instances must be a list, this is {kind_of(found)}" if found != [] else "the row has no instances"
        yield BadFieldError(INSTANCES, what, found, _FORM)
        return
    others = {key: value for key, value in values.items() if key not in (INSTANCES, *_KEYS)}
    for index, item in enumerate(found):
        place = f"{INSTANCES}[{index}]"
        if not isinstance(item, dict):
            yield BadFieldError(place, f"an instance must be an object, this is {kind_of(item)}", item, _FORM)
            continue
        unknown = next((key for key in item if key not in _KEYS), None)
        if unknown is not None:
            fix = f"Remove it, so that nothing is dropped in silence.{nearest(unknown, _KEYS)}"
            yield BadFieldError(f"{place}.{unknown}", "an instance has no such key", item[unknown], fix)
            continue
        yield Instance(others | item, place)
