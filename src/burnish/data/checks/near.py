"""Rows that nearly repeat another one, also across parts: MinHash finds candidates, their texts decide.

128 bytes a row are kept in memory; the texts go to a temporary file, which the system deletes with the process.
"""

from __future__ import annotations

import tempfile
import weakref
import zlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from burnish.data.checks.base import TextRow, repeat, rows_text
from burnish.data.checks.minhash import BANDS as _BANDS
from burnish.data.checks.minhash import (
    MOST,
    NEAR_APART,
    Signatures,
    band_keys,
    boilerplate,
    estimates,
    is_near,
    normalised,
    pairs_across,
    pairs_within,
    shingles,
    signatures,
    without,
)
from burnish.data.duplicates import Rows
from burnish.data.fingerprint import canonical
from burnish.data.places import KEPT
from burnish.records import Finding, Kind, Source

_AT_ONCE = 512  # rows whose signatures are made together
_IN_MEMORY = 64 * 2**20  # bytes of text before they go to disk
_SLOTS = 2**20  # counters of words
_TELLING, _TELLING_SHARE = 3, 1e-4  # rows, and their share, that use a word which tells two rows apart
_APART = "\x1f"  # between the answers of a pair; it separates words, too
_UNLIKELY = NEAR_APART - 0.1  # by the estimate: two standard errors below, such pairs are not looked at


class NearRows:
    """Signatures and texts of rows, in their order.

    Two rows are near when the Jaccard similarity of their inputs is at least 0.8 (0.7 for longer ones) and their
    answers are equal, or, for free text, near too (of pairs each of the two): rows of a template with different
    answers are not copies. Nor are those whose answers repeat what the inputs differ in ("left" here, "right" there),
    where other rows use that word, too: then it is what is to be learned. A mistyped word or a number of its own
    tells nothing.
    """

    def __init__(self, kind: Kind) -> None:
        self.free = kind in ("generation", "preference")
        self.chunks: list[Signatures] = []
        self.waiting: list[str] = []
        self.used: NDArray[np.uint32] = np.zeros(_SLOTS if self.free else 0, dtype=np.uint32)  # rows by word
        self.common: frozenset[str] = frozenset()  # what frames every input, told by the first rows
        self.keys = array("q")  # hash of what must be equal
        self.places = array("Q", [0])  # where the input and the answer of each row end
        self.texts = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self.texts.close)

    def add(self, row: TextRow) -> None:
        asked = normalised(row.asked)
        self.waiting.append(asked)
        if len(self.waiting) >= _AT_ONCE:
            self._flush()
        answer = _APART.join(map(normalised, row.answers)) if self.free else ""
        target = row.example.target
        judged = target.get("desirable") if isinstance(target, Mapping) else None
        system = [message.content for message in row.example.messages if message.role in ("system", "developer")]
        fixed = [system, list(row.example.tools), judged if self.free else target]
        self.keys.append(hash(canonical(fixed)))
        for text in (asked, answer):
            raw = text.encode("utf-8", "surrogatepass")
            self.texts.write(raw)
            self.places.append(self.places[-1] + len(raw))

    def _flush(self) -> None:
        if not self.waiting:
            return
        if not self.chunks:
            self.common = boilerplate(self.waiting)
            self.common_hashes, _ = shingles(sorted(self.common))
        hashes, starts = shingles(self.waiting)
        if self.common:
            hashes, starts = without(hashes, starts, self.common_hashes)
        self.chunks.append(signatures(hashes, starts))
        if self.free:
            slots = [_slot(word) for text in self.waiting for word in set(text.split())]
            np.add.at(self.used, slots, 1)
        self.waiting = []

    def _signatures(self) -> Signatures:
        self._flush()
        if len(self.chunks) > 1:
            self.chunks = [np.concatenate(self.chunks)]
        return self.chunks[0] if self.chunks else np.empty((0, 1), dtype=np.uint8)

    def _text(self, place: int) -> str:
        start, end = self.places[place], self.places[place + 1]
        self.texts.seek(start)
        return self.texts.read(end - start).decode("utf-8", "surrogatepass")

    def similar(self, left: int, right: int) -> bool | None:
        """Whether two rows with equal keys are near; None for two of a template, told apart by their answers."""
        asked, answers = ((self._text(2 * left + part), self._text(2 * right + part)) for part in (0, 1))
        if self.free and self._told_apart(asked, answers):
            return None
        if self.free and not all(map(_alike, *(text.split(_APART) for text in answers))):
            return False
        return is_near(*asked, self.common)

    def _told_apart(self, asked: tuple[str, str], answers: tuple[str, str]) -> bool:
        """Whether each input that has words of its own has one that its answer alone repeats, and other rows use."""
        if answers[0] == answers[1]:
            return False
        (one, other), (answer, answered) = (tuple(set(text.split()) for text in pair) for pair in (asked, answers))
        least = max(_TELLING, _TELLING_SHARE * len(self.keys))
        told = [
            any(self.used[_slot(word)] >= least for word in own & repeated)
            for own, repeated in ((one - other, answer - answered), (other - one, answered - answer))
            if own
        ]
        return bool(told) and all(told)

    def later(self, exclude: Collection[int] = ()) -> dict[int, int]:
        """Rows that are near an earlier one, with that one. exclude: rows that are not looked at (exact copies)."""
        made = self._signatures()
        if len(made) < 2:
            return {}
        rows = np.setdiff1d(np.arange(len(made)), np.array(list(exclude), dtype=np.int64))
        return self._near(made, lambda band: _take(rows, pairs_within(band_keys(made[rows], band))))

    def across(self, seen: Rows, held: Rows) -> dict[int, int]:
        """Rows of `held` that are near a row of `seen`, with that one."""
        if not len(seen) or not len(held):
            return {}
        made = self._signatures()

        def candidates(band: int) -> tuple[Rows, Rows]:
            left, right = pairs_across(band_keys(made[seen], band), band_keys(made[held], band))
            return seen[left], held[right]

        return self._near(made, candidates)

    def _near(self, made: Signatures, candidates: Callable[[int], tuple[Rows, Rows]]) -> dict[int, int]:
        """The right rows of candidate pairs that are near their left ones, band after band.

        A row that was found, or compared MOST times in vain, is not compared again.
        """
        keys: NDArray[np.int64] = np.frombuffer(self.keys, dtype=np.int64)
        found: dict[int, int] = {}
        left_over = np.full(len(made), MOST, dtype=np.int8)
        for band in range(_BANDS):
            left, right = candidates(band)
            use = (keys[left] == keys[right]) & (left_over[right] > 0)
            left, right = left[use], right[use]
            likely = estimates(made, left, right) >= _UNLIKELY
            for one, other in zip(left[likely].tolist(), right[likely].tolist(), strict=True):
                if left_over[other] <= 0:
                    continue
                near = self.similar(one, other)
                if near:
                    found[other] = one
                if near is not None:  # the comparison that takes long
                    left_over[other] = 0 if near else left_over[other] - 1
        return found


def _alike(one: str, other: str) -> bool:
    return one == other or is_near(one, other)


def _slot(word: str) -> int:
    """The counter of a word; few share one."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % _SLOTS


def _take(rows: Rows, pairs: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    return rows[pairs[0]], rows[pairs[1]]


def near_findings(
    found: dict[int, int], total: int, sources: Callable[[Iterable[int]], tuple[Source, ...]]
) -> Iterator[Finding]:
    """near_duplicate, from rows with the earlier row that each is near."""
    if found:
        rows = sorted(found)
        yield Finding(
            "near_duplicate",
            "warning",
            len(rows),
            f"{repeat(len(rows), 'nearly')} an earlier one with the same answer ({len(rows) / total:.1%} of "
            f"{total:,}): {shown_pairs(found, sources)}",
            "Keep one of each, unless the small differences are what is to be learned (burnish check --fix drop).",
            sources(rows[:KEPT]),
            repeats=sources(found[row] for row in rows[:KEPT]),
        )


def near_leaks(
    found: dict[int, int],
    parts: tuple[str, str],
    held: int,
    sources: Callable[[Iterable[int]], tuple[Source, ...]],
) -> Iterator[Finding]:
    """split_leak, from rows of a held part with the row of another part that each is near."""
    if found:
        rows = sorted(found)
        repeats = "repeats" if len(rows) == 1 else "repeat"
        yield Finding(
            "split_leak",
            "warning",
            len(rows),
            f"{rows_text(len(rows))} of {parts[1]} nearly {repeats} a row of {parts[0]} with the same answer "
            f"({len(rows) / held:.1%} of {held:,}): {shown_pairs(found, sources)}",
            f"Remove them from {parts[0]}, or give such rows one group (split.group), so that no split divides them.",
            sources(rows[:KEPT]),
        )


def shown_pairs(found: dict[int, int], sources: Callable[[Iterable[int]], tuple[Source, ...]]) -> str:
    """The first pairs by their places: `a.jsonl:9 is near a.jsonl:3`."""
    shown = [sources([row, found[row]]) for row in sorted(found)[:3]]
    return ", ".join(f"{one.file}:{one.line} is near {other.file}:{other.line}" for one, other in shown)
