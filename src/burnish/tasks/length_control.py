"""How often a system would prefer the chosen answer if both were equally long.

Dubois et al. 2024 ("Length-Controlled AlpacaEval") fit a logistic regression of the preference on
tanh of the normalised difference of length, and read it off at a difference of zero. So here, for one system over
all pairs:

    P(prefers chosen) = sigmoid(a + b x)
    x = tanh(ln(chosen / rejected)) = (chosen² - rejected²) / (chosen² + rejected²)
    length-controlled win rate = sigmoid(a)

Two things differ from the paper, so that the metric is a function of summed counts and can be resampled:

- The difference is that of the logarithms, in a fixed unit, and not that of the lengths in standard deviations of
  the test, which no pair knows. In preference data its standard deviation is near 1 (1.3 in PandaLM's test, 1.1 in
  HH's harmless part), so the scale is the paper's; and it is the same for tokens and characters.
- x is kept in bins, ten of width 0.1 on each side and one for answers of equal length: of each bin the number of
  pairs, the number won, and the sum of x. The regression is that of grouped data, each bin at its mean x.
- The pairs whose chosen answer is longer and those whose chosen answer is shorter get the same total weight (where
  there are both; answers of equal length keep their own). Weights that hang on x alone change nothing where the
  model holds; where it does not, they keep the share of long chosen answers out of a: a system that always takes the
  longer one comes out at one half, however often that is right.

b has a weak normal prior with standard deviation 5 (the paper's fit is regularised, too), which keeps the estimate
finite when length alone explains every choice; a is free. Nothing won is 0, everything won is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from burnish.records import Example, Parsed
from burnish.tasks.base import Floats
from burnish.tasks.metrics import CountMetric, divide

BINS = 21  # the middle one: equal lengths
RIDGE = 1 / 25  # precision of the prior on b: 1 / 5²
_STEPS = 60
_CLOSE = 1e-10


def relative_difference(chosen: int, rejected: int) -> float:
    """tanh of the logarithm of the lengths' ratio, from -1 to 1; 0 where both are empty."""
    total = chosen**2 + rejected**2
    return (chosen**2 - rejected**2) / total if total else 0.0


def length_controlled_win_rate(
    right: Callable[[Example, Parsed], bool], lengths: Callable[[Parsed], tuple[int, int] | None]
) -> CountMetric:
    """The metric. lengths: of the chosen and the rejected answer; None (no answer) counts as lost at equal length.

    Counts: for each bin [pairs, pairs won, sum of x], 63 numbers.
    """

    def counts(example: Example, parsed: Parsed) -> Floats:
        pair = lengths(parsed)
        x = relative_difference(*pair) if pair is not None else 0.0
        made = np.zeros((BINS, 3))
        steps = math.ceil(abs(x) * (BINS // 2) - 1e-12)
        made[BINS // 2 + (steps if x > 0 else -steps)] = (1.0, float(right(example, parsed)), x)
        return made.ravel()

    return CountMetric("length_controlled_win_rate", False, counts, controlled_rate)


def controlled_rate(sums: Floats) -> Floats:
    """sigmoid(a) of the regression on sums (…, 63) of counts: (…) values in [0, 1]. 0 where there are no pairs."""
    grouped = np.asarray(sums, dtype=np.float64).reshape(*np.shape(sums)[:-1], BINS, 3)
    pairs, won = grouped[..., 0], grouped[..., 1]
    total, all_won = pairs.sum(axis=-1), won.sum(axis=-1)
    x = divide(grouped[..., 2], pairs)
    weight = _side_weights(pairs)
    pairs, won = pairs * weight, won * weight
    open_cases = (all_won > 0) & (all_won < total)
    value: Floats = np.where((total > 0) & (all_won >= total), 1.0, 0.0)
    if open_cases.any():
        intercept = _fit(pairs[open_cases], won[open_cases], x[open_cases])
        value[open_cases] = 1 / (1 + np.exp(-np.clip(intercept, -700, 700)))
    return value


def _side_weights(pairs: Floats) -> Floats:
    """(…, BINS) weights under which the bins below and above the middle one have the same total, both as before."""
    middle = BINS // 2
    shorter, longer = pairs[..., :middle].sum(axis=-1), pairs[..., middle + 1 :].sum(axis=-1)
    both = (shorter > 0) & (longer > 0)
    half = (shorter + longer) / 2
    weight: Floats = np.ones_like(pairs)
    weight[..., :middle] = np.where(both, divide(half, shorter), 1.0)[..., None]
    weight[..., middle + 1 :] = np.where(both, divide(half, longer), 1.0)[..., None]
    return weight


def _fit(pairs: Floats, won: Floats, x: Floats) -> Floats:
    """Intercepts (R,) of R regressions on grouped data (R, BINS): Newton's method with halved steps.

    The penalised log-likelihood is strictly concave where both outcomes occur, so there is one maximum.
    """
    share = won.sum(axis=-1) / pairs.sum(axis=-1)
    a: Floats = np.log(share / (1 - share))
    b: Floats = np.zeros_like(share)
    height = _height(pairs, won, x, a, b)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(a[:, None] + b[:, None] * x, -700, 700)))
        rest, weight = won - pairs * p, pairs * p * (1 - p)
        slope_a, slope_b = rest.sum(axis=-1), (rest * x).sum(axis=-1) - RIDGE * b
        h_aa, h_ab = weight.sum(axis=-1), (weight * x).sum(axis=-1)
        h_bb = (weight * x * x).sum(axis=-1) + RIDGE
        determinant = np.maximum(h_aa * h_bb - h_ab * h_ab, 1e-300)
        step_a = (h_bb * slope_a - h_ab * slope_b) / determinant
        step_b = (h_aa * slope_b - h_ab * slope_a) / determinant
        size = np.ones_like(a)
        for _ in range(30):
            reached = _height(pairs, won, x, a + size * step_a, b + size * step_b)
            worse = ~(reached >= height - 1e-12)
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        a, b = a + size * step_a, b + size * step_b
        height = _height(pairs, won, x, a, b)
        if np.all(np.abs(slope_a) + np.abs(slope_b) < _CLOSE * pairs.sum(axis=-1)):
            break
    return a


def _height(pairs: Floats, won: Floats, x: Floats, a: Floats, b: Floats) -> Floats:
    """Penalised log-likelihood (R,)."""
    z = a[:, None] + b[:, None] * x
    height: Floats = (won * z - pairs * np.logaddexp(0, z)).sum(axis=-1) - RIDGE * b * b / 2
    return height
