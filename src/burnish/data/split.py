"""Train, validation and test: by hash, so that a row's part depends on its content and the seed alone.

A *unit* is what may not be divided: the rows of one group, and rows that show the same input. Where groups and equal
inputs overlap, they are joined (union-find). A unit's draws are numbers in [0, 1) from SHA-256 of seed and key; the
key is the group, or the input's hash for rows without one. A joined unit takes its smallest draw, so a unit of the
test stays in the test when it is joined with one of the training part.

Shares. A unit belongs to the test when its draw lies below the share, else to validation when a second draw lies
below validation / (1 - test), else to train. Nothing else counts, so other rows, their order and their number
cannot move it. The parts' sizes are binomial: 15% of 1,000 units is 150 ± 11.
One correction follows. Every label with three units or more, and the data as a whole, gets at least one unit in test
and one in train (the whole also one in validation): if none fell there, the unit nearest to the border moves. This
alone depends on other rows: a unit lifted into the test so goes back when a later row of its label falls there by
itself. It concerns labels with so few rows that none fell in the test, at 15% hardly any with more than 30.

Counts. Each label gets its proportion of the count (largest remainders, at least one where it has three units) and
fills it with its smallest draws; then the smallest draws of any label fill up what groups left open. Counts are
exact where units are single rows. A new row with a small draw may push the largest one out: counts cannot be both
exact and stable.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from burnish.data.fingerprint import input_key, sealed_hash
from burnish.errors import ConfigError, DataError
from burnish.records import Example, Split

Part = Literal["train", "validation", "test"]

ENOUGH_UNITS = 3  # a label with fewer cannot be in train and test and leave a choice


@dataclass(slots=True)
class _Unit:
    """Rows that stay together. test_draw, validation_draw in [0, 1); labels: rows by stratum."""

    rows: list[int]
    test_draw: float
    validation_draw: float
    labels: Counter[str] = field(default_factory=Counter)
    part: Part = "train"

    @property
    def label(self) -> str:
        """The label of most rows (the first in the alphabet on a tie)."""
        return min(self.labels, key=lambda label: (-self.labels[label], label)) if self.labels else ""

    def draw(self, part: Part) -> float:
        return self.test_draw if part == "test" else self.validation_draw


def split_examples(
    examples: Iterable[Example],
    *,
    validation: float,
    test: float,
    seed: int,
    stratum: Callable[[Example], str | None] | None = None,
) -> Split:
    """Divide the examples; every one is in exactly one part, parts keep the given order.

    validation, test: below 1 a share of the rows, 1 or more a number of rows, 0 none.
    stratum: the label to stratify by (None: none). Raises ConfigError for numbers that leave nothing to train on,
    DataError when groups do.
    """
    rows = list(examples)
    _check_sizes(validation, test, len(rows))
    units = _units(rows, seed, stratum)
    many = {label for label, count in Counter(unit.label for unit in units).items() if count >= ENOUGH_UNITS}
    if test >= 1:
        _take_count(units, round(test), "test", many)
    elif test:
        for unit in units:
            if unit.test_draw < test:
                unit.part = "test"
    if validation >= 1:
        _take_count([unit for unit in units if unit.part == "train"], round(validation), "validation", many)
    elif validation:
        _take_validation(units, validation, test, len(rows))
    _repair(units, validation=validation, test=test)
    split = _collect(rows, units)
    if test and rows and not split.test:
        what = "no rows fell in the test: it takes three groups, or three different inputs, or more"
        raise DataError(
            what, got=f"{len(units)} of them", fix="Add rows, use a finer group column, or give test files."
        )
    return split


def split_given(train: Iterable[Example], validation: Iterable[Example], test: Iterable[Example]) -> Split:
    """A split that the user made: nothing moves; the data check reports inputs that occur in two parts."""
    sealed = tuple(test)
    return Split(tuple(train), tuple(validation), sealed, sealed_hash(sealed))


def _check_sizes(validation: float, test: float, total: int) -> None:
    for name, size in (("validation", validation), ("test", test)):
        if not 0 <= size < float("inf") or (size >= 1 and size != round(size)):
            fix = "Write a share such as 0.15, or a number of rows such as 200."
            raise ConfigError("not a share and not a number of rows", got=size, where=f"split.{name}", fix=fix)
    wanted = sum(size if size >= 1 else size * total for size in (validation, test))
    shares = sum(size for size in (validation, test) if size < 1)
    if shares >= 1 or (total and wanted >= total):
        what = "validation and test leave no rows to train on"
        got = f"validation {validation:g}, test {test:g}, {total:,} rows"
        raise ConfigError(what, got=got, where="split", fix="Make them smaller, or add rows.")


def _draw(seed: int, purpose: str, key: str) -> float:
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56  # 56 bits: exact in a double, so never 1.0


def _units(rows: Sequence[Example], seed: int, stratum: Callable[[Example], str | None] | None) -> list[_Unit]:
    """The units in order of their smallest row."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    own_keys: list[str] = []
    for index, row in enumerate(rows):
        same_input = "input:" + input_key(row)
        keys = [same_input] if row.group is None else ["group:" + row.group, same_input]
        own_keys.append(keys[0])
        for key in keys:
            one, other = root(index), root(first.setdefault(key, index))
            parent[max(one, other)] = min(one, other)
    units: dict[int, _Unit] = {}
    seen: set[tuple[int, str]] = set()
    for index, row in enumerate(rows):
        top = root(index)
        unit = units.setdefault(top, _Unit([], 1.0, 1.0))
        unit.rows.append(index)
        key = own_keys[index]
        if (top, key) not in seen:
            seen.add((top, key))
            unit.test_draw = min(unit.test_draw, _draw(seed, "test", key))
            unit.validation_draw = min(unit.validation_draw, _draw(seed, "validation", key))
        if stratum is not None and (label := stratum(row)) is not None:
            unit.labels[label] += 1
    return list(units.values())


def _take_validation(units: Sequence[_Unit], validation: float, test: float, total: int) -> None:
    """The share of validation is of all rows, so of what test left it is a larger one."""
    left = 1 - (test if test < 1 else test / max(total, 1))
    for unit in units:
        if unit.part == "train" and unit.validation_draw < validation / left:
            unit.part = "validation"


def _take_count(units: Sequence[_Unit], count: int, part: Part, many: Collection[str]) -> None:
    """Move `count` rows, or as near as units allow, into `part`: smallest draws first, by label.

    many: labels with units enough for all parts, whose last one is taken only where the count asks for it.
    """
    order = sorted(units, key=lambda unit: unit.draw(part))
    by_label: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit in order:
        by_label[unit.label].append(unit)
    quota = _quotas({label: sum(len(unit.rows) for unit in of) for label, of in by_label.items()}, count)
    taken = 0
    for label, of in sorted(by_label.items()):
        if len(of) >= ENOUGH_UNITS and count >= len(by_label):
            quota[label] = max(quota[label], 1)
        room = quota[label]
        for unit in of[:-1] if len(of) > 1 or label in many else of:  # the last stays to train on
            if len(unit.rows) <= room:
                unit.part = part
                room -= len(unit.rows)
                taken += len(unit.rows)
    having = {label: sum(unit.part == part for unit in of) for label, of in by_label.items()}
    for unit in reversed(order):  # labels raised to one row may have taken more than the count
        if unit.part == part and having[unit.label] > 1 and taken - len(unit.rows) >= count:
            unit.part = "train"
            having[unit.label] -= 1
            taken -= len(unit.rows)
    for spare_last in (True, False):
        for unit in order:
            last = having[unit.label] >= len(by_label[unit.label]) - 1
            if unit.part == "train" and len(unit.rows) <= count - taken and not (spare_last and last):
                unit.part = part
                having[unit.label] += 1
                taken += len(unit.rows)
    rest = [unit for unit in order if unit.part == "train"]
    if taken < count and len(rest) > 1:  # a unit too large by less than what is missing comes nearer
        nearest = min(rest, key=lambda unit: (len(unit.rows), unit.draw(part)))
        if taken + len(nearest.rows) - count < count - taken or not taken:
            nearest.part = part


def _quotas(sizes: dict[str, int], count: int) -> dict[str, int]:
    """`count` divided in proportion to the sizes, by largest remainders."""
    total = sum(sizes.values())
    exact = {label: count * size / total for label, size in sizes.items()} if total else {}
    quota = {label: int(share) for label, share in exact.items()}
    left = min(count, total) - sum(quota.values())
    for label in sorted(exact, key=lambda label: (quota[label] - exact[label], label))[: max(left, 0)]:
        quota[label] += 1
    return quota


class _Presence:
    """How many units of each label (under None: of the whole) each part has. Only labels with enough units count."""

    def __init__(self, units: Sequence[_Unit]) -> None:
        members: defaultdict[str | None, list[_Unit]] = defaultdict(list)
        for unit in units:
            for label in (*unit.labels, None):
                members[label].append(unit)
        self.members = {label: of for label, of in members.items() if len(of) >= ENOUGH_UNITS}
        self.counts = {label: Counter(unit.part for unit in of) for label, of in self.members.items()}

    def ensure(self, label: str | None, part: Part, givers: Sequence[Part]) -> None:
        """If no unit of the label is in `part`, move the one nearest to the border there, taking nobody's last one.

        givers: parts to take from, the preferred one first.
        """
        if label not in self.members or self.counts[label][part]:
            return
        for giver in givers:
            sign = -1 if part == "train" else 1  # out of a part goes its largest draw, into it the smallest one
            border = giver if part == "train" else part
            candidates = [unit for unit in self.members[label] if unit.part == giver]
            for unit in sorted(candidates, key=lambda unit: sign * unit.draw(border)):
                if not self._is_last(unit):
                    for own in (*unit.labels, None):
                        if own in self.counts:
                            self.counts[own][unit.part] -= 1
                            self.counts[own][part] += 1
                    unit.part = part
                    return

    def _is_last(self, unit: _Unit) -> bool:
        """Whether the unit is all that a label has in train or in test (validation is nobody's right)."""
        if unit.part == "validation":
            return False
        return any(own in self.counts and self.counts[own][unit.part] == 1 for own in (*unit.labels, None))


def _repair(units: Sequence[_Unit], *, validation: float, test: float) -> None:
    """Give every label with enough units one in test and one in train, and the whole one in each part asked for.

    Parts given as counts stay as they are, but for a validation without which there would be no test.
    """
    presence = _Presence(units)
    open_parts: list[Part] = []
    if validation < 1:
        open_parts.append("validation")
    if test < 1:
        open_parts.append("test")
    labels = sorted(
        (label for label in presence.members if label is not None),
        key=lambda label: (len(presence.members[label]), label),
    )
    for label in (*labels, None):
        if 0 < test < 1:
            gives = label is None or "validation" in open_parts
            presence.ensure(label, "test", ["train", "validation"] if gives else ["train"])
        presence.ensure(label, "train", open_parts)
        if label is None and 0 < validation < 1:
            presence.ensure(label, "validation", ["train", *(part for part in open_parts if part == "test")])


def _collect(rows: Sequence[Example], units: Sequence[_Unit]) -> Split:
    part_of: dict[int, Part] = {index: unit.part for unit in units for index in unit.rows}
    parts: dict[Part, list[Example]] = {"train": [], "validation": [], "test": []}
    for index, row in enumerate(rows):
        parts[part_of[index]].append(row)
    if rows and not parts["train"]:
        what = "no rows are left to train on: they all belong to one group, or ask the same"
        raise DataError(what, got=f"{len(units)} groups of rows", fix="Use a finer group column, or add rows.")
    return split_given(parts["train"], parts["validation"], parts["test"])
