"""How often the learning curve's 95% interval holds the truth, on simulated tasks whose true curve is known.

    python benchmarks/learning_curves.py --trials 150

Sizes double from 50; every training has an error of its seed of 2 points, every test 500 examples. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from burnish.advice.learning_curve import Point, fit, points_of

Curve = Callable[[float], float]
TIMES = (2, 5, 10)


def power_law(rng: np.random.Generator) -> Curve:
    """Gap ∝ n^-c with c from 0.2 to 1.2."""
    a, c = rng.uniform(0.6, 0.99), math.exp(rng.uniform(math.log(0.2), math.log(1.2)))
    gap = rng.uniform(0.1, a - 0.1)
    return lambda n: a - gap * (n / 50) ** -c


def exponential(rng: np.random.Generator) -> Curve:
    """Gap ∝ exp(-n / r) with r from 100 to 800."""
    a, r = rng.uniform(0.6, 0.99), rng.uniform(100, 800)
    gap = rng.uniform(0.1, a - 0.1)
    return lambda n: a - gap * math.exp((50 - n) / r)


def s_shaped(rng: np.random.Generator) -> Curve:
    """a / (1 + (n / m)^-c) with m from 50 to 2,000."""
    a, c = rng.uniform(0.6, 0.99), rng.uniform(0.4, 1.5)
    m = math.exp(rng.uniform(math.log(50), math.log(2000)))
    return lambda n: a / (1 + (n / m) ** -c)


def logarithmic(rng: np.random.Generator) -> Curve:
    """The same gain with each doubling, never bending (until it reaches 0.99)."""
    start, gain = rng.uniform(0.2, 0.6), rng.uniform(0.01, 0.08)
    return lambda n: min(0.99, start + gain * math.log2(n / 50))


def flat(rng: np.random.Generator) -> Curve:
    """More rows bring nothing."""
    a = rng.uniform(0.2, 0.95)
    return lambda n: a


LINES: list[tuple[Callable[[np.random.Generator], Curve], int, int]] = [
    *((shape, sizes, 3) for shape in (power_law, exponential, s_shaped, logarithmic, flat) for sizes in (3, 4, 6)),
    *((shape, 4, 1) for shape in (power_law, exponential, s_shaped, logarithmic, flat)),
]


def main() -> None:
    """Read the command line, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=150, help="tasks a line (default 150)")
    arguments = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {arguments.trials} tasks a line\n")
    print("| true curve | sizes | seeds | 2× | 5× | 10× | width at 10× | median too low at 10× |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for shape, sizes, seeds in LINES:
        print(line(shape, sizes, seeds, arguments.trials), flush=True)


def line(shape: Callable[[np.random.Generator], Curve], sizes: int, seeds: int, trials: int) -> str:
    """One row of the table."""
    rng = np.random.default_rng(3)
    rows = [50 * 2**place for place in range(sizes)]
    held, widths, low = dict.fromkeys(TIMES, 0), [], 0
    for _ in range(trials):
        true = shape(rng)
        fitted = fit(measured(true, rows, seeds, 500, rng))
        for times in TIMES:
            found = fitted.forecast(times * rows[-1])
            held[times] += found.low <= true(times * rows[-1]) <= found.high
        widths.append(found.high - found.low)
        low += found.value < true(TIMES[-1] * rows[-1])
    shares = " | ".join(f"{count / trials:.0%}" for count in held.values())
    name = shape.__name__.replace("_", " ")
    return f"| {name} | {sizes} | {seeds} | {shares} | {100 * np.mean(widths):.0f} points | {low / trials:.0%} |"


def measured(curve: Curve, sizes: Sequence[int], seeds: int, test: int, rng: np.random.Generator) -> list[Point]:
    """Trainings as they come out: an error of the seed of 2 points, and the test's own."""
    rows = []
    for n in sizes:
        true = [min(1.0, max(0.0, curve(n) + rng.normal(0, 0.02))) for _ in range(seeds)]
        rows.append((n, [rng.binomial(test, p) / test for p in true]))
    return list(points_of(rows, test_rows=test))


if __name__ == "__main__":
    main()
