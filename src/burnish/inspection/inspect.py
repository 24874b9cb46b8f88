"""All embedding checks on one sample of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from burnish.data.logistic import Vectors
from burnish.inspection.clusters import Clusters, find_clusters
from burnish.inspection.labels import LabelCheck, check_labels, suspect_findings
from burnish.inspection.sample import REQUESTS, Item, Sample
from burnish.inspection.shift import LEAST, Shift, compare, shift_findings
from burnish.records import Finding, Json, Source

LEAST_ROWS = 50  # fewer say nothing

Embed = Callable[[Sequence[str]], Vectors]


class Inspection(NamedTuple):
    """What the embedding checks found. items and vectors: the rows looked at, of `rows` in all; clusters: of these
    rows without the requests, which come last."""

    findings: tuple[Finding, ...]
    rows: int
    items: tuple[Item, ...]
    vectors: Vectors
    labels: LabelCheck | None
    shifts: tuple[Shift, ...]
    clusters: Clusters

    def stats(self) -> dict[str, Json]:
        """For data_report.json and --json; sampled: rows looked at, of all rows."""
        made: dict[str, Json] = {"sampled": len(self.items), "rows": self.rows}
        if self.labels is not None:
            made["labels"] = self.labels.stats()
        made["shift"] = {shift.part: shift.stats() for shift in self.shifts}
        found = self.clusters
        made["clusters"] = [
            cluster._asdict() | {"typical": _place(self.items[cluster.typical].source)} for cluster in found.clusters
        ]
        made["silhouette"] = found.silhouette
        made["edge_cases"] = {
            "share": len(found.edge_cases) / len(found.of),
            "rows": [_place(self.items[row].source) for row in found.edge_cases],
        }
        return made


def inspect(sample: Sample, embed: Embed) -> Inspection | None:
    """embed: texts to vectors of length 1. None when there are fewer than LEAST_ROWS different rows."""
    own = [item for item in sample.items if item.part != REQUESTS]
    if len(own) < LEAST_ROWS:
        return None
    items = (*own, *sample.part(REQUESTS))
    vectors = embed([item.text for item in items])
    labels = check_labels(own, vectors[: len(own)])
    findings = [] if labels is None else suspect_findings(labels)
    shifts: list[Shift] = []
    train = [row for row, item in enumerate(items) if item.part == "train"]
    for part in ("validation", "test", REQUESTS):
        others = [row for row, item in enumerate(items) if item.part == part]
        if min(len(train), len(others)) >= LEAST:
            shifts.append(compare(part, train, others, items, vectors))
            findings += shift_findings(shifts[-1], items, len(others))
    clusters = find_clusters(vectors[: len(own)], [item.text for item in own])
    return Inspection(tuple(findings), sample.rows, items, vectors, labels, tuple(shifts), clusters)


def _place(source: Source) -> dict[str, Json]:
    return {"file": source.file, "line": source.line}
