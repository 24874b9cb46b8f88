"""What the commands show: records in, rich renderables out. Plain text: `terminal.to_text(view)`.

Every function also takes plain dicts as they stand in the run folder. Foreign text goes through
`text.clean` and rich's `Text`, so that neither escape codes nor [markup] in it mean anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from burnish.errors import MISSING, BurnishError, ConfigError, DataError, Problem, shorten
from burnish.evaluation.looks import level_words
from burnish.records import DataReport, Evaluation, Finding, Forgetting, Paired, Verdict
from burnish.reports.choices import pair_facts
from burnish.reports.hosted import per_1000
from burnish.reports.summary import class_counts, pick_paired, token_facts, token_histogram
from burnish.reports.text import (
    as_dict,
    as_text,
    clean,
    count,
    cut_noted,
    metric_name,
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
PLACES = 5  # places shown of a finding
EIGHTHS = " ▏▎▍▌▋▊▉█"


def _say(value: object, style: str = "", limit: int = 300) -> Text:
    return Text(as_text(value, limit), style=style)


def _table(*headings: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


class Listing:
    """Rows of text: a table where it fits, else a block for each row. Nothing is cut: names are there to be typed."""

    def __init__(self, headings: Sequence[str], right: Sequence[str] = ()) -> None:
        self.headings = headings
        self.right = right
        self.rows: list[tuple[Sequence[str | Text], str]] = []

    def add(self, *cells: str | Text, style: str = "") -> None:
        self.rows.append((cells, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _table(*self.headings, right=self.right)
        for cells, style in self.rows:
            table.add_row(*cells, style=style)
        if Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width:
            yield table
            return
        for cells, style in self.rows:
            yield Text(str(cells[0]), style=style or "bold", overflow="fold")
            facts = [f"{' '.join(h.split())}: {cell}" for h, cell in zip(self.headings[1:], cells[1:], strict=True)]
            yield Padding(Text("; ".join(facts), overflow="fold"), (0, 0, 0, 2))


def _bar(part: float, whole: float) -> str:
    """A bar of at most BAR_WIDTH cells in eighths of a cell; anything above nothing is seen."""
    eighths = round(8 * BAR_WIDTH * part / whole) if whole > 0 else 0
    eighths = max(eighths, 1 if part > 0 else 0)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _interval(interval: Record | None) -> str:
    if not interval:
        return "–"
    return f"{percent(interval['value'])} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def data_report_view(report: DataReport | Record) -> RenderableType:
    """Findings, class counts and token lengths."""
    record = as_dict(report)
    parts: list[RenderableType] = [Text(plural(record.get("rows", 0), "row"), style="bold"), Text()]
    parts.append(findings_view(record.get("findings") or ()))
    stats = record.get("stats") or {}
    if facts := pair_facts(stats):
        parts += [*(Text(f"{key}: {value}") for key, value in facts), Text()]
    if classes := class_counts(stats):
        parts += [
            Text("1 class" if len(classes) == 1 else f"{len(classes):,} classes", style="bold"),
            _bars(classes, limit=20),
            Text(),
        ]
    if bins := token_histogram(stats):
        rows = [(f"{low:,}–{high:,}" if high > low else f"{low:,}", number) for low, high, number in bins]
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
            *(Text(f"\n{one_line(finding[part])}", style="dim") for part in ("why", "advice") if finding.get(part)),
        )
        if places:
            places = places[:PLACES]
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
    pairs = [as_dict(pair) for pair in paired]
    headings = [
        f"{metric_name(primary)}\n95% interval",
        f"{one_line(candidate, 20)} minus\nthis, points",
        "p",
        "Time an\nexample",
        "Prompt\ntokens",
    ]
    paid = any(per_1000(record) for record in records.values())
    headings += ["USD for\n1,000"] if paid else []
    listing = Listing(["System", *headings], right=headings)
    for name, record in records.items():
        pair = pick_paired(pairs, candidate, name, primary)
        gap = f"{points(pair['difference'])} [{points(pair['low'])}, {points(pair['high'])}]" if pair else "–"
        listing.add(
            one_line(name, 24),
            _interval(record.get("metrics", {}).get(primary)),
            gap,
            p_value(pair["p_value"]) if pair else "–",
            seconds(record.get("seconds_per_example")),
            count(record.get("prompt_tokens")),
            *([per_1000(record) or "–"] if paid else []),
            style="bold green" if name == candidate else "",
        )
    others = [name for name in names if name != primary]
    return Group(listing, _other_metrics(records, others, candidate)) if others else Group(listing)


def _other_metrics(records: Mapping[str, Record], names: Sequence[str], candidate: str) -> RenderableType:
    headings = [metric_name(name) for name in names]
    listing = Listing(["Other metrics", *headings], right=headings)
    for system, record in records.items():
        metrics = record.get("metrics", {})
        cells = [percent(metrics[name]["value"]) if name in metrics else "–" for name in names]
        listing.add(one_line(system, 24), *cells, style="bold green" if system == candidate else "")
    return listing


def forgetting_view(forgetting: Forgetting | Record) -> RenderableType:
    """General questions before and after tuning."""
    record = as_dict(forgetting)
    gap = f"{points(record['difference'])} [{points(record['low'])}, {points(record['high'])}]"
    headings = ["Before\n95% interval", "After\n95% interval", "After minus\nbefore, points", "p", "Lost", "Gained"]
    listing = Listing([f"{count(record['questions'])} general questions", *headings], right=headings)
    listing.add(
        one_line(str(record["probe"]), 40),
        _interval(record["before"]),
        _interval(record["after"]),
        gap,
        p_value(record["p_value"]),
        count(record["lost"]),
        count(record["gained"]),
    )
    return Group(listing, Text(f"guessing reaches {percent(record['chance'])}", style="dim"))


def probe_view(found: Record) -> RenderableType:
    """One model's answers to general questions: `model`, `probe`, `questions`, `chance`, `right` (an interval)."""
    right = as_dict(found["right"])
    headings = ["Questions", "Right\n95% interval", "Guessing"]
    listing = Listing(["Model", "Probe", *headings], right=headings)
    listing.add(
        one_line(str(found["model"]), 120),
        one_line(str(found["probe"]), 40),
        count(found["questions"]),
        _interval(right),
        percent(found["chance"]),
    )
    return Group(listing)


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
    body.append(
        f"\nThe sealed test has been looked at {plural(record.get('looks', 0), 'time')}; differences are judged by "
        f"{level_words(record.get('level', 0.95))} intervals.",
        style="dim",
    )
    title = Text(
        f" {'✓ SHIP' if ship else '■ HOLD'}: {one_line(str(record.get('candidate', '')), 60)} ", style="bold"
    )
    style = "green" if ship else "yellow"
    return Panel(body, title=title, title_align="left", border_style=style, box=ROUNDED, padding=(1, 2), expand=False)


def runs_view(runs: Iterable[object]) -> RenderableType:
    """All runs, in the order given (`runs.RunSummary` or dicts with its fields). An id is never cut: it is typed."""
    records = [as_dict(run) for run in runs]
    if not records:
        return Text("no runs here yet", style="dim")
    listing = Listing(["Run", "Status", "Verdict", "Result", "Took"], right=("Took",))
    for run in records:
        verdict = one_line(str(run.get("verdict") or "–"), 20)
        value = run.get("value")
        result = f"{metric_name(str(run.get('metric') or ''))} {percent(value)}".strip() if value is not None else "–"
        listing.add(
            one_line(str(run.get("run_id", "?")), 200),
            one_line(str(run.get("status") or "?"), 20),
            Text(verdict, style={"ship": "green", "hold": "yellow"}.get(verdict, "dim")),
            one_line(result, 80),
            seconds(run.get("seconds")),
        )
    return Group(listing)


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
        more = ["Points"] if metrics else []
        table = _table(*headings, *more, right=more)
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
    headings = ["Model", "Parameters", "Context", "Licence", "Languages", "About"]
    listing = Listing(headings, right=("Parameters", "Context"))
    for model in map(as_dict, models):
        size = model.get("parameters")
        listing.add(
            one_line(str(model["name"]), 120),
            f"{size / 1e6:,.0f} M" if size else "–",
            count(model.get("context")),
            *(one_line(str(model.get(key) or "–"), 200) for key in ("licence", "languages", "about")),
        )
    return Group(listing)


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
    if isinstance(error, ConfigError) and len(error.problems) == 1 and error.problems[0].got:
        grid.add_row("  got", Text(one_line(error.problems[0].got, 200)))
    if (isinstance(error, DataError) and error.problems) or (isinstance(error, ConfigError) and error.problems[1:]):
        parts += [Text(), *(_problem(problem) for problem in error.problems)]
        if (hidden := getattr(error, "count", 0) - len(error.problems)) > 0:
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
