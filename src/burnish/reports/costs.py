"""What `burnish cost` shows: tables, a break-even chart in plain text, and a page with the chart as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.advice.cost_report import CostReport, ServingCost, TrainingCost
from burnish.advice.costs import BreakEven, Money, total_after
from burnish.reports.curves import Line, lines_plot
from burnish.reports.html import render_page
from burnish.reports.text import count, one_line, seconds
from burnish.runs import write_text

CHART = (60, 12)  # columns and lines of the plain text chart
POINTS = 120


def money(value: float) -> str:
    """USD with as many digits as it needs: 0.004 -> 0.0040, 1234.5 -> 1,234."""
    if value == 0:
        return "0"
    sign = "−" if value < 0 else ""
    size = abs(value)
    digits = 0 if size >= 100 else 2 if size >= 0.1 else min(6, 2 - math.floor(math.log10(size)))
    return f"{sign}{size:,.{digits}f}"


def range_of(amount: Money) -> str:
    """A range where sources differ, else nothing."""
    same = math.isclose(amount.low, amount.high, rel_tol=1e-9, abs_tol=1e-12)
    return "" if same else f"{money(amount.low)} to {money(amount.high)}"


def training_cells(one: TrainingCost) -> list[str]:
    """Where, how long, USD, range, how known."""
    return [one.where, seconds(one.seconds), money(one.cost.value), range_of(one.cost), one.how]


def serving_cells(one: ServingCost) -> list[str]:
    """System, where, tokens in and out, USD for 1,000 requests, and a day."""
    cost = "–" if one.per_1000 is None else money(one.per_1000.value)
    spread = "" if one.per_1000 is None else range_of(one.per_1000)
    day = money(one.per_day) if one.per_day else ""
    name = one_line(one.system, 40)
    return [name, one.where, f"{one.prompt_tokens:,.0f}", f"{one.completion_tokens:,.0f}", cost, spread, day]


def break_even_words(one: BreakEven, volume: float | None) -> str:
    """One sentence."""
    name = one_line(one.baseline, 40)
    if one.saving_per_1000 == 0 and not one.saving_per_day:
        return f"Against {name}: 1,000 requests cost the same, so neither saves anything."
    head = f"Against {name}: {money(one.saving_per_1000)} USD saved on 1,000 requests"
    if one.requests is not None:
        head += f", {money(one.first_cost)} USD are back after {count(math.ceil(one.requests))} requests"
    elif one.saving_per_1000 <= 0:
        more = money(-one.saving_per_1000)
        return f"Against {name}: 1,000 requests cost {more} USD more: never paid back."
    if volume is not None:
        if one.days is None:
            head += f"; never at {volume:,.0f} a day"
        else:
            head += f", {one.days:,.1f} days at {volume:,.0f} a day"
    if one.retrain_days and one.lasts is not None:
        kept = "lasts" if one.lasts else "does not last"
        least = (
            "no volume is enough" if one.least_per_day is None else f"from {one.least_per_day:,.0f} requests a day on"
        )
        head += f". Retraining every {one.retrain_days:g} days costs {money(one.retraining)} USD: "
        head += f"the saving {kept} ({least})"
    return f"{head}."


def _each(minutes: float) -> str:
    return f"{minutes:g} minute{'' if minutes == 1 else 's'} each"


def _table(title: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for number, heading in enumerate(title):
        table.add_column(heading, justify="left" if number in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


TRAINING = ("training at", "time", "USD", "range", "")
SERVING = ("system", "where", "tokens in", "out", "USD for 1,000", "range", "USD a day")


def cost_view(report: CostReport) -> RenderableType:
    """For the terminal."""
    head = Text.assemble(
        (one_line(report.name, 80), "bold"),
        f"  {report.rows:,} rows, {report.tokens:,.0f} tokens an epoch, {report.epochs:g} epochs",
    )
    people = (
        f"Data: {report.labelled_rows:,} rows, {_each(report.minutes_per_row)}: {money(report.preparation.value)} USD"
    )
    parts: list[RenderableType] = [
        head,
        _table(TRAINING, [training_cells(one) for one in report.training], (0, 4)),
        Text(people),
        _table(SERVING, [serving_cells(one) for one in report.serving], (0, 1)),
    ]
    if report.break_even:
        parts.append(
            Text(f"Break-even of {report.candidate}, data and training (at {report.train_at}) counted", "bold")
        )
        parts += [Text(break_even_words(one, report.requests_per_day)) for one in report.break_even]
        parts.append(Text("Training alone, for rows that are there already", "bold"))
        parts += [Text(break_even_words(one, report.requests_per_day)) for one in report.break_even_without_data]
    if lines := chart_lines(report):
        parts += [Text(), Text(text_chart(lines))]
    parts += [Text("· " + one_line(warning, 400), "dim") for warning in report.warnings]
    return Group(*parts)


def chart_lines(report: CostReport) -> list[Line]:
    """USD spent over days by each system, with training and data for the candidate; empty without a volume."""
    volume = report.requests_per_day
    own = next((one for one in report.serving if one.system == report.candidate), None)
    if volume is None or not report.break_even or own is None or own.per_1000 is None:
        return []
    first = report.break_even[0]
    longest = max([one.days for one in report.break_even if one.days is not None] or [365.0])
    end = min(3650.0, max(7.0, 1.6 * longest, 2.2 * (first.retrain_days or 0.0)))
    days = [end * step / POINTS for step in range(POINTS + 1)]
    lines = []
    for one in report.serving:
        if one.per_1000 is None:
            continue
        a_day = volume / 1000 * one.per_1000.value + one.per_day
        if one is own:
            made, again, every = first.first_cost, first.retraining, first.retrain_days
            points = [(day, total_after(day, made, a_day, again, every)) for day in days]
        else:
            points = [(day, day * a_day) for day in days]
        lines.append(Line(one.system, points, strong=one is own))
    return lines


def text_chart(lines: Sequence[Line], size: tuple[int, int] = CHART) -> str:
    """Lines as letters on a grid of characters; the strong one is drawn last, so that it is seen."""
    columns, rows = size
    right = max(x for line in lines for x, _ in line.points)
    top = max(y for line in lines for _, y in line.points) or 1.0
    grid = [[" "] * columns for _ in range(rows)]
    marks = _marks(lines)
    for line, mark in sorted(zip(lines, marks, strict=True), key=lambda pair: pair[0].strong):
        for x, y in line.points:
            column = round((columns - 1) * x / right)
            row = rows - 1 - round((rows - 1) * max(0.0, y) / top)
            grid[row][column] = mark
    label = max(len(money(top)), 1)
    out = [f"USD spent, {', '.join(f'{m} {one_line(line.name, 30)}' for line, m in zip(lines, marks, strict=True))}"]
    for number, cells in enumerate(grid):
        left = money(top) if number == 0 else "0" if number == rows - 1 else ""
        out.append(f"{left:>{label}} │{''.join(cells).rstrip()}")
    out.append(f"{'':>{label}} └{'─' * columns}")
    out.append(f"{'':>{label}}  0{f'{right:,.0f} days':>{columns - 1}}")
    return "\n".join(out)


def _marks(lines: Sequence[Line]) -> list[str]:
    """One character for each line: * for the strong one, else the first free letter of its name or the alphabet."""
    marks: list[str] = []
    for line in lines:
        letters = [letter for letter in line.name.lower() if letter.isascii() and letter.isalpha()]
        free = [letter for letter in [*letters, *"abcdefghijklmnopqrstuvwxyz"] if letter not in marks]
        marks.append("*" if line.strong else free[0] if free else "?")
    return marks


def write_cost_page(report: CostReport, path: Path) -> None:
    """One page without scripts: the chart, the tables, every price with its source and date."""
    write_text(path, render_page("cost.html.j2", page_context(report)))


def page_context(report: CostReport) -> dict[str, Any]:
    """Everything the template says."""
    lines = chart_lines(report)
    volume = report.requests_per_day
    chart = (
        lines_plot(lines, x_name="days", y_name="USD", label="USD spent over time", unit=money)
        if lines
        else Markup("")
    )
    prices = [
        [
            one.item,
            one.provider,
            f"{one.value:g}",
            one.unit,
            one.date,
            one.read,
            one.source,
            one.ends or "",
            one.note or "",
        ]
        for quote in report.prices
        for one in sorted(quote.sources, key=lambda one: one != quote.price)
    ]
    return {
        "title": report.name,
        "date": report.date,
        "facts": f"{report.rows:,} rows, {report.tokens:,.0f} tokens an epoch, {report.epochs:g} epochs",
        "chart": chart,
        "volume": volume,
        "with_data": [break_even_words(one, volume) for one in report.break_even],
        "without_data": [break_even_words(one, volume) for one in report.break_even_without_data],
        "training_headings": TRAINING,
        "training": [training_cells(one) for one in report.training],
        "preparation": money(report.preparation.value),
        "labelled": count(report.labelled_rows),
        "each": _each(report.minutes_per_row),
        "serving_headings": SERVING,
        "serving": [serving_cells(one) for one in report.serving],
        "prices": prices,
        "warnings": report.warnings,
    }
