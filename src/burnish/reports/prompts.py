"""The ways of prompting that were tried on validation: for the terminal, the page and the model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.reports.text import as_text, count, metric_name, one_line, percent, plural

Record = Mapping[str, Any]
CHARACTERS = 600  # of an instruction on the page
SELECTIONS = {
    "nearest": "nearest by words",
    "embedding": "nearest by meaning",
    "fixed": "the same for all",
    "passages": "retrieved",
}


def way_words(way: Record) -> str:
    """A way of prompting in one line, without its instruction's end."""
    shots = ""
    if way.get("k"):
        what = "passage" if way.get("select") == "passages" else "example"
        shots = f"{plural(int(way['k']), what)}, {SELECTIONS.get(str(way.get('select')), way.get('select'))}, "
    return f"{shots}“{one_line(str(way.get('instruction') or ''), 50)}”"


def by_system(trials: Iterable[Record]) -> dict[str, list[Record]]:
    """The trials of each system, the one that is used first, then in the order of their values."""
    found: dict[str, list[Record]] = {}
    for trial in trials:
        found.setdefault(str(trial["system"]), []).append(trial)
    return {name: sorted(rows, key=_rank) for name, rows in found.items()}


def _rank(trial: Record) -> tuple[float, float]:
    # A stable sort: of equals the one that was tried first comes first, as in the choice itself.
    return -float(trial["value"]), float(trial["prompt_tokens"])


def _cells(trial: Record, limit: int) -> tuple[str, ...]:
    return (
        str(trial["k"] or "–"),
        SELECTIONS.get(str(trial["select"]), "–"),
        as_text(trial["instruction"], limit),
        percent(trial["value"]),
        count(trial["prompt_tokens"]),
    )


HEADINGS = ("Shown", "Chosen", "Instruction")


def prompts_view(trials: Iterable[Record]) -> RenderableType:
    """For the terminal: a table for each system; the first row is used."""
    parts: list[RenderableType] = []
    for name, rows in by_system(trials).items():
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for heading in (*HEADINGS, metric_name(str(rows[0]["metric"])), "Prompt\ntokens"):
            table.add_column(heading, justify="left" if heading in HEADINGS[1:] else "right", overflow="fold")
        for place, row in enumerate(rows):
            table.add_row(*(Text(cell) for cell in _cells(row, 120)), style="" if place else "bold")
        parts += [Text(heading_words(name, rows), style="bold"), table]
    return Group(*parts)


def heading_words(name: str, rows: Sequence[Record]) -> str:
    """What the table of a system is."""
    asked = plural(int(rows[0]["examples"]), "validation example")
    return f"{one_line(name, 40)}: {plural(len(rows), 'way')} of prompting tried on {asked}; the first is used"


def prompts_context(trials: Sequence[Record]) -> list[dict[str, Any]]:
    """For the page: of each system its name, the metric, and rows of cells."""
    return [
        {
            "name": name,
            "heading": heading_words(name, rows),
            "metric": metric_name(str(rows[0]["metric"])),
            "rows": [_cells(row, CHARACTERS) for row in rows],
        }
        for name, rows in by_system(trials).items()
    ]


def prompts_sentences(trials: Sequence[Record]) -> list[str]:
    """For the model card: one sentence a system."""
    found = []
    for name, rows in by_system(trials).items():
        best, worst = rows[0], rows[-1]
        metric = metric_name(str(best["metric"]))
        found.append(
            f"{name}: {plural(len(rows), 'way')} of prompting tried on "
            f"{plural(int(best['examples']), 'validation example')}, {metric} from {percent(worst['value'])} to "
            f"{percent(best['value'])}; used is {way_words(best)}"
        )
    return found
