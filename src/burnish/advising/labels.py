"""How many labels are likely wrong, before systems are measured by them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from burnish.prepare import Prepared
from burnish.progress import Progress, teller

if TYPE_CHECKING:
    from burnish.records import DataReport
    from burnish.systems.base import Embeds


def with_doubts(report: DataReport, prepared: Prepared, embed: Embeds, progress: Progress) -> DataReport:
    """The check's report with the finding suspect_label, where there is one: of a sample of the training part.

    The finding's count is scaled to all rows, so that its share is that of the sample. Kinds without labels, and
    labels that the embeddings tell little of, are left alone.
    """
    from burnish.inspection.labels import check_labels, suspect_findings
    from burnish.inspection.sample import SAMPLE, Sampler

    sampler = Sampler(SAMPLE, prepared.task.kind)
    for example in prepared.split.train:
        sampler.add(example)
    items = sampler.sample().items
    if not any(item.label is not None for item in items):
        return report
    vectors = embed([item.text for item in items], teller(progress, "labels checked"))
    check = check_labels(items, vectors)
    if check is None:
        return report
    found = [replace(one, count=round(one.count / check.rows * report.rows)) for one in suspect_findings(check)]
    return replace(report, findings=(*report.findings, *found))
