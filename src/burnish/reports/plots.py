"""Plots as inline SVG: a few kilobytes each, sharp on paper, the same with scripts off.

Plotly's script would add 4.8 MB to a page that people mail around and would need a script in it. These
plots need neither, which lets the report forbid scripts altogether. Colours come from classes of the page's
style sheet (templates/report.css), so that dark mode and print work; SVG `<title>` gives the tooltips.

Every function returns markup for both a wide and a narrow screen, safe for any text in labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from burnish.reports import svg
from burnish.reports.text import clean, count, cut, percent, points

MOST_NAMED = 16  # rows of a heat map that fit with their names
MAX_POINTS = 400  # of one line; more are thinned out evenly


class IntervalRow(NamedTuple):
    """A value with its interval. strong: the row the plot is about."""

    name: str
    value: float
    low: float
    high: float
    strong: bool = False


class Series(NamedTuple):
    """A line. kind: "validation" and "metric" get markers, "train" is a thin line."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


class Dot(NamedTuple):
    """A point with its tooltip. x: a number, or the index of a category; kind: "done", "pruned" or "best"."""

    x: float
    y: float
    kind: str
    title: str


def interval_plot(rows: Sequence[IntervalRow], *, target: float | None = None, label: str) -> Markup:
    """Values in [0, 1] with their intervals on an axis from 0 to 100%; target: a dashed line."""
    goal = None if target is None else (target, f"goal {percent(target, 0)}")
    axis = _Axis([0.0, 0.25, 0.5, 0.75, 1.0], lambda tick: percent(tick, 0), percent, zero=False)
    return svg.figure(lambda width: _intervals(rows, axis, goal, width), label)


def difference_plot(rows: Sequence[IntervalRow], *, margin: float | None, label: str) -> Markup:
    """Differences in [-1, 1] with their intervals, the line of no difference, and the margin to beat."""
    edges = [0.0, margin or 0.0, *(row.low for row in rows), *(row.high for row in rows)]
    goal = (margin, f"needed {points(margin)}") if margin else None
    axis = _Axis(
        svg.ticks(min(edges), max(edges)),
        lambda tick: points(tick).removesuffix(".0") if tick else "0",
        points,
        zero=True,
    )
    return svg.figure(lambda width: _intervals(rows, axis, goal, width), label)


class _Axis(NamedTuple):
    """marks: where the grid is; tick and value: how numbers are written; zero: draw a solid line at 0."""

    marks: list[float]
    tick: Callable[[float], str]
    value: Callable[[float], str]
    zero: bool


def _intervals(
    rows: Sequence[IntervalRow], axis: _Axis, goal: tuple[float, str] | None, width: int
) -> tuple[list[str], float]:
    """One row a system: on a wide screen name, mark and numbers side by side, on a narrow one the mark below."""
    wide = width == svg.WIDE
    left, right = (150.0, 545.0) if wide else (20.0, width - 20.0)
    top, step = (26.0 if goal else 8.0), (38.0 if wide else 54.0)
    bottom = top + step * len(rows)
    first, last = axis.marks[0], axis.marks[-1]

    def x(value: float) -> float:
        return left + (right - left) * min(1.0, max(0.0, (value - first) / (last - first)))

    # On a narrow screen the lines leave out the text above each mark.
    bands = [(top, bottom)] if wide else [(top + step * i + 25, top + step * (i + 1)) for i in range(len(rows))]
    out = []
    for tick in axis.marks:
        kind = "axis" if axis.zero and tick == 0 else "grid"
        out += [svg.line(x(tick), y1, x(tick), y2, kind) for y1, y2 in bands]
        out.append(svg.text(x(tick), bottom + 18, axis.tick(tick), "small", "middle"))
    if goal is not None:
        at, words = goal
        out += [svg.line(x(at), y1, x(at), y2, "goal") for y1, y2 in bands]
        out.append(svg.line(x(at), top - 8, x(at), top, "goal"))
        room = len(words) * 4.2
        anchor = "start" if x(at) < room else "end" if x(at) > width - room else "middle"
        out.append(svg.text(x(at), top - 12, words, "small strong", anchor))
    for index, row in enumerate(rows):
        middle = top + step * index + (step / 2 if wide else 38.0)
        kind = "strong" if row.strong else ""
        numbers = f"{axis.value(row.value)} ({axis.value(row.low)} to {axis.value(row.high)})"
        if wide:
            out.append(svg.text(left - 14, middle + 5, cut(row.name, 16), kind, "end"))
            out.append(svg.text(right + 16, middle + 5, numbers, f"num {kind}"))
        else:
            out.append(svg.text(4, middle - 18, cut(row.name, 14), kind))
            out.append(svg.text(width - 4, middle - 18, numbers, f"num {kind}", "end"))
        out.append(_whisker(x, row, middle, f"{row.name}: {numbers}"))
    return out, bottom + 26


def _whisker(x: Callable[[float], float], row: IntervalRow, middle: float, title: str) -> str:
    kind = "mark strong" if row.strong else "mark"
    low, high = x(row.low), x(row.high)
    caps = "".join(svg.line(end, middle - 5, end, middle + 5, kind) for end in (low, high))
    return (
        svg.line(low, middle, high, middle, kind)
        + caps
        + svg.dot(x(row.value), middle, 6 if row.strong else 5, kind, title)
    )


def line_plot(
    series: Sequence[Series],
    *,
    x_name: str,
    label: str,
    best: float | None = None,
    share: bool = False,
    diagonal: bool = False,
) -> Markup:
    """Lines over steps (or over confidence). best: the step that was kept. share: the y axis is 0 to 100%."""
    everything = [point for line in series for point in line.points if math.isfinite(point[0] + point[1])]
    if not everything:
        return Markup("")
    xs, ys = [x for x, _ in everything], [y for _, y in everything]
    x_marks = [0.0, 0.25, 0.5, 0.75, 1.0] if diagonal else svg.ticks(min(0.0, min(xs)), max(xs), 5)
    if all(x == int(x) for x in xs):  # steps: no half ones
        x_marks = [x for x in x_marks if x == int(x)] or x_marks
    floor = 0.0 if min(ys) >= 0 and min(ys) < 0.4 * max(ys) else min(ys)
    y_marks = [0.0, 0.25, 0.5, 0.75, 1.0] if share else svg.ticks(floor, max(ys), 4)
    x_high = max(xs) if not diagonal else 1.0

    def draw(width: int) -> tuple[list[str], float]:
        height = 260.0 if width == svg.WIDE else 220.0
        left, right, top, bottom = 50.0, width - 24.0, 18.0, height - 44.0

        def x(value: float) -> float:
            return left + (right - left) * (value - x_marks[0]) / ((x_high - x_marks[0]) or 1.0)

        def y(value: float) -> float:
            return bottom - (bottom - top) * (value - y_marks[0]) / (y_marks[-1] - y_marks[0])

        out = []
        for tick in y_marks:
            out.append(svg.line(left, y(tick), right, y(tick), "grid"))
            out.append(
                svg.text(left - 8, y(tick) + 4, percent(tick, 0) if share else f"{tick:g}", "small num", "end")
            )
        for tick in (tick for tick in x_marks if tick <= x_high):
            name = percent(tick, 0) if diagonal else f"{tick:,.6g}"
            out.append(svg.text(x(tick), bottom + 18, name, "small num", "middle"))
        out.append(svg.text((left + right) / 2, height - 6, x_name, "small", "middle"))
        if diagonal:
            out.append(svg.line(x(0), y(0), x(1), y(1), "goal"))
        if best is not None and x_marks[0] <= best <= x_high:
            out.append(svg.line(x(best), top - 4, x(best), bottom, "goal"))
            anchor = "end" if x(best) > width * 0.7 else "start"
            out.append(svg.text(x(best) + (-6 if anchor == "end" else 6), top + 6, "kept", "small strong", anchor))
        return [*out, *(_curve(line, x, y, share) for line in series)], height

    return svg.figure(draw, label)


def _curve(line: Series, x: Callable[[float], float], y: Callable[[float], float], share: bool) -> str:
    finite = [(a, b) for a, b in line.points if math.isfinite(a + b)]
    stride = max(1, math.ceil(len(finite) / MAX_POINTS))
    kept = finite[::stride]
    if finite and kept[-1] != finite[-1]:
        kept.append(finite[-1])
    path = " ".join(f"{svg.num(x(a))},{svg.num(y(b))}" for a, b in kept)
    out = f'<polyline points="{path}" class="curve {line.kind}"/>'
    if line.kind != "train":
        for a, b in kept:
            value = percent(b) if share else f"{b:.4g}"
            out += svg.dot(x(a), y(b), 4, f"marker {line.kind}", f"{line.name} at {a:,.6g}: {value}")
    return out


def scatter_plot(
    dots: Sequence[Dot],
    *,
    x_name: str,
    y_name: str,
    label: str,
    categories: Sequence[str] = (),
    log: bool = False,
    share: bool = False,
) -> Markup:
    """Points over a number or over categories. log: of x, by its decades; share: y is written in per cent."""
    finite = [dot for dot in dots if math.isfinite(dot.x + dot.y)]
    if not finite:
        return Markup("")
    place: Callable[[float], float] = math.log10 if log else float
    xs, ys = [place(dot.x) for dot in finite], [dot.y for dot in finite]
    low, high = (-0.5, len(categories) - 0.5) if categories else (min(xs), max(xs))
    room = 0.05 * (high - low) or 0.5
    low, high = (low, high) if categories else (low - room, high + room)
    y_marks = svg.ticks(min(ys), max(ys), 4)
    x_marks = _marks(low, high, log, categories)

    def draw(width: int) -> tuple[list[str], float]:
        height = 240.0 if width == svg.WIDE else 220.0
        left, right, top, bottom = 62.0, width - 24.0, 24.0, height - 44.0

        def x(value: float) -> float:
            return left + (right - left) * (value - low) / (high - low)

        def y(value: float) -> float:
            return bottom - (bottom - top) * (value - y_marks[0]) / (y_marks[-1] - y_marks[0])

        out = [svg.text(4, 14, y_name, "small")]
        for tick in y_marks:
            out.append(svg.line(left, y(tick), right, y(tick), "grid"))
            out.append(svg.text(left - 8, y(tick) + 4, percent(tick) if share else f"{tick:g}", "small num", "end"))
        out += [svg.text(x(at), bottom + 18, cut(name, 14), "small num", "middle") for at, name in x_marks]
        out.append(svg.text((left + right) / 2, height - 6, x_name, "small", "middle"))
        for dot in sorted(finite, key=lambda dot: dot.kind == "best"):
            kind = {"pruned": "marker", "best": "mark strong"}.get(dot.kind, "marker metric")
            out.append(svg.dot(x(place(dot.x)), y(dot.y), 6 if dot.kind == "best" else 4, kind, dot.title))
        return out, height

    return svg.figure(draw, label)


def _marks(low: float, high: float, log: bool, categories: Sequence[str]) -> list[tuple[float, str]]:
    """Where the x axis is labelled, with the labels. On a log axis 1, 2 and 5 times each power of ten."""
    if categories:
        return [(float(index), name) for index, name in enumerate(categories)]
    if not log:
        return [(tick, f"{tick:g}") for tick in svg.ticks(low, high, 5) if low <= tick <= high]
    decades = range(math.floor(low), math.ceil(high) + 1)
    marks = [math.log10(factor) + power for power in decades for factor in ((1, 2, 5) if high - low < 2.5 else (1,))]
    return [(mark, f"{10**mark:.3g}") for mark in marks if low <= mark <= high]


def bar_plot(rows: Sequence[tuple[str, float]], *, label: str, unit: Callable[[float], str] = count) -> Markup:
    """Horizontal bars; of more than 25 only the largest 14 and the smallest 8."""
    shown: list[tuple[str, float] | None] = list(rows)
    if len(rows) > 25:
        shown = [*rows[:14], None, *rows[-8:]]
    most = max((value for _, value in rows), default=0) or 1
    longest = max((len(unit(value)) for _, value in rows), default=0)

    def draw(width: int) -> tuple[list[str], float]:
        wide = width == svg.WIDE
        left, step = (230.0 if wide else 128.0), 24.0
        right = width - 16.0 - 8.0 * longest
        out = []
        for index, row in enumerate(shown):
            y = 4 + step * index
            if row is None:
                out.append(svg.text(left - 10, y + 16, f"… {len(rows) - 22:,} more …", "small", "end"))
                continue
            name, value = row
            size = max(2.0 if value > 0 else 0.0, (right - left) * value / most)
            out.append(svg.text(left - 10, y + 16, cut(name, 27 if wide else 14), "small", "end"))
            out.append(svg.rect(left, y + 4, size, step - 8, "bar", f"{name}: {unit(value)}"))
            out.append(svg.text(left + size + 8, y + 16, unit(value), "small num"))
        return out, step * len(shown) + 8

    return svg.figure(draw, label)


def histogram(bins: Sequence[tuple[float, float, int]], *, x_name: str, label: str) -> Markup:
    """Counts of bins; low and high are included."""
    most = max((number for _, _, number in bins), default=0) or 1

    def draw(width: int) -> tuple[list[str], float]:
        height = 190.0
        left, right, top, bottom = 50.0, width - 16.0, 12.0, height - 44.0
        step = (right - left) / max(1, len(bins))
        out = []
        for tick in svg.ticks(0, most, 3):
            y = bottom - (bottom - top) * tick / svg.ticks(0, most, 3)[-1]
            out.append(svg.line(left, y, right, y, "grid"))
            out.append(svg.text(left - 8, y + 4, count(tick), "small num", "end"))
        every = max(1, math.ceil(len(bins) / (10 if width == svg.WIDE else 5)))
        for index, (low, high, number) in enumerate(bins):
            size = (bottom - top) * number / svg.ticks(0, most, 3)[-1]
            size = max(size, 1.5 if number else 0.0)
            tip = f"{low:,.6g} to {high:,.6g}: {number:,}"
            out.append(svg.rect(left + step * index + 1, bottom - size, step - 2, size, "bar", tip))
            if index % every == 0:
                out.append(svg.text(left + step * index, bottom + 18, f"{low:,.6g}", "small num", "middle"))
        out.append(svg.text((left + right) / 2, height - 6, x_name, "small", "middle"))
        return out, height

    return svg.figure(draw, label)


def heat_map(rows: Sequence[str], columns: Sequence[str], matrix: Sequence[Sequence[float]], *, label: str) -> Markup:
    """Rows: the right answer; columns: the answer given. Shade: share of the row. Names up to MOST_NAMED rows."""
    named = len(rows) <= MOST_NAMED

    def draw(width: int) -> tuple[list[str], float]:
        wide = width == svg.WIDE
        side = (190.0 if wide else 96.0) if named else 20.0
        right = (84.0 if wide else 58.0) if named else 8.0  # the last column's name leans over it
        cell = min(44.0, (width - side - right) / max(1, len(columns)))
        longest = max(len(cut(column, 18 if wide else 10)) for column in columns)
        top = 24.0 + (8.0 + 5.8 * longest if named else 0.0)  # 45 degrees: 0.71 of a width of about 8 a character
        out = [svg.text(side, 14, "answer given →", "small")]
        for j, column in enumerate(columns if named else ()):
            x = side + cell * (j + 0.5)
            turn = f'transform="rotate(-45 {svg.num(x)} {svg.num(top - 6)})"'
            name = escape(clean(cut(column, 18 if wide else 10)))
            out.append(f'<text x="{svg.num(x)}" y="{svg.num(top - 6)}" class="t small" {turn}>{name}</text>')
        for i, row in enumerate(matrix):
            y = top + cell * i
            if named:
                out.append(svg.text(side - 8, y + cell / 2 + 4, cut(rows[i], 22 if wide else 10), "small", "end"))
            out += _cells(rows[i], columns, row, side, y, cell, named)
        out.append(svg.rect(side, top, cell * len(columns), cell * len(rows), "frame"))
        return out, top + cell * len(rows) + 8

    return svg.figure(draw, label)


def _cells(
    target: str, columns: Sequence[str], row: Sequence[float], x: float, y: float, cell: float, named: bool
) -> list[str]:
    """One row of a heat map; empty cells are left out."""
    total = sum(row) or 1.0
    out = []
    for j, number in enumerate(row):
        if not number:
            continue
        tip = f"{target} answered as {columns[j]}: {count(number)} of {count(total)}"
        kind = "cell right" if columns[j] == target else "cell wrong"
        shade = f' fill-opacity="{0.18 + 0.82 * number / total:.2f}"'
        out.append(svg.rect(x + cell * j + 0.5, y + 0.5, cell - 1, cell - 1, kind, tip, shade))
        if named and cell >= 15:
            ink = "small num onfill" if number / total > 0.55 else "small num inked"
            out.append(svg.text(x + cell * (j + 0.5), y + cell / 2 + 4, count(number), ink, "middle"))
    return out
