"""Plots: well-formed SVG for any numbers and any labels."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.reports import plots, svg
from burnish.reports.plots import IntervalRow, Series

SVG = "{http://www.w3.org/1999/xhtml}"
numbers = st.floats(0, 1)
names = st.text(max_size=30)


def parse(markup: str) -> list[ET.Element]:
    """Both drawings; fails when they are not well-formed or hold a number that is none."""
    assert "nan" not in markup
    assert 'inf"' not in markup
    drawings = list(ET.fromstring(f"<x>{markup}</x>"))
    assert [drawing.get("class") for drawing in drawings] == ["plot wide", "plot narrow"]
    assert all(drawing.get("aria-label") for drawing in drawings)
    return drawings


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(names, numbers, numbers, numbers, st.booleans()), min_size=1, max_size=5), goal=numbers
)
def test_interval_plots(rows: list[tuple[str, float, float, float, bool]], goal: float) -> None:
    intervals = [
        IntervalRow(name, *sorted((a, b, c))[1:2], min(a, b, c), max(a, b, c), s) for name, a, b, c, s in rows
    ]
    parse(plots.interval_plot(intervals, target=goal, label="values"))
    parse(plots.difference_plot(intervals, margin=goal, label="differences"))


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6) | st.just(math.nan)), max_size=30),
    best=st.none() | st.floats(0, 1e6),
)
def test_line_plots(points: list[tuple[float, float]], best: float | None) -> None:
    markup = plots.line_plot([Series("a", "validation", points)], x_name="step", best=best, label="loss")
    if any(math.isfinite(y) for _, y in points):
        parse(markup)
    else:
        assert markup == ""


def test_long_lines_are_thinned_out_but_keep_their_end() -> None:
    points = [(float(step), 1.0 / (step + 1)) for step in range(100_000)]
    markup = plots.line_plot([Series("loss", "train", points)], x_name="step", label="loss")
    assert len(markup) < 20_000
    line = parse(markup)[0].find("polyline")
    assert line is not None
    kept = str(line.get("points")).split()
    assert len(kept) <= plots.MAX_POINTS + 1
    assert float(kept[-1].split(",")[0]) == pytest.approx(svg.WIDE - 24, abs=0.2)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(names, st.integers(0, 10**9)), max_size=40))
def test_bars_and_histograms(rows: list[tuple[str, int]]) -> None:
    parse(plots.bar_plot(rows, label="classes"))
    bins = [(index * 10, index * 10 + 10, number) for index, (_, number) in enumerate(rows)]
    parse(plots.histogram(bins, x_name="tokens", label="lengths"))


def test_of_many_bars_the_middle_is_left_out_and_counted() -> None:
    markup = plots.bar_plot([(f"class {i}", 100 - i) for i in range(77)], label="classes")
    assert "… 55 more …" in markup
    assert "class 76" in markup
    assert "class 40" not in markup


@settings(max_examples=30, deadline=None)
@given(matrix=st.integers(1, 20).flatmap(lambda n: st.lists(
    st.lists(st.integers(0, 99), min_size=n, max_size=n), min_size=n, max_size=n
)))  # fmt: skip
def test_heat_maps_draw_a_cell_for_every_count(matrix: list[list[int]]) -> None:
    labels = [f"<{i}>" for i in range(len(matrix))]
    wide, _ = parse(plots.heat_map(labels, labels, matrix, label="confusion"))
    cells = [rect for rect in wide.iter("rect") if "cell" in str(rect.get("class"))]
    assert len(cells) == sum(number > 0 for row in matrix for number in row)
    right = [rect for rect in cells if rect.get("class") == "cell right"]
    assert len(right) == sum(matrix[i][i] > 0 for i in range(len(matrix)))


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-6, 1e9))
def test_ticks_are_round_and_cover_the_range(low: float, span: float) -> None:
    high = low + span
    marks = svg.ticks(low, high)
    if high - low < 1e-6 * max(abs(low), abs(high)):  # the sum cannot tell them apart any more
        return
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= high - 1e-6 * step
    assert 2 <= len(marks) <= 12


def test_labels_are_escaped() -> None:
    evil = '"><script>alert(1)</script>\x1b\u202e'
    row = IntervalRow(evil, 0.5, 0.4, 0.6, True)
    for markup in (
        plots.interval_plot([row], label=evil),
        plots.bar_plot([(evil, 1)], label=evil),
        plots.heat_map([evil], [evil], [[1]], label=evil),
        plots.line_plot([Series(evil, "metric", [(0, 1), (1, 2)])], x_name=evil, label=evil),
    ):
        parse(markup)
        assert "<script" not in markup
        assert "\x1b" not in markup
