"""How much more data will bring: a learning curve fitted to a few small trainings, with intervals.

The model is the inverse power law with an asymptote, y(n) = a - b n^-c, 0 <= a <= 1, b >= 0 (Figueroa et al. 2012,
"Predicting sample size required for classification performance", equation 1; Hestness et al. 2017). Some curves are
none (Viering and Loog 2022 review them), so two others are tried beside it: an exponential approach,
a - b exp(-n / r), and an S, a / (1 + (n / m)^-c), the rise from nothing of a model that has to learn the form of an
answer first; its tail is a power law, too.

Three to six noisy points do not determine three numbers: many curves fit, and they part beyond the last point. So no
single best curve is taken. Every curve on a grid of asymptotes and shapes is weighted by how well it fits the points
(least squares weighted by their variance, b integrated out), and predictions are quantiles over all of them. Points
that say little give wide intervals instead of a confident line. docs/advice.md has the measured coverage.

Prior (class Prior): the families weigh `shares`. The density of the asymptote between the points and 1 grows with a
power of it, since what people label can mostly be learned: with low powers the medians of nearly all real tasks lay
below the values measured (docs/advice.md); of flat curves it is uniform. The gap at the smallest size is uniform
between 0 and that. Exponents are uniform in their logarithm, so are the range r from the smallest size to 10 times
the largest, and the middle m from a tenth of the smallest to 100 times the largest. A prediction beyond the last
point gets an error of its own for each doubling: the true curve is none of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.errors import ConfigError

Floats = NDArray[np.float64]
_RISEN = 1e-9  # rows: the middle of an S that is flat from the first row on
SEED_ERROR = 0.02  # an assumption: between seeds, where no size was repeated
LEVEL = 0.95
FARTHEST = 10.0  # times the rows that were trained on: how far a target is looked for
SURE = 0.9  # probability from which a target counts as reachable, and 1 - SURE from which it does not
_DRAWS = 4000
_ASYMPTOTES, _STEPS = 240, 40


class Prior(NamedTuple):
    """What is believed of a curve before any of its points is seen; benchmarks/real_curves.py measures it.

    shares: of power laws, exponentials, S-shaped and flat curves; height: the density of the asymptote a grows with
    a^height; exponents: of power laws, from and to; slopes: exponents of an S, from and to; error: of the model, a
    standard deviation for each doubling beyond the last point.
    """

    shares: tuple[float, float, float, float] = (0.35, 0.1, 0.5, 0.05)
    height: float = 8.0
    exponents: tuple[float, float] = (0.05, 2.0)
    slopes: tuple[float, float] = (0.2, 2.5)
    error: float = 0.005


PRIOR = Prior()


@dataclass(frozen=True, slots=True)
class Point:
    """A metric in [0, 1] measured after training on so many rows. error: its standard error."""

    rows: int
    value: float
    error: float


class Forecast(NamedTuple):
    """The metric with so many rows: median and interval; gain: median over the last point's fitted value."""

    rows: int
    value: float
    low: float
    high: float
    gain: float


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a target can be reached. probability: by the curve's horizon; ever: at all.

    rows: in all, the median over the curves that reach it (None: fewer than half do); rows_low, rows_high: between
    which 80% of all curves reach it (None: never, or beyond a billion). more, minutes, cost: to be labelled beside
    those there, the work of it, and its price (None where the wage was not given).
    """

    target: float
    answer: Literal["yes", "no", "unclear"]
    probability: float
    ever: float
    rows: int | None
    rows_low: int | None
    rows_high: int | None
    more: int | None
    cost: float | None


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve:
    """Fitted curves, equally likely: asymptote, gap at the smallest size, and the exponent c of a power law, the
    range r of an exponential, or exponent and middle m of an S (the others are nan); and the points.

    misfit: whether the points lie further from every curve than their errors allow (the weighted sum of squares
    exceeds what 99% of samples give): the forecast then deserves less trust.
    """

    points: tuple[Point, ...]
    asymptote: Floats
    gap: Floats
    exponent: Floats
    range: Floats
    middle: Floats
    misfit: bool
    error: float

    @property
    def rows(self) -> int:
        """The most rows that were trained on."""
        return self.points[-1].rows

    def horizon(self, have: int) -> int:
        """Up to how many rows a target is looked for: FARTHEST times those trained on, or all that there are."""
        return max(have, round(FARTHEST * self.rows))

    def values_at(self, rows: float) -> Floats:
        """The metric of every curve after so many rows: (draws,)."""
        first = self.points[0].rows
        left = np.where(
            np.isnan(self.exponent), np.exp((first - rows) / self.range), (rows / first) ** -self.exponent
        )
        risen: Floats = self.asymptote / (1 + (rows / self.middle) ** -self.exponent)
        return np.where(np.isnan(self.middle), self.asymptote - self.gap * left, risen)

    def _errors(self, rows: Floats | float) -> Floats:
        """An error of the model for each curve, larger the further rows lie beyond the last point."""
        from scipy.special import ndtri

        place = (np.arange(len(self.gap)) * 0.7548776662466927 + 0.5) % 1.0
        doublings = np.log2(np.maximum(np.asarray(rows, dtype=np.float64) / self.rows, 1.0))
        drawn: Floats = self.error * doublings * ndtri(np.clip(place, 1e-9, 1 - 1e-9))
        return drawn

    def drawn_at(self, rows: float) -> Floats:
        """The metric after so many rows as each curve has it, with the error of the model: (draws,)."""
        drawn: Floats = np.clip(self.values_at(rows) + self._errors(rows), 0.0, 1.0)
        return drawn

    def forecast(self, rows: int, level: float = LEVEL) -> Forecast:
        """The metric after so many rows."""
        values = self.drawn_at(rows)
        low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
        gain = float(np.median(values - self.values_at(self.rows)))
        return Forecast(rows, float(middle), float(low), float(high), gain)

    def reach(
        self, target: float, *, have: int | None = None, minutes_per_row: float = 1.0, wage: float | None = None
    ) -> Reach:
        """Whether and with how many rows the target is reached. have: labelled rows (default: the last point's)."""
        there = self.rows if have is None else have
        horizon = self.horizon(there)
        goal = target - self._errors(horizon)
        first = self.points[0].rows
        with np.errstate(all="ignore"):
            ratio = self.gap / np.maximum(self.asymptote - goal, 0.0)
            power = first * ratio ** (1 / self.exponent)
            needed = np.where(np.isnan(self.exponent), first + self.range * np.log(ratio), power)
            risen = self.middle * (goal / np.maximum(self.asymptote - goal, 0.0)) ** (1 / self.exponent)
            needed = np.where(np.isnan(self.middle), needed, np.where(goal > 0, risen, 1.0))
        needed = np.where(self.asymptote > goal, np.maximum(needed, 1.0), np.inf)
        needed = np.where(self.gap <= 0, np.where(self.asymptote >= goal, 1.0, np.inf), needed)
        probability = float(np.mean(needed <= horizon))
        low, middle, high = (_whole(value) for value in np.quantile(needed, [0.1, 0.5, 0.9], method="lower"))
        answer: Literal["yes", "no", "unclear"] = (
            "yes" if probability >= SURE else "no" if probability <= 1 - SURE else "unclear"
        )
        more = None if middle is None else max(0, middle - there)
        cost = None if more is None or wage is None else more * minutes_per_row / 60 * wage
        ever = float(np.mean(np.isfinite(needed)))
        return Reach(target, answer, probability, ever, middle, low, high, more, cost)


def _whole(rows: float) -> int | None:
    return math.ceil(rows) if rows < 1e9 else None


def points_of(measured: Sequence[tuple[int, Sequence[float]]], *, test_rows: int | None = None) -> tuple[Point, ...]:
    """Points from repeats: (rows, value of each seed). test_rows: examples that each value was measured on.

    The variance between seeds is pooled over all sizes, since two or three repeats say little of their own; it is
    widened as Student's t is against the normal, for the degrees of freedom there are. With one repeat everywhere
    there are none, and SEED_ERROR is assumed. The test's binomial variance p (1 - p) / test_rows is
    added. Raises ConfigError for values outside [0, 1].
    """
    from scipy.special import stdtrit

    _refuse(measured)
    spread = sum(float(np.var(values)) * len(values) for _, values in measured)
    freedom = sum(len(values) - 1 for _, values in measured)
    between = spread / freedom if freedom else SEED_ERROR**2
    if freedom:
        between *= float(stdtrit(freedom, 0.975) / NormalDist().inv_cdf(0.975)) ** 2
    found = []
    for rows, values in sorted(measured):
        mean = float(np.mean(values))
        inside = min(max(mean, 0.5 / test_rows), 1 - 0.5 / test_rows) if test_rows else 0.5
        sampling = inside * (1 - inside) / test_rows if test_rows else 0.0
        found.append(Point(rows, mean, max(1e-4, math.sqrt(between / len(values) + sampling))))
    return tuple(found)


def points_from_intervals(
    measured: Sequence[tuple[int, float, float, float]], level: float = LEVEL
) -> tuple[Point, ...]:
    """Points from (rows, value, low, high): the standard error is the interval's width over twice z."""
    _refuse([(rows, [value, low, high]) for rows, value, low, high in measured])
    z = NormalDist().inv_cdf(0.5 + level / 2)
    return tuple(Point(rows, value, max(1e-4, (high - low) / (2 * z))) for rows, value, low, high in sorted(measured))


def _refuse(measured: Sequence[tuple[int, Sequence[float]]]) -> None:
    for rows, values in measured:
        if rows < 1 or not len(values) or not all(0 <= value <= 1 for value in values):
            fix = "give the rows (1 or more) and values from 0 to 1"
            raise ConfigError(
                "is no point of a learning curve", got=(rows, list(values)), where="learning curve", fix=fix
            )


def fit(points: Sequence[Point], prior: Prior = PRIOR) -> LearningCurve:
    """Fit points of at least three different sizes. Raises ConfigError for fewer."""
    sizes = sorted({point.rows for point in points})
    if len(sizes) < 3:
        fix = "train on at least three sizes, each about twice the one before: 50, 100, 200"
        raise ConfigError("a learning curve needs three sizes", got=sizes, where="learning curve", fix=fix)
    ordered = tuple(sorted(points, key=lambda point: point.rows))
    y = np.array([point.value for point in ordered])
    error = np.array([point.error for point in ordered])
    n = np.array([point.rows for point in ordered], dtype=np.float64)
    asymptotes, widths = _asymptotes(y, error)
    exponents, slopes = np.geomspace(*prior.exponents, _STEPS), np.geomspace(*prior.slopes, _STEPS)
    ranges = np.geomspace(n[0], FARTHEST * n[-1], _STEPS)
    middles = np.geomspace(n[0] / 10, 100 * n[-1], _STEPS)
    left = np.hstack([(n / n[0])[:, None] ** -exponents, np.exp((n[0] - n)[:, None] / ranges)])
    log, best, precision, squares = _weights(y, error, left, asymptotes)
    high = prior.height * np.log(asymptotes)[:, None]
    shares = np.log(prior.shares)
    log += np.repeat(shares[:2] - math.log(_STEPS), _STEPS) + high
    middle, slope = (grid.ravel() for grid in np.meshgrid(middles, slopes, indexing="ij"))
    middle, slope = np.append(middle, _RISEN), np.append(slope, 1.0)
    risen = 1 / (1 + (n[:, None] / middle) ** -slope)
    steep = _squares(y, error, risen, asymptotes)
    rising = shares[2] - 2 * math.log(_STEPS) + high - steep[:, :-1] / 2
    every = np.hstack([log, rising, shares[3] - steep[:, -1:] / 2]) + np.log(widths)[:, None]
    row, column = np.unravel_index(_stratified(np.exp(every - every.max()).ravel(), _DRAWS), every.shape)
    asymptote, linear = asymptotes[row], column < left.shape[1]
    place = np.where(linear, column, 0)
    gap = _gaps(best[row, place], precision[place], asymptote)
    of_s = np.where(linear, 0, column - left.shape[1])
    misfit = bool(min(squares.min(), steep.min()) > _chi_square(max(1, len(ordered) - 3)))
    none = np.full(_STEPS, np.nan)
    return LearningCurve(
        points=ordered,
        asymptote=asymptote,
        gap=np.where(linear, gap, asymptote * (1 - risen[0, of_s])),
        exponent=np.where(linear, np.concatenate([exponents, none])[place], slope[of_s]),
        range=np.where(linear, np.concatenate([none, ranges])[place], np.nan),
        middle=np.where(linear, np.nan, middle[of_s]),
        misfit=misfit,
        error=prior.error,
    )


def _asymptotes(y: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Asymptotes to try, dense near the points, where the points tell most, and the width that each stands for."""
    lowest = max(0.0, float(np.min(y[-2:] - 5 * error[-2:])))
    edges = lowest + (1 - lowest) * np.linspace(0, 1, _ASYMPTOTES + 1) ** 2
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


def _weights(y: Floats, error: Floats, shape: Floats, asymptotes: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """How likely each (asymptote, exponent) makes the points, the gap integrated out: the logarithm (A, C), the best
    gap (A, C), its precision (C,), and the sum of squares at the best gap that is allowed (A, C).

    y, error: (K,); shape: (K, C), the part of the gap that is left at each size; asymptotes: (A,). Given the two,
    y is linear in the gap, so its posterior is a normal one cut to [0, asymptote].
    """
    from scipy.special import ndtr

    inverse = 1 / error**2
    precision = (shape**2 * inverse[:, None]).sum(0)
    short = asymptotes[:, None] - y  # (A, K)
    best = (short * inverse) @ shape / precision
    allowed = np.clip(best, 0.0, asymptotes[:, None])
    least = (short**2 * inverse).sum(1)[:, None] - best**2 * precision
    squares = least + (best - allowed) ** 2 * precision
    scale = np.sqrt(precision)
    inside = ndtr((asymptotes[:, None] - best) * scale) - ndtr(-best * scale)
    room = math.log(2 * math.pi) / 2 + np.log(np.maximum(inside, 1e-300)) - np.log(scale)
    return room - least / 2 - np.log(asymptotes)[:, None], best, precision, squares


def _squares(y: Floats, error: Floats, shape: Floats, asymptotes: Floats) -> Floats:
    """Weighted sums of squares (A, C) of y (K,) against asymptotes (A,) times shape (K, C)."""
    inverse = 1 / error**2
    cross, own = (y * inverse) @ shape, inverse @ shape**2
    summed: Floats = float(inverse @ y**2) - 2 * asymptotes[:, None] * cross + asymptotes[:, None] ** 2 * own
    return summed


def _stratified(weight: Floats, draws: int) -> NDArray[np.intp]:
    """Indices drawn in proportion, evenly spaced over the cumulative weight: the same every time."""
    cumulative = np.cumsum(weight)
    places = (np.arange(draws) + 0.5) / draws * cumulative[-1]
    found: NDArray[np.intp] = np.searchsorted(cumulative, places).clip(0, len(weight) - 1)
    return found


def _gaps(best: Floats, precision: Floats, highest: Floats) -> Floats:
    """One gap for each drawn curve, from its normal posterior cut to [0, highest]. The places in it are spread
    evenly over the draws by the golden ratio, so that neighbouring curves get different ones."""
    from scipy.special import ndtr, ndtri

    scale = 1 / np.sqrt(precision)
    low, high = ndtr(-best / scale), ndtr((highest - best) / scale)
    place = (np.arange(len(best)) * 0.6180339887498949 + 0.5) % 1.0
    drawn = best + scale * ndtri(np.clip(low + place * (high - low), 1e-12, 1 - 1e-12))
    gaps: Floats = np.clip(drawn, 0.0, highest)
    return gaps


def _chi_square(freedom: int) -> float:
    from scipy.special import chdtri

    return float(chdtri(freedom, 0.01))
