"""What the embedding checks found, for the terminal; and which rows to label next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.inspection.inspect import Inspection
from burnish.inspection.next_labels import Choice
from burnish.inspection.sample import Item
from burnish.reports.row_text import row_text
from burnish.reports.text import count, one_line, percent, plural

SUSPECTS = 10
CLUSTERS = 12
CHOICES = 20
TEXT = 70


def inspection_view(found: Inspection) -> RenderableType:
    """Likely wrong labels with their texts, and the clusters."""
    parts: list[RenderableType] = []
    looked_at = f"{plural(len(found.items), 'different row')} of {count(found.rows)} looked at by their meaning"
    parts += [Text(looked_at, style="bold"), Text()]
    if found.labels is not None and found.labels.suspects:
        parts.append(_suspects(found))
    if found.labels is not None and not found.labels.judged:
        accuracy = percent(found.labels.accuracy)
        parts.append(Text(f"Labels not judged: the probe is right for {accuracy} only", style="dim"))
    clusters = found.clusters
    table = _table(["Cluster", "Rows", "", "A typical row"])
    for cluster in clusters.clusters[:CLUSTERS]:
        thin = "thin" if cluster.thin else ""
        typical = _shown(found.items[cluster.typical].text)
        table.add_row(one_line(row_text(cluster.name, 40)), count(cluster.rows), thin, Text(typical, style="dim"))
    more = len(clusters.clusters) - CLUSTERS
    if more > 0:
        table.add_row(Text(f"and {more} more", style="dim"), "", "", "")
    parts.append(table)
    lonely = len(clusters.edge_cases)
    share = percent(lonely / len(clusters.of))
    parts.append(Text(f"Edge cases: {plural(lonely, 'row')} ({share}) unlike all others", style="dim"))
    return Group(*parts)


def choices_view(chosen: Sequence[Choice], candidates: Sequence[Item], labelled: int) -> RenderableType:
    """The rows to label next, the first ones."""
    about = (
        f"{plural(len(chosen), 'row')} of {count(len(candidates))} to label next, beside {count(labelled)} labelled"
    )
    table = _table(["Place", "Likely", "or", "Text"])
    for choice in chosen[:CHOICES]:
        item = candidates[choice.row]
        place = f"{item.source.file}:{item.source.line}"
        table.add_row(
            Text(place, style="cyan"), one_line(choice.likely, 24), one_line(choice.second, 24), _shown(item.text)
        )
    more = len(chosen) - CHOICES
    tail = [Text(f"and {more:,} more (--out FILE or --json for all)", style="dim")] if more > 0 else []
    return Group(Text(about, style="bold"), table, *tail)


def _suspects(found: Inspection) -> RenderableType:
    table = _table(["Row", "Label", "Likelier", "Text"])
    labels = found.labels
    for suspect in labels.suspects[:SUSPECTS] if labels is not None else ():
        item = suspect.item
        table.add_row(
            Text(f"{item.source.file}:{item.source.line}", style="cyan"),
            one_line(row_text(item.label or "", 24)),
            one_line(row_text(suspect.better, 24)),
            Text(_shown(item.text), style="dim"),
        )
    return table


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "Rows" else "left", overflow="fold")
    return table


def _shown(text: str) -> str:
    return one_line(row_text(text, TEXT))
