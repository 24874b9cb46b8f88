"""The pieces that plots are drawn of: SVG elements as text, in classes of the page's style sheet.

Texts are escaped here; positions and sizes are in the units of a plot that is WIDE or NARROW wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import Markup, escape

from burnish.reports.text import clean

WIDE = 760
NARROW = 340


def num(value: float) -> str:
    """To a tenth, as short as it can be."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place. anchor: which of their points stands there: start, middle or end."""
    return f'<text x="{num(x)}" y="{num(y)}" class="t {kind}" text-anchor="{anchor}">{escape(clean(words))}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}" class="{kind}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "", more: str = "") -> str:
    """A box. title: its tooltip; more: attributes as they are."""
    tip = f"<title>{escape(clean(title))}</title>" if title else ""
    size = f'width="{num(max(0.0, width))}" height="{num(max(0.0, height))}"'
    return f'<rect x="{num(x)}" y="{num(y)}" {size} class="{kind}"{more}>{tip}</rect>'


def dot(x: float, y: float, radius: float, kind: str, title: str = "") -> str:
    """A point. title: its tooltip."""
    tip = f"<title>{escape(clean(title))}</title>" if title else ""
    return f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(radius)}" class="{kind}">{tip}</circle>'


def figure(draw: Callable[[int], tuple[list[str], float]], label: str) -> Markup:
    """Both widths of one plot; the style sheet shows one of them. draw: the elements at a width, and the height."""
    parts = []
    for width, kind in ((WIDE, "wide"), (NARROW, "narrow")):
        body, height = draw(width)
        parts.append(
            f'<svg class="plot {kind}" viewBox="0 0 {width} {num(height)}" role="img" '
            f'aria-label="{escape(clean(label))}">{"".join(body)}</svg>'
        )
    return Markup("".join(parts))  # every piece above is escaped


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # one value: any axis will do
        return [low, low + max(1.0, 1e-6 * abs(low))]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
