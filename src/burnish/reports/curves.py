"""Two more plots in the style of plots.py: lines with their names at the end, and a learning curve with its band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from burnish.advice.learning_curve import LearningCurve
from burnish.reports import svg
from burnish.reports.text import cut, percent


class Line(NamedTuple):
    """A line by name. strong: the one the plot is about."""

    name: str
    points: Sequence[tuple[float, float]]
    strong: bool = False


def lines_plot(
    lines: Sequence[Line], *, x_name: str, y_name: str, label: str, unit: Callable[[float], str]
) -> Markup:
    """Lines from 0 on, named where they end; names that would touch are moved apart."""
    right = max(x for line in lines for x, _ in line.points)
    x_marks = [mark for mark in svg.ticks(0, right, 5) if mark <= right]
    y_marks = svg.ticks(0, max(y for line in lines for _, y in line.points), 4)

    def draw(width: int) -> tuple[list[str], float]:
        height = 300.0 if width == svg.WIDE else 240.0
        left, end, top, bottom = 64.0, width - (130.0 if width == svg.WIDE else 90.0), 26.0, height - 44.0

        def x(value: float) -> float:
            return left + (end - left) * value / (right or 1.0)

        def y(value: float) -> float:
            return bottom - (bottom - top) * (value - y_marks[0]) / (y_marks[-1] - y_marks[0])

        out = [svg.text(4, 14, y_name, "small")]
        for mark in y_marks:
            out.append(svg.line(left, y(mark), end, y(mark), "grid"))
            out.append(svg.text(left - 8, y(mark) + 4, unit(mark), "small num", "end"))
        out += [svg.text(x(mark), bottom + 18, f"{mark:,.6g}", "small num", "middle") for mark in x_marks]
        out.append(svg.text((left + end) / 2, height - 6, x_name, "small", "middle"))
        names = _apart([(y(line.points[-1][1]), line) for line in lines], 16.0)
        for at, line in names:
            path = " ".join(f"{svg.num(x(a))},{svg.num(y(b))}" for a, b in line.points)
            kind = "metric" if line.strong else "train"
            out.append(f'<polyline points="{path}" class="curve {kind}"/>')
            out.append(svg.text(end + 8, at + 4, cut(line.name, 14), "small strong" if line.strong else "small"))
        return out, height

    return svg.figure(draw, label)


def _apart(names: list[tuple[float, Line]], least: float) -> list[tuple[float, Line]]:
    """Heights of the names, at least so far apart, from the top down."""
    placed: list[tuple[float, Line]] = []
    for height, line in sorted(names, key=lambda pair: pair[0]):
        at = max(height, placed[-1][0] + least) if placed else height
        placed.append((at, line))
    return placed


def learning_curve_plot(
    curve: LearningCurve, *, rows: int, target: float | None = None, label: str = "Learning curve"
) -> Markup:
    """The points, the median curve and its 95% band up to its horizon, over the logarithm of the rows.

    rows: all that there are.
    """
    import math

    first, last = curve.points[0].rows, curve.horizon(rows)
    found = [curve.forecast(row) for row in sorted({round(first * (last / first) ** (i / 40)) for i in range(41)})]
    low = min([one.low for one in found] + [point.value for point in curve.points])
    y_marks = svg.ticks(max(0.0, low), 1.0, 4)
    places = _doublings(first, last)

    def draw(width: int) -> tuple[list[str], float]:
        height = 280.0 if width == svg.WIDE else 230.0
        left, end, top, bottom = 56.0, width - 24.0, 22.0, height - 44.0

        def x(value: float) -> float:
            return left + (end - left) * math.log(value / first) / math.log(last / first)

        def y(value: float) -> float:
            return bottom - (bottom - top) * (value - y_marks[0]) / (y_marks[-1] - y_marks[0])

        out = []
        for mark in y_marks:
            out.append(svg.line(left, y(mark), end, y(mark), "grid"))
            out.append(svg.text(left - 8, y(mark) + 4, percent(mark, 0), "small num", "end"))
        shown = places if width == svg.WIDE else places[::2]
        out += [svg.text(x(row), bottom + 18, f"{row:,}", "small num", "middle") for row in shown]
        out.append(svg.text((left + end) / 2, height - 6, "rows to train on", "small", "middle"))
        edge = [(one.rows, one.high) for one in found] + [(one.rows, one.low) for one in reversed(found)]
        band = " ".join(f"{svg.num(x(a))},{svg.num(y(b))}" for a, b in edge)
        out.append(f'<polygon points="{band}" class="bar" fill-opacity="0.18" stroke="none"/>')
        middle = " ".join(f"{svg.num(x(one.rows))},{svg.num(y(one.value))}" for one in found)
        out.append(f'<polyline points="{middle}" class="curve train"/>')
        if target is not None and y_marks[0] <= target <= y_marks[-1]:
            out.append(svg.line(left, y(target), end, y(target), "goal"))
            out.append(svg.text(left + 6, y(target) - 6, f"goal {percent(target)}", "small strong"))
        for point in curve.points:
            ends = [y(min(y_marks[-1], max(y_marks[0], point.value + sign * 1.96 * point.error))) for sign in (-1, 1)]
            out.append(svg.line(x(point.rows), ends[0], x(point.rows), ends[1], "mark strong"))
            title = f"{point.rows:,} rows: {percent(point.value)}"
            out.append(svg.dot(x(point.rows), y(max(y_marks[0], point.value)), 5, "mark strong", title))
        return out, height

    return svg.figure(draw, label)


def _doublings(first: int, last: int) -> list[int]:
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return found


def learning_curve_chart(curve: LearningCurve, *, rows: int, target: float | None = None) -> str:
    """The same in plain text: one line a size, measured ones, all rows that there are, and 2, 5 and 10 times as many
    as were trained on."""
    sizes = sorted({point.rows for point in curve.points} | {rows} | {times * curve.rows for times in (2, 5, 10)})
    measured = {point.rows: point.value for point in curve.points}
    columns = 50
    out = [f"{'rows':>9}  {'value':>6}  0%{'':{columns - 6}}100%"]
    for size in sizes:
        found = curve.forecast(size)
        cells = [" "] * (columns + 1)
        low, high = (round(columns * edge) for edge in (found.low, found.high))
        for place in range(low, high + 1):
            cells[place] = "─"
        if target is not None:
            cells[round(columns * target)] = "┊"
        cells[round(columns * found.value)] = "┼"
        if size in measured:
            cells[round(columns * measured[size])] = "●"
        value = measured.get(size, found.value)
        out.append(f"{size:>9,}  {percent(value):>6}  {''.join(cells).rstrip()}")
    return "\n".join(out)
