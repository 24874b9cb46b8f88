"""The page of `burnish check --html FILE`: findings, labels, lengths, a map of the rows, likely wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from burnish.inspection.clusters import Cluster
from burnish.inspection.inspect import Inspection
from burnish.inspection.projection import project
from burnish.inspection.sample import Item
from burnish.inspection.shift import Shift
from burnish.records import DataReport
from burnish.reports import plots
from burnish.reports.data import rows_context
from burnish.reports.html import render_page
from burnish.reports.maps import MapPoint, map_plot
from burnish.reports.row_text import row_text
from burnish.reports.text import as_dict, count, one_line, p_value, percent, plural
from burnish.runs import write_text

Context = dict[str, Any]

SUSPECTS = 50  # rows shown
EDGE_CASES = 20
TEXT = 300  # characters of a row
LABEL = 100
TIP = 80
ALIKE = 0.3  # where the histogram of likeness begins
SEVERITIES = {"error": "error", "warning": "warning", "info": "note"}


def write_check_page(source: str, report: DataReport, found: Inspection | None, path: Path) -> None:
    """Write the page. found: what the embedding checks found, None when they were left out."""
    write_text(path, render_page("check.html.j2", page_context(source, report, found)))


def page_context(source: str, report: DataReport, found: Inspection | None) -> Context:
    """Everything the template says."""
    kinds = [finding.severity for finding in report.findings]
    said = [plural(kinds.count(severity), word) for severity, word in SEVERITIES.items() if severity in kinds]
    affected = [(finding.kind.replace("_", " "), float(finding.count)) for finding in report.findings]
    context: Context = {
        "source": one_line(source, 120),
        "rows": report.rows,
        "said": ", ".join(said) if said else "nothing to complain about",
        "affected": plots.bar_plot(affected, label="Rows or labels that each finding is about") if affected else None,
        "data": rows_context(as_dict(report)),
        "looked_at": None,
        "suspects": None,
        "shifts": [],
        "clusters": None,
        "alike": None,
        "edge_cases": [],
    }
    if found is not None:
        context |= _inspected(found)
    sections = (
        ("findings", "Findings", True),
        ("labels", "Likely wrong labels", context["suspects"]),
        ("shifts", "Shifts", context["shifts"]),
        ("clusters", "Clusters", context["clusters"]),
        ("alike", "Duplicates and edge cases", context["alike"]),
    )
    context["sections"] = [(key, name) for key, name, there in sections if there]
    return context


def _inspected(found: Inspection) -> Context:
    return {
        "looked_at": f"{plural(len(found.items), 'row')} of {count(found.rows)}",
        "suspects": _suspects(found),
        "shifts": [_shift(shift, found.items) for shift in found.shifts],
        "clusters": _clusters(found),
        "alike": _alike(found),
        "edge_cases": [_row(found.items[row]) for row in found.clusters.edge_cases[:EDGE_CASES].tolist()],
    }


def _row(item: Item) -> Context:
    return {
        "text": row_text(item.text, TEXT),
        "label": row_text(item.label or "", LABEL),
        "place": f"{item.source.file}:{item.source.line}",
    }


def _suspects(found: Inspection) -> Context | None:
    labels = found.labels
    if labels is None:
        return None
    rows = [
        _row(suspect.item)
        | {"better": row_text(suspect.better, LABEL), "odds": f"{count(min(suspect.odds, 9999))} to 1"}
        for suspect in labels.suspects[:SUSPECTS]
    ]
    return {
        "rows": rows,
        "number": len(labels.suspects),
        "looked_at": labels.rows,
        "accuracy": percent(labels.accuracy),
        "judged": labels.judged,
    }


def _shift(shift: Shift, items: Sequence[Item]) -> Context:
    return {
        "part": shift.part,
        "accuracy": percent(shift.accuracy),
        "p": p_value(shift.p_value),
        "rows": shift.rows,
        "words": ", ".join(shift.words),
        "uncovered": percent(shift.uncovered),
        "telling": [_row(items[row]) for row in shift.telling] if shift.p_value < 0.01 else [],
        "lonely": [_row(items[row]) for row in shift.lonely[:5]],
    }


def _clusters(found: Inspection) -> Context:
    clusters, items = found.clusters, found.items
    suspected = set() if found.labels is None else {suspect.item.id for suspect in found.labels.suspects}
    rows, places = project(found.vectors[: len(clusters.of)])
    points = [
        MapPoint(
            float(x),
            float(y),
            int(clusters.of[row]),
            one_line(row_text(items[row].text, TIP)),
            items[row].id in suspected,
        )
        for row, (x, y) in zip(rows.tolist(), places.tolist(), strict=True)
    ]
    return {
        "map": map_plot(points, label="Map of the rows: near ones are alike; each cluster has its colour and number"),
        "shown": len(points),
        "silhouette": f"{clusters.silhouette:.2f}",
        "marked": any(point.marked for point in points),
        "rows": [_cluster(number, cluster, items) for number, cluster in enumerate(clusters.clusters, 1)],
    }


def _cluster(number: int, cluster: Cluster, items: Sequence[Item]) -> Context:
    return {
        "number": number,
        "name": row_text(cluster.name, TEXT),
        "rows": cluster.rows,
        "share": percent(cluster.share),
        "thin": cluster.thin,
        "typical": _row(items[cluster.typical]),
    }


def _alike(found: Inspection) -> Context:
    likeness = found.clusters.likeness
    steps = [ALIKE + (1 - ALIKE) * step / 20 for step in range(21)]
    bins = [(low, high, int(((likeness >= low) & (likeness < high)).sum())) for low, high in pairwise(steps)]
    bins[0] = (ALIKE, steps[1], int((likeness < steps[1]).sum()))
    bins[-1] = (steps[-2], 1.0, int((likeness >= steps[-2]).sum()))
    return {
        "plot": plots.histogram(
            bins, x_name="likeness to the nearest other row", label="How alike each row's nearest is"
        ),
        "same": int((likeness >= steps[-2]).sum()),
        "from": f"{steps[-2]:.3f}",
        "edge_count": len(found.clusters.edge_cases),
        "edge_share": percent(len(found.clusters.edge_cases) / len(found.clusters.of)),
    }
