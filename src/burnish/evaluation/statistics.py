"""Intervals and tests for metrics measured on a sample of examples: pure functions of arrays.

Everything non-trivial is resampled from per-example counts (see `Metric` in tasks/base.py): `counts` is (N, K), the
metric of a set is `value(sum of its rows)`. Rows of one unit (`units`: a group, or copies of one row) are not
independent, so units are what is resampled and swapped; without `units` every row is its own.

Which interval, and why (exact enumeration and simulation, at a nominal 95%; see docs/log.md):

- rates: Wilson's score interval; right also at 0% and 100%, where Wald and the bootstrap claim certainty. With units
  the number of examples is replaced by an effective one (design effect).
- other metrics: the BCa bootstrap (Efron 1987) with its tails expanded for small samples (Hesterberg 2015). The
  percentile interval is not usable for macro-F1: a resample misses rare classes, so its distribution is biased
  downwards, and with 77 classes and 800 examples its 95% covered 79% (BCa: 95%).
- differences: the hull of the percentile and the BCa interval; for rates of the percentile and Tango's score
  interval (1998). BCa alone is too eager there: with few discordant pairs a system that is no better had its interval
  above zero in up to 4.9% of trials (nominal 2.5%; percentile and Tango: at most 2.5%).
- every interval reaches at least as far as one unseen kind of example could move the metric (`_unseen`), so that no
  sample, however uniform or small, gives a width of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from burnish.records import Interval
from burnish.tasks.base import Floats

Value = Callable[[Floats], Floats]
RESAMPLES = 10_000
_CHUNK = 1_000_000  # numbers in one block of resampling weights: 8 MB as float64, whatever the sample's size
_TIE = 1e-12  # sums of the same numbers in another order differ by less


def quantile(level: float) -> float:
    """z such that a normal variable lies within ±z with this probability."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def unit_ids(keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number the units 0 … G-1 in order of appearance: (N,) keys -> (N,) ids."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.intp)


def sum_units(counts: Floats, units: NDArray[np.intp] | None) -> Floats:
    """(N, K) counts -> (G, K) sums over the rows of each unit."""
    if counts.ndim != 2 or not len(counts):
        raise ValueError(f"counts must be a non-empty N × K array, got shape {counts.shape}")
    if not np.isfinite(counts).all():
        raise ValueError("counts hold a number that is not finite")
    if units is None:
        return counts.astype(np.float64, copy=False)
    sums = np.zeros((int(units.max()) + 1, counts.shape[1]))
    np.add.at(sums, units, counts)
    return sums


# --- rates ---


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval for a rate (Wilson 1927). `n` may be an effective size: numbers need not be whole."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    z2 = quantile(level) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, min(share, centre - half))
    high = 1.0 if successes == n else min(1.0, max(share, centre + half))
    return Interval(share, low, high, "wilson", level)


def effective_size(values: Floats, units: NDArray[np.intp] | None) -> float:
    """How many independent examples the (N,) values are worth when those of one unit resemble each other.

    N divided by the design effect of the mean (ratio of the variance between units to that of a simple random
    sample), times (t_{N-1} / t_{G-1})² for few units: Korn and Graubard 1998. Between 1 and N; a design effect that
    cannot be seen (all values equal) counts as 1, and one unit as one example.
    """
    n = len(values)
    if units is None:
        return float(n)
    sizes = np.bincount(units).astype(np.float64)
    groups = len(sizes)
    if groups == n:
        return float(n)
    if groups == 1:
        return 1.0
    from scipy.special import stdtrit

    mean = float(values.mean())
    between = groups / (groups - 1) * float(np.square(np.bincount(units, values) - mean * sizes).sum()) / n**2
    simple = float(values.var()) / (n - 1)
    effect = between / simple if simple > 0 else 1.0
    few = float(stdtrit(n - 1, 0.975) / stdtrit(groups - 1, 0.975)) ** 2
    return float(min(n, max(1.0, n / effect * few))) if effect > 0 else float(n)


def rate(hits: Floats, level: float = 0.95, units: NDArray[np.intp] | None = None) -> Interval:
    """Interval of the mean of (N,) zeros and ones: Wilson's, on the effective size when there are units."""
    size = effective_size(hits, units)
    found = wilson(float(hits.mean()) * size, size, level)
    method = "wilson" if units is None else "wilson, by group"
    return Interval(float(hits.mean()), found.low, found.high, method, level)


def tango(wins: float, losses: float, n: float, level: float = 0.95) -> Interval:
    """Score interval of the difference of two paired rates, (wins - losses) / n (Tango 1998, equation 3).

    It inverts McNemar's score test, so it lies above zero exactly when that test rejects; with no discordant pair it
    is ±z² / (n + z²). wins and losses: examples where only the first, only the second system is right.
    """
    if n <= 0 or wins < 0 or losses < 0 or wins + losses > n * (1 + 1e-9):
        raise ValueError(f"need wins, losses >= 0 and wins + losses <= n, got {wins}, {losses} of {n}")
    z = quantile(level)
    difference = (wins - losses) / n

    def score(at: float) -> float:
        b = -wins - losses + (2 * n - wins + losses) * at
        c = -losses * at * (1 - at)
        nuisance = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * nuisance + at * (1 - at))
        distance = wins - losses - n * at
        if variance <= 0:
            return 0.0 if abs(distance) <= _TIE * n else math.copysign(math.inf, distance)
        return distance / math.sqrt(variance)

    def root(start: float, end: float, wanted: float) -> float:
        """The point nearest to `end` where |score| is still at most `wanted`: the score falls monotonically."""
        if abs(score(end)) <= wanted:
            return end
        for _ in range(60):
            middle = (start + end) / 2
            if abs(score(middle)) <= wanted:
                start = middle
            else:
                end = middle
        return (start + end) / 2

    return Interval(difference, root(difference, -1.0, z), root(difference, 1.0, z), "tango", level)


def mcnemar_exact(wins: int, losses: int, *, mid_p: bool = False) -> float:
    """Two-sided exact p-value that wins and losses are equally likely: binomial(wins + losses, 1/2).

    mid_p counts half of the observed outcome: less conservative (Fagerland et al. 2013), but no longer a guarantee.
    """
    n, few = wins + losses, min(wins, losses)
    if few < 0:
        raise ValueError(f"wins and losses cannot be negative, got {wins} and {losses}")
    term, tail = 1, 1  # exact integers: C(n, 0) … C(n, few), which would overflow as floats
    for k in range(few):
        term = term * (n - k) // (k + 1)
        tail += term
    if mid_p:
        # Halving both tails' observed outcome takes one term off; in the middle the two tails share it.
        return float(1 - (term / 2**n) / 2 if wins == losses else (2 * tail - term) / 2**n)
    return min(1.0, float(2 * tail / 2**n))


# --- any metric ---


def _distinct(rows: Floats) -> tuple[Floats, Floats]:
    """(G, K) -> distinct rows (U, K) and how often each occurs (U,).

    Resampling G rows is a multinomial draw over the U distinct ones: the same distribution, far fewer numbers (4 for
    two rates), and a result that does not depend on the order of the rows.
    """
    distinct, times = np.unique(rows, axis=0, return_counts=True)
    return distinct, times.astype(np.float64)


def _blocks(total: int, width: int) -> Iterator[int]:
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, total, step):
        yield min(step, total - start)


def _values(value: Value, sums: Floats) -> Floats:
    found = np.asarray(value(sums), dtype=np.float64)
    if found.shape != sums.shape[:-1]:
        raise ValueError(f"value() must map sums (…, K) to (…): got {found.shape} for sums of shape {sums.shape}")
    if not np.isfinite(found).all():
        raise ValueError("value() gave a number that is not finite for some resample: define 0 / 0")
    return found


def _draw(rows: Floats, times: Floats, value: Value, seed: int, resamples: int) -> Floats:
    """The metric of `resamples` samples drawn with replacement: (resamples,)."""
    rng = np.random.default_rng(seed)
    size, shares = int(times.sum()), times / times.sum()
    parts = []
    for block in _blocks(resamples, len(rows) + rows.shape[1]):
        weights = rng.multinomial(size, shares, size=block).astype(np.float64)
        parts.append(_values(value, weights @ rows))
    return np.concatenate(parts)


def _expanded_tail(units: int, level: float) -> float:
    """Tail probability that makes a bootstrap quantile as wide as Student's t (Hesterberg 2015, section 4.3)."""
    from scipy.special import stdtrit

    t = float(stdtrit(units - 1, 0.5 + level / 2))
    # With two or three units the tail is all of the sample; not quite zero, which has no quantile.
    return max(1e-12, NormalDist().cdf(-math.sqrt(units / (units - 1)) * t))


def _in_reach(level: float, resamples: int, units: int) -> tuple[float, float]:
    """Level whose ends `resamples` draws can place (at least 20 beyond each; 95% always), and the factor from there.

    The decision of a late look at a test asks for levels such as 99.94%, three draws of 10,000. Further out the
    distances from the estimate grow as Student's t does.
    """
    near = min(level, max(0.95, 1 - 40 / resamples))
    if near == level or units < 2:
        return level, 1.0
    from scipy.special import stdtrit

    return near, float(stdtrit(units - 1, 0.5 + level / 2) / stdtrit(units - 1, 0.5 + near / 2))


def _stretched(estimate: float, ends: tuple[float, float], factor: float) -> tuple[float, float]:
    return estimate + (ends[0] - estimate) * factor, estimate + (ends[1] - estimate) * factor


def _percentile(drawn: Floats, tail: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _bca(
    drawn: Floats, estimate: float, rows: Floats, times: Floats, value: Value, tail: float
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987, equations 2.3 and 6.6)."""
    normal = NormalDist()
    below = float(np.mean(drawn < estimate - _TIE) + np.mean(np.abs(drawn - estimate) <= _TIE) / 2)
    edge = 1 / (len(drawn) + 1)
    bias = normal.inv_cdf(min(1 - edge, max(edge, below)))
    left_out = _values(value, times @ rows - rows)
    influence = np.average(left_out, weights=times) - left_out
    spread = float(times @ influence**2)
    acceleration = float(times @ influence**3) / (6 * spread**1.5) if spread > 1e-24 else 0.0

    def share(z: float) -> float:
        shifted = bias + z
        scale = 1 - acceleration * shifted
        # A scale at or below zero means the correction has run off the end of the sample: take the end.
        return normal.cdf(bias + shifted / scale) if scale > 0 else float(z > 0)

    z = normal.inv_cdf(tail)
    low, high = np.quantile(drawn, sorted((share(z), share(-z))))
    return float(low), float(high)


def _unseen(value: float, size: float, level: float, lowest: float) -> tuple[float, float]:
    """How far one kind of example that the sample did not contain could move a value in [lowest, 1].

    Its share may be z² / (n + z²), Wilson's upper bound at 0 of n. At 0% and 100% this is Wilson's interval, and
    for two systems that never differ it is Tango's. size: the effective one where rows come in groups, as for rates:
    rows of a group that differ as much as any others are not one row.
    """
    z2 = quantile(level) ** 2
    share = z2 / (size + z2)
    return value * (1 - share) + lowest * share, value * (1 - share) + share


def _worth(counts: Floats, value: Value, units: NDArray[np.intp] | None) -> float:
    """Independent rows that (N, K) counts are worth for the value of their sum: `effective_size` of the difference
    that each row makes to it; the number of units where none makes any."""
    if units is None:
        return float(len(counts))
    left_out = _values(value, counts.sum(axis=0) - counts)
    if np.ptp(left_out) <= _TIE:
        return float(units.max() + 1)
    return effective_size(left_out.mean() - left_out, units)


def _hull(value: float, lowest: float, ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return max(lowest, min(value, low)), min(1.0, max(value, high))


def bootstrap(
    counts: Floats,
    value: Value,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    units: NDArray[np.intp] | None = None,
) -> Interval:
    """Interval of value(counts.sum(axis=0)) in [0, 1]: expanded BCa, never narrower than `_unseen`.

    counts: (N, K). value: sums (…, K) -> (…). Memory does not grow with `resamples`.
    ValueError: counts or values that are not finite, a value of the wrong shape.
    """
    rows, times = _distinct(sum_units(counts, units))
    n = int(times.sum())
    estimate = float(_values(value, times @ rows))
    worth = _worth(counts, value, units)
    ends = [_unseen(estimate, worth, level, 0.0)]
    if len(rows) > 1:
        drawn = _draw(rows, times, value, seed, resamples)
        near, factor = _in_reach(level, resamples, n)
        found = _bca(drawn, estimate, rows, times, value, _expanded_tail(n, near))
        ends.append(_stretched(estimate, found, factor))
    method = "bootstrap" if units is None else "bootstrap, by group"
    return Interval(estimate, *_hull(estimate, 0.0, ends), method, level)


def paired_bootstrap(
    candidate: Floats,
    baseline: Floats,
    value: Value,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    units: NDArray[np.intp] | None = None,
    rate: bool = False,
) -> Interval:
    """Interval of the difference candidate - baseline of two systems on the same examples: each draw keeps pairs.

    candidate, baseline: (N, K) counts of the same metric, in the same order. rate: counts are [0 or 1, 1].
    The hull of the percentile interval, of BCa (of Tango's for rates) and of `_unseen`.
    """
    if candidate.shape != baseline.shape:
        raise ValueError(f"the two systems' counts differ in shape: {candidate.shape} and {baseline.shape}")
    k = candidate.shape[1]

    def difference(sums: Floats) -> Floats:
        return _values(value, sums[..., :k]) - _values(value, sums[..., k:])

    pairs = np.hstack([candidate, baseline])
    rows, times = _distinct(sum_units(pairs, units))
    n = int(times.sum())
    estimate = float(difference(times @ rows))
    ends = [_unseen(estimate, _worth(pairs, difference, units), level, -1.0)]
    if rate:
        gap = candidate[:, 0] - baseline[:, 0]
        scale = effective_size(gap, units) / len(gap)
        wins, losses = float((gap > 0).sum()), float((gap < 0).sum())
        score = tango(wins * scale, losses * scale, len(gap) * scale, level)
        ends.append((score.low, score.high))
    if len(rows) > 1:
        drawn = _draw(rows, times, difference, seed, resamples)
        near, factor = _in_reach(level, resamples, n)
        tail = _expanded_tail(n, near)
        ends.append(_stretched(estimate, _percentile(drawn, tail), factor))
        if not rate:
            found = _bca(drawn, estimate, rows, times, difference, tail)
            ends.append(_stretched(estimate, found, factor))
    method = "bootstrap" if units is None else "bootstrap, by group"
    return Interval(estimate, *_hull(estimate, -1.0, ends), method, level)


def permutation(
    candidate: Floats,
    baseline: Floats,
    value: Value,
    *,
    seed: int = 0,
    permutations: int = RESAMPLES,
    units: NDArray[np.intp] | None = None,
) -> float:
    """Two-sided p-value that the two systems are exchangeable: each example's pair of counts is swapped at random.

    (1 + permutations at least as extreme) / (1 + permutations): never zero, and valid at any number of permutations
    (Phipson and Smyth 2010).
    """
    if candidate.shape != baseline.shape:
        raise ValueError(f"the two systems' counts differ in shape: {candidate.shape} and {baseline.shape}")
    k = candidate.shape[1]
    rows, times = _distinct(sum_units(np.hstack([candidate, baseline]), units))
    first, second = rows[:, :k], rows[:, k:]
    observed = abs(float(_values(value, times @ first) - _values(value, times @ second)))
    differ = (first != second).any(axis=1)
    if not differ.any():
        return 1.0
    rng = np.random.default_rng(seed)
    fixed_first, fixed_second = times @ first, times @ second
    change = (second - first)[differ]
    extreme = 0
    for block in _blocks(permutations, int(differ.sum()) + 2 * k):
        swapped = rng.binomial(times[differ].astype(np.int64), 0.5, size=(block, int(differ.sum())))
        moved = swapped.astype(np.float64) @ change
        gap = _values(value, fixed_first + moved) - _values(value, fixed_second - moved)
        extreme += int((np.abs(gap) >= observed - _TIE).sum())
    return (1 + extreme) / (1 + permutations)
