"""Which rows of further data sets an epoch holds: pure functions of sizes, weights, shares and the seed.

The task's own rows are all seen once an epoch: n of them. A data set of m rows with weight w adds round(w m) rows.
Data sets with shares s1 … sk, the replay among them, then fill the epoch up to N examples, of which the fixed part
F = n + Σ round(w m) is 1 - S, S = Σ s:

    N = round(F / (1 - S)),    count_i = s_i N, rounded by largest remainders so that they add up to N - F

So every share is met within one row. Which rows these are follows from the seed and the rows' content: a data set is
put in the order of SHA-256(seed, name, row), and epoch e takes `count` places of it from e·count on, around the end.
Over any number of epochs its rows are therefore seen equally often within one, no random state has to be kept for
a resumed run, and a row that is added later moves no other by more than its own place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from burnish.data.fingerprint import examples_fingerprint
from burnish.data.inputs import read_inputs
from burnish.data.load import read_examples
from burnish.data.places import KEPT
from burnish.data.shapes import Format
from burnish.records import Example, Finding, Message, Source

BUILT_IN_REPLAY = Path(__file__).with_name("replay.jsonl")


class Extra(NamedTuple):
    """One further data set. Exactly one of weight and share is given. rows: in the order of their hashes.

    read: rows in the file; `rows` may lack those without an answer.
    base_answers: the rows' answers are written by the untuned model before training.
    """

    name: str
    rows: tuple[Example, ...]
    weight: float | None = None
    share: float | None = None
    base_answers: bool = False
    read: int = 0

    @property
    def size(self) -> int:
        """How many rows a weight is times of."""
        return max(self.read, len(self.rows))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows, whatever their order."""
        return examples_fingerprint(self.rows)


def epoch_counts(own: int, extras: Sequence[tuple[int, float | None, float | None]]) -> list[int]:
    """Rows an epoch of each data set, given as (rows, weight, share); own: the task's rows.

    ValueError when shares add up to 1 or more, or a data set has no rows or both a weight and a share.
    """
    for size, weight, share in extras:
        if size < 1 or (weight is None) == (share is None):
            raise ValueError(f"a data set has rows and either a weight or a share, got {size}, {weight}, {share}")
    counts = [0 if weight is None else max(1, round(weight * size)) for size, weight, _ in extras]
    shares = [share or 0.0 for _, _, share in extras]
    if sum(shares) >= 1:
        raise ValueError(f"shares must add up to less than 1, got {sum(shares)}")
    fixed = own + sum(counts)
    total = round(fixed / (1 - sum(shares)))
    quotas = [share * total for share in shares]
    floors = [math.floor(quota + 1e-9) for quota in quotas]
    by_remainder = sorted((i for i, share in enumerate(shares) if share), key=lambda i: (floors[i] - quotas[i], i))
    left = total - fixed - sum(floors)
    for i in by_remainder[: max(0, left)]:
        floors[i] += 1
    return [count or floor for count, floor in zip(counts, floors, strict=True)]


def epoch_places(size: int, count: int, epoch: int) -> list[int]:
    """The places, in hash order, of the `count` rows that an epoch takes of a data set of `size` rows."""
    return [(epoch * count + i) % size for i in range(count)]


def needed(size: int, count: int, epochs: float) -> int:
    """How many rows, the first in hash order, are ever seen."""
    return min(size, count * math.ceil(epochs))


def in_hash_order(rows: Iterable[Example], name: str, seed: int) -> tuple[Example, ...]:
    """Rows ordered by SHA-256 of seed, name and content; copies keep the order they have."""

    def rank(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}\n{name}\n{example.id}".encode()).digest()

    return tuple(sorted(rows, key=rank))


def read_extra(
    paths: Sequence[Path],
    *,
    name: str,
    seed: int,
    weight: float | None = None,
    share: float | None = None,
    format: Format = "auto",
    text: str | None = None,
    target: str | None = None,
    instruction: str | None = None,
    base_answers: bool = False,
    on_file: Callable[[str], None] | None = None,
) -> Extra:
    """Read a further data set: rows of text or chat, each with its own turns and its own answer.

    instruction: a system turn for rows that bring none. base_answers: answers in the file are not read, the untuned
    model is to write them. Raises DataError naming the bad rows; none is left out.
    """
    if base_answers:
        found = [row for path in paths for row in read_inputs(path, kind="generation", format=format, text=text)]
    else:
        reading = read_examples(paths, kind="generation", format=format, text=text, target=target)
        for file in reading.files:
            if on_file is not None:
                on_file(str(file))
        found = list(reading.examples)
    rows = [_with_system(row, instruction) for row in found] if instruction else found
    return Extra(name, in_hash_order(rows, name, seed), weight, share, base_answers, len(rows))


def _with_system(row: Example, instruction: str) -> Example:
    if any(message.role in ("system", "developer") for message in row.messages):
        return row
    return replace(row, messages=(Message("system", instruction), *row.messages))


def mixture_leaks(
    extras: Sequence[Extra], test: Sequence[Example], validation: Sequence[Example]
) -> Iterator[Finding]:
    """Rows of further data sets that ask what the sealed test or the validation part asks.

    Compared are the turns without system text, in lower case with white space folded: an instruction around the same
    input does not make it another one.
    """
    for part, held in (("the sealed test", test), ("validation", validation)):
        asked = {_asked(example.messages) for example in held}
        places = [(extra.name, row.source) for extra in extras for row in extra.rows if _asked(row.messages) in asked]
        if places:
            yield _leak(part, len(held), places)


def _leak(part: str, size: int, places: Sequence[tuple[str, Source]]) -> Finding:
    names = ", ".join(dict.fromkeys(name for name, _ in places))
    rows = "1 row" if len(places) == 1 else f"{len(places):,} rows"
    return Finding(
        "mixture_leak",
        "error" if part == "the sealed test" else "warning",
        len(places),
        f"{rows} of {names} ask what {part} ({size:,} examples) asks",
        "Remove them from that data set: a result on inputs that were trained on proves nothing.",
        tuple(source for _, source in places[:KEPT]),
    )


def _asked(messages: Sequence[Message]) -> str:
    turns = [message for message in messages if message.role not in ("system", "developer")]
    return "\n".join(f"{turn.role}: {' '.join(turn.content.casefold().split())}" for turn in turns)
