"""Rows to train on that hold text of test material which the user names: overlap of words in a row.

As in Brown et al. 2020 (Language Models are Few-Shot Learners, appendix C) a row is contaminated when it shares 13
words in a row with the material, in lower case without punctuation; of a text of 8 to 12 words, all of them. Shorter
texts count only when they are the row's whole input. What more than ten rows share is a formula, not a leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from burnish.data.checks.base import TextRow, rows_text, strings_in
from burnish.data.checks.minhash import normalised
from burnish.data.places import KEPT
from burnish.data.read import read_rows
from burnish.data.streams import Line, Row, read_lines
from burnish.errors import DataError, Problem
from burnish.records import Finding, Source

MOST_WORDS = 13
FEWEST_WORDS = 8
FORMULA = 10  # rows: what more of them share is a formula of the data
_PLAIN = (".txt", ".md")


class Material:
    """Runs of words of test material, by their hash, with the place of the first text that holds each."""

    def __init__(self) -> None:
        self.runs: dict[int, Source] = {}
        self.lengths: set[int] = set()
        self.whole: dict[int, Source] = {}  # short texts
        self.texts = 0

    def add(self, text: str, source: Source) -> None:
        words = normalised(text).split()
        if not words:
            return
        self.texts += 1
        length = min(len(words), MOST_WORDS)
        if length < FEWEST_WORDS:
            self.whole.setdefault(hash(tuple(words)), source)
            return
        self.lengths.add(length)
        for run in runs(words, length):
            self.runs.setdefault(run, source)

    def found_in(self, words: Sequence[str]) -> list[int]:
        """The runs of the material that a text holds."""
        return [run for length in self.lengths for run in runs(words, length) if run in self.runs]


def runs(words: Sequence[str], length: int) -> Iterator[int]:
    """Hashes of all runs of so many words; the same within one process."""
    for start in range(len(words) - length + 1):
        yield hash(tuple(words[start : start + length]))


def read_material(files: Sequence[str | Path]) -> Material:
    """The texts of files in any form that rows have (labels and other short values are among them), or lines of text.

    Raises DataError for a file that cannot be read to its end; single bad rows are passed over.
    """
    made = Material()
    for file in map(Path, files):
        name = str(file)
        if file.suffix.lower() in _PLAIN and file.is_file():
            for line in read_lines(file, name):
                if isinstance(line, Line):
                    made.add(line.raw.decode("utf-8", "replace"), Source(name, line.number))
            continue
        good, problems = 0, list[Problem]()
        for item in read_rows(file):
            if isinstance(item, Row):
                good += 1
                for text in strings_in(item.values):
                    made.add(text, Source(name, item.line))
            else:
                problems.append(item)
        if not good:
            raise DataError(
                "the test material cannot be read", where=name, problems=problems[:5], count=len(problems)
            )
    return made


class ContaminationCheck:
    """Rows that share runs of words with the material."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.rows = 0
        self.seen: Counter[int] = Counter()  # rows by run
        self.hits: list[tuple[Source, list[int]]] = []
        self.short: list[tuple[Source, Source]] = []

    def add(self, row: TextRow) -> None:
        self.rows += 1
        source = row.example.source
        asked = normalised(row.asked).split()
        if len(asked) < FEWEST_WORDS and hash(tuple(asked)) in self.material.whole:
            self.short.append((source, self.material.whole[hash(tuple(asked))]))
            return
        words = [*asked, *normalised("\n".join(row.answers)).split()] if row.answers else asked
        if hits := list(dict.fromkeys(self.material.found_in(words))):
            self.seen.update(hits)
            self.hits.append((source, hits))

    def findings(self) -> Iterator[Finding]:
        found = list(self.short)
        for source, hits in self.hits:
            rare = next((run for run in hits if self.seen[run] <= FORMULA), None)
            if rare is not None:
                found.append((source, self.material.runs[rare]))
        if found:
            found.sort(key=lambda pair: (pair[0].file, pair[0].line))
            shown = ", ".join(
                f"{row.file}:{row.line} shares with {other.file}:{other.line}" for row, other in found[:3]
            )
            yield Finding(
                "contamination",
                "error",
                len(found),
                f"{rows_text(len(found))} share {MOST_WORDS} words in a row (or a whole shorter text) with the "
                f"test material ({len(found) / self.rows:.1%} of {self.rows:,}): {shown}",
                "Remove them (burnish check --fix drop), or do not report results on that material.",
                tuple(row for row, _ in found[:KEPT]),
            )
