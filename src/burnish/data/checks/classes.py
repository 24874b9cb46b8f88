"""Findings on labels: one label alone, imbalance, rare classes, labels and shares that differ between parts."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np

from burnish.data.checks.base import rows_text
from burnish.data.checks.masking import masked
from burnish.data.checks.spellings import spellings
from burnish.data.places import KEPT, SHOWN, Places
from burnish.records import Finding, Kind, Source

IMBALANCE = 10.0  # largest class over smallest class
RARE = 10  # rows: fewer are neither learned nor measured
FEW = 50  # rows: below the usual aim for a class
SKEWED = 0.1  # of the rows would have to change their label for the parts to have the same shares
SURE = 0.001  # p-value


Sources = Callable[[Iterable[int]], tuple[Source, ...]]  # where rows stand, given their indices


class Classes:
    """Labels counted by part, with the first places of each. declared: those that the task lists, if it does."""

    def __init__(self, kind: Kind, *, declared: Collection[str] | None = None) -> None:
        self.kind = kind
        self.declared = declared
        self.numbers: dict[str | None, int] = {None: 0}
        self.labelled = array("I")  # of every row its label's number
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)  # part -> label -> rows
        self.places: defaultdict[tuple[bool, str], Places] = defaultdict(lambda: Places(FEW))

    def add(self, part: str, label: str | None, source: Source) -> None:
        self.labelled.append(self.numbers.setdefault(label, len(self.numbers)))
        if label is None:
            return
        self.counts[part][label] += 1
        self.places[part == "test", label].add(source)

    @property
    def labels(self) -> Counter[str]:
        """Rows of each label that occurs."""
        return sum(self.counts.values(), Counter())

    def findings(self, sources: Sources) -> Iterator[Finding]:
        labels = self.labels
        if not labels:
            return
        ordered = labels.most_common()
        (most, largest), (least, smallest) = ordered[0], min(ordered, key=lambda item: (item[1], item[0]))
        if len(labels) == 1:
            if self.kind != "tool_calling":  # one tool with differing arguments is a task like any other
                yield Finding(
                    "class_imbalance",
                    "error",
                    largest,
                    f"all rows have one label, {most!r}: there is nothing to tell apart",
                    "Add rows of the other labels, or check which column holds the label.",
                    self._of([most])[:SHOWN],
                )
            return
        if largest > IMBALANCE * smallest:
            yield Finding(
                "class_imbalance",
                "warning",
                largest,
                f"{most!r} has {rows_text(largest)}, {least!r} has {smallest:,}: "
                f"{largest / smallest:,.0f} times fewer",
                "Watch macro-F1 rather than accuracy; add rows of the small classes.",
                self._of([least]),
            )
        if not self._own_tools(labels):
            yield from self._rare(labels)
        if self.kind != "tool_calling":  # each row lists the tools it calls, by their very names
            yield from self._spellings(labels, sources)

    def _own_tools(self, labels: Counter[str]) -> bool:
        """Whether rows call tools of their own rather than those of a fixed set: most are called hardly ever."""
        return self.kind == "tool_calling" and labels.total() < RARE * len(labels) and len(labels) >= FEW

    def _spellings(self, labels: Counter[str], sources: Sources) -> Iterator[Finding]:
        """Labels that differ in case, spaces or signs alone."""
        found = list(spellings(labels))
        odd = [other for one in found for other in one.others]
        if odd:
            count = sum(labels[label] for label in odd)
            pairs = [
                f"{other!r} ({labels[other]:,}) beside {one.usual!r} ({labels[one.usual]:,})"
                for one in found
                for other in one.others
            ]
            instead = {
                other: one.usual for one in found if one.clear for other in one.others if masked(other) == other
            }
            yield Finding(
                "label_spelling",
                "warning",
                count,
                f"{rows_text(count)} with a label that is written in another way elsewhere: {listed(pairs)}",
                "Write each label in one way: to a model two spellings are two answers (burnish check --fix repair).",
                sources(self._rows_of(odd)),
                instead=instead if self.kind == "classification" and self.declared is None else {},
            )

    def _rows_of(self, labels: Sequence[str]) -> list[int]:
        wanted = [self.numbers[label] for label in labels]
        rows = np.flatnonzero(np.isin(np.frombuffer(self.labelled, dtype=np.uint32), wanted))
        return [int(row) for row in rows[:KEPT]]

    def _rare(self, labels: Counter[str]) -> Iterator[Finding]:
        labels = labels.copy()
        labels.update(dict.fromkeys(self.declared or (), 0))
        for low, high in ((0, RARE), (RARE, FEW)):
            rare = sorted((count, label) for label, count in labels.items() if low <= count < high)
            if rare:
                between = f"fewer than {high}" if not low else f"{low} to {high - 1}"
                yield Finding(
                    "rare_class",
                    "info" if low else "warning",
                    len(rare),
                    f"{len(rare):,} of {len(labels):,} labels have {between} rows: "
                    f"{listed([f'{label!r} ({count})' for count, label in rare])}",
                    "Add rows (50 to 200 a class is a usual aim), or join the label with another.",
                    self._of([label for _, label in rare]),
                )

    def part_findings(self) -> Iterator[Finding]:
        """What the parts that were given differ in."""
        train, test = self.counts["train"], self.counts["test"]
        if not train:
            return
        unseen = set() if self._own_tools(self.labels) else set(test) - set(train)
        untold = {label for label in self.declared or () if self.labels[label]} - set(train) - unseen
        for whose, missing in (("the test", sorted(unseen)), ("the task", sorted(untold))):
            if missing:
                yield Finding(
                    "rare_class",
                    "warning",
                    len(missing),
                    f"{whose} has labels that never occur in train ({len(missing):,}): "
                    f"{listed([repr(label) for label in missing])}",
                    "Add rows with them to train: a model cannot learn a label that it is not shown.",
                    tuple(place for label in missing for place in self._of([label])[:1])[:KEPT],
                )
        yield from self._skewed(train, test)

    def _skewed(self, train: Counter[str], test: Counter[str]) -> Iterator[Finding]:
        from scipy.stats import chi2_contingency

        both = sorted(set(train) | set(test))
        if len(both) < 2 or sum(test.values()) < 2 * len(both):  # too few for a test of shares
            return
        counts = np.array([[part[label] for label in both] for part in (train, test)], dtype=float)
        shares = counts / counts.sum(axis=1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        if distance < SKEWED or chi2_contingency(counts).pvalue > SURE:
            return
        most = int(np.argmax(np.abs(shares[0] - shares[1])))
        yield Finding(
            "distribution_shift",
            "warning",
            round(distance * counts[1].sum()),
            f"labels have other shares in test than in train: {both[most]!r} {shares[0][most]:.0%} of train, "
            f"{shares[1][most]:.0%} of test ({distance:.0%} of the test would need another label)",
            "Draw train and test from the same rows (split.stratify), unless the test is what use looks like.",
            tuple(self.places[True, both[most]].first),
        )

    def _of(self, labels: Sequence[str]) -> tuple[Source, ...]:
        found = (place for label in labels for test in (False, True) for place in self._first(test, label))
        return tuple(found)[:KEPT]

    def _first(self, test: bool, label: str) -> list[Source]:
        return self.places[test, label].first if (test, label) in self.places else []


def listed(words: Sequence[str]) -> str:
    """The first few words, and how many more there are."""
    more = f" and {len(words) - SHOWN:,} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more
