"""How many labels are likely wrong, before systems are measured by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.prepare import Prepared
from burnish.progress import Progress, teller

if TYPE_CHECKING:
    from burnish.models.embed import Embedder
    from burnish.records import DataReport


def with_doubts(prepared: Prepared, embedder: Embedder, progress: Progress) -> DataReport:
    """The check's report with the finding suspect_label, where there is one: of a sample of the training part.

    The finding's count is scaled to all rows, so that its share is that of the sample. Kinds without labels, and
    labels that the embeddings tell little of, are left alone.
    """
    from burnish.inspection.labels import check_labels, suspect_findings
    from burnish.inspection.sample import SAMPLE, Sampler

    report, task = prepared.report, prepared.task
    sampler = Sampler(SAMPLE, task.kind)
    for example in prepared.split.train:
        sampler.add(example)
    items = sampler.sample().items
    if not any(item.label is not None for item in items):
        return report
    vectors = embedder.embed([item.text for item in items], teller(progress, "labels checked"))
    check = check_labels(items, vectors)
    if check is None:
        return report
    found = [replace(one, count=round(one.count / check.rows * report.rows)) for one in suspect_findings(check)]
    return replace(report, findings=(*report.findings, *found))


def embedder_of(name: str, base_dir: Path | None, progress: Progress) -> Embedder:
    """The embedding model that labels are judged with: the probe's own, or the default where that is the base."""
    from burnish.models.catalog import EMBEDDING_MODEL
    from burnish.models.embed import load_embedder

    return load_embedder(EMBEDDING_MODEL if name == "base" else name, base_dir=base_dir, progress=progress)
