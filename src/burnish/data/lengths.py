"""How long examples are in tokens, from a sample, and what would not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from burnish.data.places import KEPT
from burnish.records import Example, Finding, Json, Source

CountTokens = Callable[[Sequence[Example]], list[int]]

SAMPLE = 10_000  # rows whose tokens are counted, at most
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: consecutive multiples spread evenly


class Lengths:
    """Token lengths of a sample: the rows with the smallest hashes of content and place.

    Whenever more than SAMPLE rows lie below the limit, the limit is halved and the lengths above it are forgotten,
    so that between a half of SAMPLE and SAMPLE rows of a large file are left. At most 64 examples are held.
    """

    def __init__(self, count_tokens: CountTokens, max_length: int | None) -> None:
        self.count_tokens = count_tokens
        self.max_length = max_length
        self.limit = 2**64
        self.kept: list[tuple[int, int, Source]] = []  # hash, tokens, place
        self.pending: list[tuple[int, Example]] = []

    def add(self, example: Example) -> None:
        rank = (int(example.id, 16) + example.source.line * _SPREAD) % 2**64  # copies must not all be in or out
        if rank < self.limit:
            self.pending.append((rank, example))
            if len(self.pending) >= 64:
                self.flush()

    def flush(self) -> None:
        if self.pending:
            counts = self.count_tokens([example for _, example in self.pending])
            for (rank, example), count in zip(self.pending, counts, strict=True):
                self.kept.append((rank, count, example.source))
            self.pending = []
        while len(self.kept) > SAMPLE and self.limit > 1:
            self.limit //= 2
            self.kept = [item for item in self.kept if item[0] < self.limit]

    def stats(self, rows: int) -> dict[str, Json]:
        """Percentiles and a histogram of 20 equal bins (edges has one entry more than counts)."""
        counts = np.array([count for _, count, _ in self.kept], dtype=np.int64)
        made: dict[str, Json] = {"sample": len(counts), "of": rows, "max_length": self.max_length}
        if not len(counts):
            return made
        points = {"min": 0, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
        made |= {name: float(np.percentile(counts, q)) for name, q in points.items()}
        made["mean"] = float(counts.mean())
        bins, edges = np.histogram(counts, bins=20)
        made["histogram"] = {"counts": bins.tolist(), "edges": edges.tolist()}
        if self.max_length is not None:
            made["truncated"] = int((counts > self.max_length).sum())
        return made

    def findings(self, rows: int) -> Iterator[Finding]:
        if self.max_length is None:
            return
        long = [(count, place) for _, count, place in self.kept if count > self.max_length]
        if not long:
            return
        whole = len(self.kept) == rows
        rows_text = "1 row" if len(long) == 1 else f"{len(long):,} rows"
        basis = f"of {rows:,}" if whole else f"of a sample of {len(self.kept):,} from {rows:,}"
        longest = max(count for count, _ in long)
        yield Finding(
            "truncated",
            "warning",
            len(long),
            f"{rows_text} ({len(long) / len(self.kept):.1%} {basis}) are longer than max_length "
            f"{self.max_length:,}; the longest has {longest:,} tokens",
            f"Set training.max_length to {longest}, or shorten the rows: what does not fit is not trained on.",
            tuple(sorted((place for _, place in long), key=lambda place: (place.file, place.line))[:KEPT]),
        )
