"""Texts as sets of shingles, MinHash signatures cut into bands, and the pairs of rows that share a band.

A shingle is five characters in a row of the text in lower case with everything but letters and digits folded into
single spaces (Manning, Raghavan and Schütze 2008, section 19.6, for shingles and MinHash). A signature has 120
values; rows whose signatures agree in one of 24 bands of 5 are candidates (Leskovec, Rajaraman and Ullman 2020,
section 3.4): at a Jaccard similarity of 0.8 that misses 1 pair in 10,000, at 0.7 1 in 80. The work grows with the
rows, not with their pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from burnish.data.duplicates import Hashes, Rows

SIZE = 5  # characters of a shingle
BANDS, ROWS = 24, 5
NEAR = 0.8  # Jaccard similarity
LONG, NEAR_LONG = 150, 0.7  # characters from which on a smaller one will do: so much in common is no chance
MOST = 8  # rows of a band that a row is compared with, so that a crowded band costs no more than another
FEWEST_WORDS = 12  # different ones from which on sets of words are compared
COMMON = 0.8  # of the first rows: shingles that more of them have are left out
NEAR_APART = 0.6  # Jaccard similarity that the rest must have
_FRAMED = 100  # rows that this is told by, at least
_SEED = 7
_BLOCK = 1 << 16

Signatures = NDArray[np.uint8]  # rows x BANDS * ROWS

_NOT_WORD = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Lower case; everything but letters and digits is one space."""
    return _NOT_WORD.sub(" ", text.casefold()).strip()


def shingles(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.uint64]]:
    """Hashes of the shingles of all texts, one text after another, and where each text's begin (and the last ends).

    Shorter texts than a shingle are one, filled up with spaces.
    """
    filled = [text.ljust(SIZE) for text in texts]
    ends = np.cumsum([len(text) for text in filled], dtype=np.int64)
    signs = np.frombuffer("".join(filled).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    count = max(len(signs) - SIZE + 1, 0)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(SIZE):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += signs[place : place + count] + np.uint64(1)
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    whole = np.ones(count, dtype=bool)
    for before in range(1, SIZE):  # those that reach into the next text
        whole[ends[:-1] - before] = False
    sizes = np.diff(ends, prepend=0) - SIZE + 1
    return hashes[whole], np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)


def signatures(hashes: Hashes, starts: NDArray[np.uint64]) -> Signatures:
    """MinHash signatures of sets of hashes, given as `shingles` gives them.

    Of each value eight bits are kept (Li and König 2010): two that differ look equal once in 256 times.
    """
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, BANDS * ROWS, _SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, BANDS * ROWS).astype(np.uint8)


def band_keys(made: Signatures, band: int) -> NDArray[np.uint64]:
    """One number a row for its values in one band."""
    padded = np.zeros((len(made), 8), dtype=np.uint8)
    padded[:, :ROWS] = made[:, band * ROWS : (band + 1) * ROWS]
    return padded.view(np.uint64).ravel()


def estimates(made: Signatures, left: Rows, right: Rows) -> NDArray[np.float64]:
    """The Jaccard similarity of pairs of rows by their signatures, with a standard error of 0.05 at most."""
    found = [
        (made[left[start : start + _BLOCK]] == made[right[start : start + _BLOCK]]).mean(axis=1)
        for start in range(0, len(left), _BLOCK)
    ]
    return np.concatenate(found) if found else np.empty(0)


def pairs_within(keys: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Pairs of rows with equal keys, the earlier one left: each row with up to MOST rows before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    left, right = [], []
    for lag in range(1, MOST + 1):
        same = np.flatnonzero(ordered[lag:] == ordered[:-lag])
        if not len(same):
            break
        left.append(order[same])
        right.append(order[same + lag])
    return _joined(left), _joined(right)


def pairs_across(seen: NDArray[np.uint64], held: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Pairs of a row of `seen` and a row of `held` with equal keys: each held row with up to MOST seen ones."""
    order = np.argsort(seen, kind="stable")
    ordered = seen[order]
    first = np.searchsorted(ordered, held)
    left, right = [], []
    for lag in range(MOST):
        place = np.minimum(first + lag, len(ordered) - 1)
        same = np.flatnonzero((first + lag < len(ordered)) & (ordered[place] == held))
        if not len(same):
            break
        left.append(order[place[same]])
        right.append(same)
    return _joined(left), _joined(right)


def _joined(parts: list[Rows]) -> Rows:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def pieces(text: str) -> set[str]:
    """The shingles of a text as they are."""
    text = text.ljust(SIZE)
    return {text[at : at + SIZE] for at in range(len(text) - SIZE + 1)}


def boilerplate(texts: Sequence[str]) -> frozenset[str]:
    """Shingles that so many of the texts have that they say nothing: instructions and forms that frame every row."""
    if len(texts) < _FRAMED:
        return frozenset()
    counts = Counter(piece for text in texts for piece in pieces(text))
    return frozenset(piece for piece, count in counts.items() if count >= COMMON * len(texts))


def without(hashes: Hashes, starts: NDArray[np.uint64], common: Hashes) -> tuple[Hashes, NDArray[np.uint64]]:
    """Sets of hashes, as `shingles` gives them, without the common ones; a set of nothing else stays as it is."""
    kept = ~np.isin(hashes, common)
    places = starts.astype(np.int64)
    left = np.add.reduceat(kept, places[:-1])
    kept |= np.repeat(left == 0, np.diff(places))
    sizes = np.add.reduceat(kept, places[:-1])
    return hashes[kept], np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)


def is_near(left: str, right: str, common: frozenset[str] = frozenset()) -> bool:
    """Whether two normalised texts are nearly the same, and still much alike without what is common to all.

    That is so by their shingles or by their words: in a short text one other word changes many shingles.
    """
    least = NEAR_LONG if min(len(left), len(right)) >= LONG else NEAR
    if similarity(left, right) < least and _of_words(left, right) < NEAR:
        return False
    return not common or similarity(left, right, common) >= NEAR_APART


def _of_words(left: str, right: str) -> float:
    one, other = set(left.split()), set(right.split())
    return len(one & other) / max(len(one | other), 1) if min(len(one), len(other)) >= FEWEST_WORDS else 0.0


def similarity(left: str, right: str, common: frozenset[str] = frozenset()) -> float:
    """Jaccard similarity of the sets of shingles of two normalised texts, exactly."""
    one, other = pieces(left), pieces(right)
    if common:
        one, other = one - common or one, other - common or other
    both = len(one & other)
    return both / (len(one) + len(other) - both)
