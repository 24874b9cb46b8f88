"""How many labels are likely wrong, before systems are measured by them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from burnish.prepare import Prepared
from burnish.progress import Progress, teller

WRONG_LABELS = "wrong_labels_at_least"

if TYPE_CHECKING:
    from burnish.records import DataReport
    from burnish.systems.base import Embeds


def with_doubts(report: DataReport, prepared: Prepared, embed: Embeds, progress: Progress) -> DataReport:
    """The check's report with the finding suspect_label, where there is one: of a sample of the training part.

    The finding's count is scaled to all rows, so that its share is that of the sample; under WRONG_LABELS among the
    statistics is the share of labels that is wrong at least. Where a task is hard for the probe, it suspects many
    right labels, so it is the second number that advice rests on. Kinds without labels, and labels that the
    embeddings tell little of, are left alone.
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
    stats = {**report.stats, WRONG_LABELS: check.noise}
    return replace(report, findings=(*report.findings, *found), stats=stats)
