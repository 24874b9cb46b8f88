"""What report, model card and terminal say of slices of the sealed test."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from burnish.evaluation.looks import level_words
from burnish.reports import plots
from burnish.reports.rundata import Record, RunData
from burnish.reports.text import count, metric_name, one_line, percent, plural, points
from burnish.reports.views import Listing

PLOTTED = 14  # slices of the plot: the worst ones
SHOWN = 12  # rows of the table that are not folded away
IN_TERMINAL = 12
WORDS = {"worse": "worse", "better": "better", "unclear": ""}


def slices_context(data: RunData) -> dict[str, Any] | None:
    """Plot and table, the slices that got worse first."""
    found = data.slices
    if not found or not found["slices"]:
        return None
    worst = found["slices"][:PLOTTED]
    rows = [
        plots.IntervalRow(_name(one), one["difference"], one["low"], one["high"], one["change"] == "worse")
        for one in worst
    ]
    return {
        "candidate": found["candidate"],
        "baseline": found["baseline"],
        "sentence": slices_sentence(found),
        "worse": any(one["change"] == "worse" for one in found["slices"]),
        "plot": plots.difference_plot(
            rows, margin=None, label=f"Advantage of {found['candidate']} over {found['baseline']} by slice, in points"
        ),
        "plotted": len(worst),
        "rows": [_row(one) for one in found["slices"]],
        "shown": SHOWN,
    }


def slices_sentence(found: Record) -> str:
    """How many slices got worse, of how many, and what was left out."""
    slices = found["slices"]
    worse = [one for one in slices if one["change"] == "worse"]
    better = sum(one["change"] == "better" for one in slices)
    told = "none got worse" if not worse else f"{len(worse)} got worse ({', '.join(_name(one) for one in worse[:5])})"
    small = (
        f" {plural(found['small'], 'slice')} with fewer than {found['fewest']} examples "
        f"{'is' if found['small'] == 1 else 'are'} not compared."
        if found["small"]
        else ""
    )
    return (
        f"Of {plural(len(slices), 'slice')} of the sealed test {told} than with {found['baseline']} and {better} got "
        f"better, corrected for their number (Holm); of the others it cannot be told.{small}"
    )


def slices_view(found: Record) -> RenderableType:
    """The worst slices; all of them are in the report."""
    headings = [
        "Examples",
        one_line(found["candidate"], 20),
        one_line(found["baseline"], 20),
        "Difference, points",
        "",
    ]
    listing = Listing(["Slice", *headings], right=headings[:-1])
    for one in found["slices"][:IN_TERMINAL]:
        listing.add(
            one_line(_name(one), 60),
            count(one["examples"]),
            percent(one["value"]),
            percent(one["baseline"]),
            f"{points(one['difference'])} [{points(one['low'])}, {points(one['high'])}]",
            WORDS[one["change"]],
            style="bold yellow" if one["change"] == "worse" else "",
        )
    return Group(listing, Text(slices_sentence(found), style="dim"))


def _name(one: Record) -> str:
    return f"{one['by']}: {one['name']}"


def _row(one: Record) -> dict[str, Any]:
    return {
        "name": _name(one),
        "examples": one["examples"],
        "metric": metric_name(one["metric"]),
        "value": percent(one["value"]),
        "baseline": percent(one["baseline"]),
        "difference": points(one["difference"]),
        "range": f"{points(one['low'])} to {points(one['high'])}",
        "level": level_words(one["level"]),
        "change": WORDS[one["change"]],
        "worse": one["change"] == "worse",
    }
