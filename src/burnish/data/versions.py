"""Two versions of a data set compared: rows added, removed, given another answer, moved to another part."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from burnish.data.fingerprint import input_digest
from burnish.records import Example, Json, Source


class VersionRow(NamedTuple):
    """One row. input: 16 hex digits that name what is asked; part: "" where rows have none; target: None where it was
    not kept (a run keeps places, not content)."""

    id: str
    input: str
    part: str
    source: Source
    target: Json = None


class Version(NamedTuple):
    """A data set at one time. fingerprint: SHA-256 of its rows, whatever their order."""

    name: str
    rows: Sequence[VersionRow]
    fingerprint: str


class Change(NamedTuple):
    """One row before and after."""

    before: VersionRow
    after: VersionRow


class VersionDiff(NamedTuple):
    """What happened between two versions.

    same: rows in both, in the same part. changed: the same input with another answer. moved: the same row in another
    part. Copies are counted: one more copy of a row is a row added.
    """

    same: int
    added: tuple[VersionRow, ...]
    removed: tuple[VersionRow, ...]
    changed: tuple[Change, ...]
    moved: tuple[Change, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing happened."""
        return not (self.added or self.removed or self.changed or self.moved)

    def moves(self) -> dict[str, int]:
        """ "train → test" to the number of rows that went this way, the most first."""
        ways = Counter(f"{change.before.part} → {change.after.part}" for change in self.moved)
        return dict(sorted(ways.items(), key=lambda item: (-item[1], item[0])))


def version_row(example: Example, part: str, *, keep_target: bool = True) -> VersionRow:
    """An example as a row of a version."""
    asked = input_digest(example.messages, example.tools).hex()[:16]
    return VersionRow(example.id, asked, part, example.source, example.target if keep_target else None)


def diff_versions(before: Iterable[VersionRow], after: Iterable[VersionRow]) -> VersionDiff:
    """Match rows by content, then what is left by input. Every row of both sides is counted exactly once.

    Of the copies of a row those in the same part are matched first, so that few rows move. Rows without a part move
    nowhere.
    """
    left, right = list(before), list(after)
    same, gone, come = _match(left, right, lambda row: (row.id, row.part))
    moved, gone, come = _match(gone, come, lambda row: (row.id, ""))
    changed, gone, come = _match(gone, come, lambda row: (row.input, row.part))
    elsewhere, gone, come = _match(gone, come, lambda row: (row.input, ""))
    kept = [change for change in moved if not change.before.part or not change.after.part]
    moved = [change for change in moved if change.before.part and change.after.part]
    return VersionDiff(len(same) + len(kept), tuple(come), tuple(gone), (*changed, *elsewhere), tuple(moved))


def _match(
    left: Sequence[VersionRow], right: Sequence[VersionRow], key: Callable[[VersionRow], tuple[str, str]]
) -> tuple[list[Change], list[VersionRow], list[VersionRow]]:
    """Pairs of rows with one key, in their order, and what is left on both sides."""
    waiting: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    for place, row in enumerate(right):
        waiting[key(row)].append(place)
    pairs: list[Change] = []
    gone: list[VersionRow] = []
    taken: set[int] = set()
    for row in left:
        places = waiting.get(key(row))
        if places:
            place = places.popleft()
            taken.add(place)
            pairs.append(Change(row, right[place]))
        else:
            gone.append(row)
    return pairs, gone, [row for place, row in enumerate(right) if place not in taken]
