"""Versions of data for the terminal: what happened between two, and where a run's examples came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.data.lineage import Cleanings, FileState, Traced
from burnish.data.versions import Change, Version, VersionDiff, VersionRow
from burnish.reports.text import count, one_line, plural

SHOWN = 5


def diff_view(before: Version, after: Version, found: VersionDiff) -> RenderableType:
    """Counts, and the first rows of each kind of change."""
    parts: list[RenderableType] = []
    for mark, version in (("a", before), ("b", after)):
        about = f"{plural(len(version.rows), 'row')}, {version.fingerprint[:12]}"
        parts.append(Text.assemble((f"{mark}  {one_line(version.name, 80)}", "bold"), f"  {about}"))
    parts.append(Text())
    if found.equal:
        return Group(*parts, Text("✓ the same rows in the same parts", style="green"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right")
    kinds = (
        (found.same, "the same", ""),
        (len(found.added), "added", _places(found.added)),
        (len(found.removed), "removed", _places(found.removed)),
        (len(found.changed), "with another answer", _pairs(found.changed)),
        (len(found.moved), "moved", ", ".join(f"{number:,} {way}" for way, number in found.moves().items())),
    )
    for number, words, places in kinds:
        if number:
            grid.add_row(count(number), words, Text(one_line(places, 300), style="dim cyan"))
    return Group(*parts, grid)


def lineage_view(
    name: str,
    files: Sequence[FileState],
    steps: Sequence[str],
    rows: Sequence[VersionRow],
    found: Sequence[Traced] | None,
) -> RenderableType:
    """The files, what was done with their rows, and the rows asked for (else how many each part took from each)."""
    marks = {"unchanged": ("✓", "green"), "changed": ("!", "yellow"), "missing": ("✗", "yellow")}
    grid = Table.grid(padding=(0, 2))
    for file in files:
        mark, style = marks[file.now]
        own = Counter(row.part for row in rows if row.source.file == file.name)
        taken = ", ".join(f"{number:,} {part or 'rows'}" for part, number in own.items())
        grid.add_row(Text(mark, style=style), one_line(file.name), f"{file.now}, {file.sha256[:12]}", taken)
    parts: list[RenderableType] = [Text(one_line(name, 80), style="bold"), grid, Text()]
    parts += [Text(f"{number}. {one_line(step)}") for number, step in enumerate(steps, 1)]
    if found is not None:
        parts.append(Text())
        parts += [Text(line, style=style) for traced in found for line, style in _way(traced)]
    return Group(*parts)


def _way(traced: Traced) -> Iterator[tuple[str, str]]:
    """The lines on one row, each with its style."""
    row = traced.row
    known = (row.id, row.part, _place(row)) if row else ("dropped when its file was cleaned",)
    yield "  ".join(word for word in known if word), ""
    for origin in traced.origins:
        yield f"  from {origin.source.file}:{origin.source.line}", "dim cyan"
        for change in origin.changes:
            shown = [one_line(text, 120) for text in (change.before, change.after) if text is not None]
            of = f", which repeats {change.repeats}" if change.repeats else ""
            yield f"    {change.action} {change.kind}{of}{': ' if shown else ''}{'  →  '.join(shown)}", "dim"


def cleaning_steps(cleanings: Mapping[str, Cleanings]) -> list[str]:
    """What `burnish check --fix` did before the files were read, in sentences, the first cleaning first."""
    steps = []
    for file, (logs, broken) in cleanings.items():
        if broken:
            lost = logs[-1].file if logs else file
            steps.append(f"{lost} was changed after burnish check --fix wrote it: its rows lead no further back")
        names = [file, *(log.file for log in logs)]
        for at in range(len(logs) - 1, -1, -1):
            done = ", ".join(f"{action} {plural(rows, 'row')}" for action, rows in sorted(logs[at].counts().items()))
            steps.append(f"{names[at]} was cleaned from {names[at + 1]}: {done}")
    return steps


def steps_of(record: Mapping[str, Any], rows: Sequence[VersionRow]) -> list[str]:
    """What was done on the way from files to examples, in sentences. record: run.json."""
    config = record.get("config") or {}
    data, split = config.get("data") or {}, config.get("split") or {}
    sizes = Counter(row.part for row in rows)
    columns = {name: data.get(name) for name in ("text", "target", "weight", "tools") if data.get(name)}
    named = ", ".join(f"{name} from column {column}" for name, column in columns.items())
    steps = [f"read as {data.get('format') or 'auto'}" + (f": {named}" if named else "")]
    given = [part for part in ("validation", "test") if data.get(part)]
    cut = [part for part in ("validation", "test") if part not in given]
    if cut:
        shares = ", ".join(f"{part} {split.get(part)}" for part in cut)
        units = f", rows of one {split['group']} together" if split.get("group") else ""
        steps.append(f"cut from train by the hash of their content: {shares}, seed {config.get('seed')}{units}")
    if given:
        steps.append(f"taken as given: {' and '.join(given)}")
    steps.append(", ".join(f"{number:,} {part}" for part, number in sizes.items()))
    return steps


def _places(rows: Iterable[VersionRow]) -> str:
    every = [f"{row.source.file}:{row.source.line}" for row in rows]
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else "")


def _pairs(changes: Sequence[Change]) -> str:
    every = [f"{_place(change.before)} → {_place(change.after)}" for change in changes]
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else "")


def _place(row: VersionRow) -> str:
    return f"{row.source.file}:{row.source.line}"
