"""What reports say of the data: rows and parts, classes, lengths, and what the check found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.reports import choices, plots, summary
from burnish.reports.rundata import RunData
from burnish.reports.text import cut_noted

MESSAGE_CHARACTERS = 1200
Context = dict[str, Any]


def data_context(data: RunData) -> Context | None:
    """Rows, splits, classes, lengths, findings, the sealed test."""
    if not (data.data or data.split):
        return None
    return {
        "rows": data.data.get("rows"),
        "splits": [(name, _size(data.split[name])) for name in ("train", "validation", "test") if name in data.split],
        "sealed_hash": str(data.split.get("sealed_hash") or ""),
        "looks": data.verdict.get("looks", data.split.get("looks")),
        **rows_context(data.data),
    }


def rows_context(report: Mapping[str, Any]) -> Context:
    """Classes, lengths and findings of a data check; report: a DataReport as a mapping."""
    stats = report.get("stats") or {}
    classes = summary.class_counts(stats)
    bins = summary.token_histogram(stats)
    return {
        "classes": plots.bar_plot(classes, label="Examples of each class") if classes else None,
        "class_count": len(classes),
        "length_facts": choices.pair_facts(stats) + summary.token_facts(stats),
        "lengths": plots.histogram(bins, x_name="tokens", label="Length of the examples in tokens") if bins else None,
        "findings": [_finding(finding) for finding in report.get("findings") or ()],
    }


def _size(part: object) -> int:
    if isinstance(part, Mapping):
        part = part.get("ids") or part.get("examples") or part.get("count") or ()
    return part if isinstance(part, int) else len(part) if isinstance(part, list | tuple | dict) else 0


def _finding(finding: Mapping[str, Any]) -> Context:
    rows = [f"{row.get('file')}:{row.get('line')}" for row in finding.get("rows") or ()]
    return {
        "severity": str(finding.get("severity") or "info"),
        "message": cut_noted(str(finding.get("message") or finding.get("kind")), MESSAGE_CHARACTERS),
        "why": str(finding.get("why") or ""),
        "advice": str(finding.get("advice") or ""),
        "rows": rows[:10],
        "more": max(0, int(finding.get("count") or 0) - min(10, len(rows))) if rows else 0,
    }
