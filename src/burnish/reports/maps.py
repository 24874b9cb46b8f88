"""A map of points in groups, each with its number, in the style of plots.py."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from markupsafe import Markup

from burnish.reports import svg

COLOURS = 8  # classes c0 to c7 of the style sheet; groups beyond share them, so each has its number, too


class MapPoint(NamedTuple):
    """A point. group: numbered from 0; marked: drawn large, as one to look at."""

    x: float
    y: float
    group: int
    title: str
    marked: bool = False


def map_plot(points: Sequence[MapPoint], *, label: str) -> Markup:
    """Points in the colour of their group, its number at the median of its points. The axes have no meaning."""
    if not points:
        return Markup("")
    xs, ys = [point.x for point in points], [point.y for point in points]
    least_x, least_y = min(xs), min(ys)
    range_x, range_y = (max(xs) - least_x) or 1.0, (max(ys) - least_y) or 1.0

    def draw(width: int) -> tuple[list[str], float]:
        height = 520.0 if width == svg.WIDE else 340.0
        room = 14.0

        def x(value: float) -> float:
            return room + (width - 2 * room) * (value - least_x) / range_x

        def y(value: float) -> float:
            return room + (height - 2 * room) * (value - least_y) / range_y

        out = []
        for point in sorted(points, key=lambda point: point.marked):
            radius = (3.0 if width == svg.WIDE else 2.0) + 2.5 * point.marked
            kind = f"spot c{point.group % COLOURS}" + (" marked" if point.marked else "")
            out.append(svg.dot(x(point.x), y(point.y), radius, kind, point.title if width == svg.WIDE else ""))
        for group in sorted({point.group for point in points}):
            own = [point for point in points if point.group == group]
            across, down = x(median(point.x for point in own)), y(median(point.y for point in own))
            out.append(svg.text(float(svg.num(across)), down + 5, str(group + 1), "strong halo", "middle"))
        return out, height

    return svg.figure(draw, label)
