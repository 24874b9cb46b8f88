"""What the commands show: records in, rich renderables out. Plain text: `terminal.to_text(view)`.

Every function also takes plain dicts as they stand in the run folder. Foreign text goes through
`text.clean` and rich's `Text`, so that neither escape codes nor [markup] in it mean anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from burnish.errors import MISSING, BurnishError, DataError, Problem, shorten
from burnish.records import DataReport, Evaluation, Finding, Paired, Verdict
from burnish.reports.summary import class_counts, pick_paired, token_facts, token_histogram
from burnish.reports.text import (
    as_dict,
    as_text,
    clean,
    count,
    cut_noted,
    metric_name,
    moment,
    one_line,
    p_value,
    percent,
    plural,
    points,
    seconds,
)

Record = Mapping[str, Any]
SEVERITIES = {"error": ("✗ error", "bold red"), "warning": ("! warning", "yellow"), "info": ("· info", "dim")}
BAR_WIDTH = 30
EIGHTHS = " ▏▎▍▌▋▊▉█"


def _say(value: object, style: str = "", limit: int = 300) -> Text:
    return Text(as_text(value, limit), style=style)


def _table(*headings: str, right: Sequence[str] = (), **options: Any) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, **options)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=heading in right)
    return table


def _bar(part: float, whole: float) -> str:
    """A bar of at most BAR_WIDTH cells in eighths of a cell; anything above nothing is seen."""
    eighths = round(8 * BAR_WIDTH * part / whole) if whole > 0 else 0
    eighths = max(eighths, 1 if part > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _interval(interval: Record) -> str:
    return f"{percent(interval['value'])}  ({percent(interval['low'])} to {percent(interval['high'])})"


def data_report_view(report: DataReport | Record) -> RenderableType:
    """Findings, class counts and token lengths."""
    record = as_dict(report)
    parts: list[RenderableType] = [Text(plural(record.get("rows", 0), "row"), style="bold"), Text()]
    parts.append(findings_view(record.get("findings") or ()))
    stats = record.get("stats") or {}
    if classes := class_counts(stats):
        parts += [Text(f"{len(classes):,} classes", style="bold"), _bars(classes, limit=20), Text()]
    if bins := token_histogram(stats):
        rows = [(f"{low:,}–{high:,}", number) for low, high, number in bins]
        parts += [Text("Length of the examples in tokens", style="bold"), _bars(rows, limit=40)]
        parts += [Text(f"  {key.lower()} {value}", style="dim") for key, value in token_facts(stats)]
    return Group(*parts)


def findings_view(findings: Iterable[Finding | Record]) -> RenderableType:
    """What the data check found, the gravest first."""
    records = sorted(
        (as_dict(finding) for finding in findings), key=lambda item: list(SEVERITIES).index(item["severity"])
    )
    if not records:
        return Text("✓ nothing to complain about\n", style="green")
    grid = Table.grid(padding=(0, 2))
    for finding in records:
        mark, style = SEVERITIES[finding["severity"]]
        places = [f"{row['file']}:{row['line']}" for row in finding.get("rows") or ()]
        body = Text.assemble(
            _say(finding["message"]),
            Text(f"\n{one_line(finding['advice'])}" if finding.get("advice") else "", style="dim"),
        )
        if places:
            more = finding["count"] - len(places)
            tail = f" and {more:,} more" if more > 0 else ""
            body.append(f"\n{one_line(', '.join(places), 300)}{tail}", style="dim cyan")
        grid.add_row(Text(mark, style=style), body)
    return Group(grid, Text())


def _bars(rows: Sequence[tuple[str, int]], limit: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(max_width=40, overflow="ellipsis", no_wrap=True)
    grid.add_column(justify="right")
    most = max((number for _, number in rows), default=0)
    for name, number in rows[:limit]:
        grid.add_row(_say(name, limit=60), count(number), Text(_bar(number, most), style="cyan"))
    if len(rows) > limit:
        rest = sum(number for _, number in rows[limit:])
        grid.add_row(Text(f"and {len(rows) - limit:,} more", style="dim"), count(rest), "")
    return Padding(grid, (0, 0, 0, 2))


def systems_view(
    systems: Mapping[str, Evaluation | Record],
    paired: Iterable[Paired | Record] = (),
    *,
    metric: str | None = None,
    candidate: str = "tuned",
) -> RenderableType:
    """All systems on the same examples; the candidate is highlighted.

    metric: the goal's metric (default: the first one). Differences are candidate minus that system.
    """
    records = {name: as_dict(system) for name, system in systems.items()}
    names = list(dict.fromkeys(name for record in records.values() for name in record.get("metrics", {})))
    primary = metric if metric and metric in names else (names[0] if names else "")
    others = [name for name in names if name != primary]
    pairs = [as_dict(pair) for pair in paired]
    headings = ["System", f"{metric_name(primary)} (95% interval)", f"{candidate} minus this, points", "p"]
    numbers = [metric_name(name) for name in others] + ["s/example", "prompt tokens"]
    table = _table(*headings, *numbers, right=[*headings[1:], *numbers])
    for name, record in records.items():
        metrics = record.get("metrics", {})
        pair = pick_paired(pairs, candidate, name, primary)
        gap = f"{points(pair['difference'])}  ({points(pair['low'])} to {points(pair['high'])})" if pair else "–"
        table.add_row(
            _say(name),
            _interval(metrics[primary]) if primary in metrics else "–",
            gap,
            p_value(pair["p_value"]) if pair else "–",
            *(percent(metrics[other]["value"]) if other in metrics else "–" for other in others),
            seconds(record.get("seconds_per_example")),
            count(record.get("prompt_tokens")),
            style="bold green" if name == candidate else "",
        )
    return table


def verdict_view(verdict: Verdict | Record) -> RenderableType:
    """Ship or hold, why, and what to try next."""
    record = as_dict(verdict)
    ship = record["decision"] == "ship"
    body = Text()
    for reason in record.get("reasons") or ():
        body.append_text(Text.assemble(("• ", "bold"), one_line(reason), "\n"))
    if record.get("advice"):
        body.append("\nWhat to try next\n", style="bold")
        for advice in record["advice"]:
            body.append_text(Text.assemble("→ ", one_line(advice), "\n"))
    body.append(f"\nThe sealed test has been looked at {plural(record.get('looks', 0), 'time')}.", style="dim")
    title = Text(
        f" {'✓ SHIP' if ship else '■ HOLD'}: {one_line(str(record.get('candidate', '')), 60)} ", style="bold"
    )
    style = "green" if ship else "yellow"
    return Panel(body, title=title, title_align="left", border_style=style, box=ROUNDED, padding=(1, 2), expand=False)


def runs_view(runs: Iterable[Record]) -> RenderableType:
    """All runs, in the order given: run_id, status, verdict, metric, value, seconds, created."""
    table = _table("Run", "Status", "Verdict", "Result", "Took", "Started", right=("Took",))
    for run in map(as_dict, runs):
        verdict = str(run.get("verdict") or "–")
        value = run.get("value")
        result = f"{metric_name(str(run.get('metric') or ''))} {percent(value)}".strip() if value is not None else "–"
        table.add_row(
            _say(run.get("run_id", "?")),
            _say(run.get("status") or "?"),
            Text(verdict, style={"ship": "green", "hold": "yellow"}.get(verdict, "dim")),
            result,
            seconds(run.get("seconds")),
            moment(run.get("created")) or "–",
        )
    return table if table.row_count else Text("no runs here yet", style="dim")


def diff_view(name_a: str, name_b: str, diff: object) -> RenderableType:
    """What two runs do not share: a `runs.RunDiff`, or a mapping of section -> {dotted name: (in a, in b)}.

    None is shown as missing. In the section `metrics` every value is shown, with the difference in points.
    """
    parts: list[RenderableType] = []
    for section, differences in as_dict(diff).items():
        if not differences:
            continue
        metrics = section == "metrics"
        headings = [section.capitalize(), one_line(name_a, 60), one_line(name_b, 60)]
        table = _table(*headings, *(["Points"] if metrics else []), right=("Points",))
        for key, (left, right) in differences.items():
            if metrics:
                known = isinstance(left, int | float) and isinstance(right, int | float)
                gap = points(right - left) if known else "–"
                table.add_row(_say(key), percent(left), percent(right), gap)
            else:
                table.add_row(_say(key), _side(left, "red"), _side(right, "green"))
        parts.append(table)
    return Group(*parts) if parts else Text("no differences")


def _side(value: object, style: str) -> Text:
    return Text("missing", style="dim") if value is None else _say(value, style)


def tokens_view(pieces: Iterable[tuple[str, bool]], *, plain: bool = False) -> Text:
    """Rendered tokens, (text, labelled) each: what the model learns to write stands out.

    In colour, labelled tokens are bold green and neighbours differ in underlining; plain puts each labelled
    token in ⟦ ⟧, so that the mask survives a pipe.
    """
    view = Text()
    for index, (piece, labelled) in enumerate(pieces):
        text = clean(piece)
        if plain:
            view.append(f"⟦{text}⟧" if labelled else text)
        else:
            shade = "bold green" if labelled else "dim"
            view.append(text, style=f"{shade} underline" if index % 2 else shade)
    return view


def models_view(models: Iterable[object]) -> RenderableType:
    """The catalogue: name, parameters, context, licence, languages, about."""
    table = _table("Model", "Parameters", "Context", "Licence", "Languages", "About", right=("Parameters", "Context"))
    for model in map(as_dict, models):
        size = model.get("parameters")
        table.add_row(
            _say(model["name"], "bold"),
            f"{size / 1e6:,.0f} M" if size else "–",
            count(model.get("context")),
            _say(model.get("licence") or "–"),
            _say(model.get("languages") or "–"),
            _say(model.get("about") or ""),
        )
    return table


def error_view(error: BurnishError) -> RenderableType:
    """What is wrong, the value, where, the fix, and the bad rows."""
    head = Text.assemble(("✗ ", "bold red"), (cut_noted(clean(error.what), 2000), "bold"))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if error.where:
        grid.add_row("  where", Text(one_line(error.where, 500), style="cyan"))
    if error.got is not MISSING:
        grid.add_row("  got", Text(clean(shorten(error.got))))
    if error.fix:
        grid.add_row("  fix", Text(cut_noted(clean(error.fix), 2000), style="green"))
    parts: list[RenderableType] = [head, grid]
    if isinstance(error, DataError) and error.problems:
        parts += [Text(), *(_problem(problem) for problem in error.problems)]
        if (hidden := error.count - len(error.problems)) > 0:
            parts.append(Text(f"  … and {plural(hidden, 'more bad row')}", style="dim"))
    return Group(*parts)


def _problem(problem: Problem) -> Text:
    got = f" (got {one_line(problem.got, 200)})" if problem.got else ""
    return Text.assemble(
        "  ",
        (one_line(problem.where, 300), "cyan"),
        f"  {one_line(problem.what, 500)}{got}\n",
        ("      fix: ", "dim"),
        (one_line(problem.fix, 500), "green"),
    )
