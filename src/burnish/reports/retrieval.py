"""Retrieval apart from the answers: for the terminal, the page and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.reports.text import count, one_line, percent

Record = Mapping[str, Any]
OUTCOMES = {
    "right": "right",
    "wrong_context": "wrong: the passage was not there",
    "wrong_behaviour": "wrong, with the passage there",
    "right_without": "right without the passage",
}


def retrieval_rows(evaluations: Mapping[str, Record]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Headings, and a row for each system that was shown passages."""
    found = {name: _table(evaluation) for name, evaluation in evaluations.items()}
    measured = {name: table for name, table in found.items() if table}
    depths = list(dict.fromkeys(depth for table in measured.values() for depth in table.get("recall") or {}))
    headings = ["System", *(f"Recall at {depth}" for depth in depths), "Passages shown", *OUTCOMES.values()]
    rows = []
    for name, table in measured.items():
        recall, outcomes, examples = (
            table.get("recall") or {},
            table.get("outcomes") or {},
            table.get("examples") or 0,
        )
        cells = [_interval(recall.get(depth)) for depth in depths]
        cells += [f"{float(table.get('shown') or 0):.1f}"]
        cells += [_share(int(outcomes.get(key, 0)), int(examples)) for key in OUTCOMES]
        rows.append((one_line(name, 40), *cells))
    return headings, rows


def retrieval_view(evaluations: Mapping[str, Record]) -> RenderableType | None:
    """For the terminal; None where no system was shown passages."""
    headings, rows = retrieval_rows(evaluations)
    if not rows:
        return None
    view = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        view.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in rows:
        view.add_row(*map(Text, row))
    return Group(Text("Retrieval, apart from the answers", style="bold"), view)


def retrieval_context(evaluations: Mapping[str, Record]) -> dict[str, Any] | None:
    """For the page."""
    headings, rows = retrieval_rows(evaluations)
    return {"headings": headings, "rows": rows} if rows else None


def retrieval_sentences(evaluations: Mapping[str, Record]) -> list[str]:
    """For the model card: one sentence a system."""
    headings, rows = retrieval_rows(evaluations)
    made = []
    for name, *cells in rows:
        facts = "; ".join(f"{heading.lower()} {cell}" for heading, cell in zip(headings[1:], cells, strict=True))
        made.append(f"{name}: {facts}")
    return made


def _table(evaluation: Record) -> Record:
    found = (evaluation.get("tables") or {}).get("retrieval")
    return found if isinstance(found, Mapping) else {}


def _interval(found: Any) -> str:
    if not isinstance(found, Mapping):
        return "–"
    return f"{percent(found['value'])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _share(number: int, examples: int) -> str:
    return f"{count(number)} ({percent(number / examples, 0)})" if examples else "–"
