"""How often the verdict is wrong, how often it sees a gain, and how often its intervals cover: by simulation.

    python benchmarks/verdict_simulations.py               # all tables, as Markdown (about a quarter of an hour)
    python benchmarks/verdict_simulations.py false-ships --trials 500

The rule (`gate.decide`), the intervals (`statistics.py`) and the looks (`looks.py`) are Burnish's own; only data are
drawn. A world says what is true: how likely each system is right, and how much systems are right on the same
examples. A false ship is "ship" for a candidate that is truly no better than the best baseline.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.evaluation import statistics
from burnish.evaluation.gate import decide
from burnish.evaluation.looks import level_of
from burnish.records import Evaluation, Interval, Paired, Verdict

Floats = NDArray[np.float64]
RESAMPLES = 1000  # a run takes 10,000: the ends of its intervals are steadier, and as wide


def mean(sums: Floats) -> Floats:
    """A rate: counts are [0 or 1, 1]. Also micro-averages: [right, of how many]."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def micro_f1(sums: Floats) -> Floats:
    """F1 over all fields; counts are [true positives, false positives, false negatives]."""
    total = 2 * sums[..., 0] + sums[..., 1] + sums[..., 2]
    return np.divide(2 * sums[..., 0], total, out=np.zeros_like(total), where=total > 0)


def macro_f1(sums: Floats) -> Floats:
    """F1 averaged over the classes that occur; counts are [tp, fp, fn] of each class."""
    each = np.reshape(sums, (*np.shape(sums)[:-1], -1, 3))
    total = 2 * each[..., 0] + each[..., 1] + each[..., 2]
    f1 = np.divide(2 * each[..., 0], total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(f1.sum(-1) / np.maximum((total > 0).sum(-1), 1))


class World(NamedTuple):
    """values: how often each system is right, the candidate first. shared: the share of examples on which all systems
    that are equally good answer alike. classes, skew: for macro-F1, class c has a share in proportion to c^-skew.
    """

    metric: str
    values: tuple[float, ...]
    shared: float = 0.5
    classes: int = 0
    skew: float = 0.0

    @property
    def value(self) -> Callable[[Floats], Floats]:
        return {"rate": mean, "field_f1": micro_f1, "macro_f1": macro_f1}[self.metric]

    @property
    def rate(self) -> bool:
        return self.metric == "rate"


def draw(world: World, n: int, rng: np.random.Generator) -> list[Floats]:
    """(n, K) counts of every system on the same n examples."""
    alike = rng.random(n) < world.shared
    if world.metric == "macro_f1":
        shares = 1 / np.arange(1, world.classes + 1) ** world.skew
        truth = rng.choice(world.classes, n, p=shares / shares.sum())
        return [_class_counts(truth, answers, world.classes) for answers in _answers(world, truth, alike, rng)]
    if world.metric == "field_f1":
        fields = rng.integers(1, 9, n)
        # A hard example is hard for all of its fields: answers of one example are not independent.
        ease, common = rng.beta(2, 1, n), rng.random(n)
        return [
            _field_counts(fields, np.clip(value * 1.5 * ease, 0, 1), np.where(alike, common, rng.random(n)))
            for value in world.values
        ]
    common = rng.random(n)
    hits = [(np.where(alike, common, rng.random(n)) < value).astype(np.float64) for value in world.values]
    return [np.column_stack([one, np.ones(n)]) for one in hits]


def _answers(
    world: World, truth: NDArray[np.intp], alike: NDArray[np.bool_], rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    n = len(truth)
    common, guess = rng.random(n), rng.integers(0, world.classes, n)
    found = []
    for value in world.values:
        right = np.where(alike, common, rng.random(n)) < value
        wrong = np.where(alike, guess, rng.integers(0, world.classes, n))
        found.append(np.where(right, truth, wrong))
    return found


def _class_counts(truth: NDArray[np.intp], answers: NDArray[np.intp], classes: int) -> Floats:
    counts = np.zeros((len(truth), classes, 3))
    rows, right = np.arange(len(truth)), truth == answers
    counts[rows[right], truth[right], 0] = 1
    counts[rows[~right], answers[~right], 1] = 1
    counts[rows[~right], truth[~right], 2] = 1
    return counts.reshape(len(truth), -1)


def _field_counts(fields: NDArray[np.intp], share: Floats, uniform: Floats) -> Floats:
    from scipy.stats import binom

    right = binom.ppf(uniform, fields, share)
    return np.column_stack([right, fields - right, fields - right])


# --- the verdict on drawn data ---


@lru_cache(maxsize=100_000)
def _rate_interval(wins: int, losses: int, n: int, level: float) -> Interval:
    """Only wins and losses matter for the difference of two rates, and they repeat: drawn once each."""
    ours, theirs = np.zeros(n), np.zeros(n)
    ours[:wins] = theirs[wins : wins + losses] = 1
    ones = np.ones(n)
    return statistics.paired_bootstrap(
        np.column_stack([ours, ones]),
        np.column_stack([theirs, ones]),
        mean,
        resamples=RESAMPLES,
        level=level,
        rate=True,
    )


def difference(world: World, ours: Floats, theirs: Floats, seed: int, level: float = 0.95) -> Interval:
    """The paired interval that a run computes."""
    if world.rate:
        gap = ours[:, 0] - theirs[:, 0]
        return _rate_interval(int((gap > 0).sum()), int((gap < 0).sum()), len(gap), level)
    return statistics.paired_bootstrap(ours, theirs, world.value, seed=seed, resamples=RESAMPLES, level=level)


def verdict(world: World, systems: Sequence[Floats], seed: int, *, margin: float = 0.0, look: int = 1) -> Verdict:
    """What the gate says of the first system against the others."""
    level = level_of(look)
    names = ["tuned", *(f"baseline{number}" for number in range(1, len(systems)))]
    evaluations, pairs = [], []
    for name, counts in zip(names, systems, strict=True):
        at = float(world.value(counts.sum(axis=0)))
        evaluations.append(Evaluation(name, "test", len(counts), {world.metric: Interval(at, at, at, "")}, 0, 0, 0))
        if name != "tuned":
            found = difference(world, systems[0], counts, seed, level)
            ends = found.value, found.low, found.high
            pairs.append(Paired("tuned", name, world.metric, *ends, 0.0, "", 0, 0, level))
    return decide(evaluations, pairs, candidate="tuned", margin=margin, target=None, looks=look)


def ship_rate(world: World, n: int, trials: int, seed: int, *, margin: float = 0.0) -> float:
    """Share of first looks that end in ship."""
    rng = np.random.default_rng(seed)
    shipped = [
        verdict(world, draw(world, n, rng), trial, margin=margin).decision == "ship" for trial in range(trials)
    ]
    return float(np.mean(shipped))


def any_ship_rate(world: World, n: int, looks: int, trials: int, seed: int, *, priced: bool = True) -> float:
    """Share of trials in which any of `looks` candidates, all as good as the baseline, is shipped.

    The world's values are those of the candidates, then of the baseline. priced: later looks ask for wider intervals.
    """
    rng = np.random.default_rng(seed)
    shipped = 0
    for trial in range(trials):
        *candidates, baseline = draw(world, n, rng)
        for number, counts in enumerate(candidates, 1):
            look = number if priced else 1
            if verdict(world, [counts, baseline], trial, look=look).decision == "ship":
                shipped += 1
                break
    return shipped / trials


def true_value(world: World, seed: int = 0, rows: int = 200_000) -> list[float]:
    """The metric of every system on so many examples that chance no longer matters.

    Not the mean over tests of n examples: their macro-F1 is biased where classes are rare.
    """
    rng = np.random.default_rng(seed)
    sums: list[Any] = [0.0] * len(world.values)
    for _ in range(max(1, rows // 20_000)):
        sums = [total + counts.sum(axis=0) for total, counts in zip(sums, draw(world, 20_000, rng), strict=True)]
    return [float(world.value(total)) for total in sums]


class Coverage(NamedTuple):
    """Shares of trials: the interval holds the truth; it lies above it; it lies below it."""

    covered: float
    above: float
    below: float


def coverage(world: World, n: int, trials: int, seed: int, *, paired: bool) -> Coverage:
    """Of the first system's value, or of its difference from the second."""
    truth = true_value(world, seed)
    wanted = truth[0] - truth[1] if paired else truth[0]
    rng = np.random.default_rng(seed + 1)
    above = below = 0
    for trial in range(trials):
        systems = draw(world, n, rng)
        if paired:
            found = difference(world, systems[0], systems[1], trial)
        elif world.rate:
            found = statistics.rate(systems[0][:, 0])
        else:
            found = statistics.bootstrap(systems[0], world.value, seed=trial, resamples=RESAMPLES)
        above += found.low > wanted
        below += found.high < wanted
    return Coverage(1 - (above + below) / trials, above / trials, below / trials)


# --- tables ---

SIZES = (50, 100, 200, 500, 1000, 5000)
RATE = World("rate", (0.8, 0.8))
NULLS = {
    "accuracy 80%, half answered alike": RATE,
    "exact match 30%, independent": World("rate", (0.3, 0.3), shared=0.0),
    "accuracy 97%, mostly alike": World("rate", (0.97, 0.97), shared=0.8),
    "accuracy 80%, three equal baselines": World("rate", (0.8,) * 4),
    "macro-F1, 4 classes": World("macro_f1", (0.75, 0.75), classes=4),
    "macro-F1, 10 skewed classes": World("macro_f1", (0.75, 0.75), classes=10, skew=1.0),
    "field F1": World("field_f1", (0.75, 0.75)),
}
# The second baseline is truly as good as the candidate; the first is worse, but wrong only where the candidate is
# wrong, so that the candidate surely beats it.
TRAP = World("rate", (0.80, 0.79), shared=1.0)


def false_ships(trials: int) -> str:
    """Worlds × sizes, margin 0, first look."""
    rows = [
        [name, *(f"{100 * ship_rate(world, n, _fewer(world, n, trials), seed=n):.1f}" for n in SIZES)]
        for name, world in NULLS.items()
    ]
    return _table(["system no better than the baseline; false ships in %", *(f"{n:,}" for n in SIZES)], rows)


def looks(trials: int) -> str:
    """Several candidates on one test."""
    rows = []
    for name, metric, classes in (("accuracy", "rate", 0), ("macro-F1, 4 classes", "macro_f1", 4)):
        for count in (1, 3, 10):
            for priced in (True, False) if count > 1 else (True,):
                world = World(metric, (0.8,) * (count + 1), classes=classes)
                found = [
                    any_ship_rate(world, n, count, _fewer(world, n, trials), seed=n, priced=priced)
                    for n in (50, 200, 1000)
                ]
                how = "each look priced" if priced else "all at 95%"
                rows.append([f"{name}, {count} looks, {how}", *(f"{100 * one:.1f}" for one in found)])
    return _table(["any of several useless candidates ships, in %", "50", "200", "1,000"], rows)


def trap(trials: int) -> str:
    """Why every baseline must be beaten: the truly best one may come second by chance."""
    rows = []
    for n in (200, 1000, 5000):
        rng, every, best_only = np.random.default_rng(n), 0, 0
        for trial in range(trials):
            systems = [*draw(TRAP, n, rng), *draw(World("rate", (0.8,)), n, rng)]
            every += verdict(TRAP, systems, trial).decision == "ship"
            best = max(systems[1:], key=lambda counts: float(counts[:, 0].sum()))
            best_only += verdict(TRAP, [systems[0], best], trial).decision == "ship"
        rows.append([f"{n:,}", f"{100 * every / trials:.1f}", f"{100 * best_only / trials:.1f}"])
    return _table(["test examples", "every baseline must be beaten", "only the one that seems best"], rows)


def power(trials: int) -> str:
    """Gain × size for accuracy 70% → 70% + gain, half of the examples answered alike."""
    tables = []
    for margin in (0.0, 0.05):
        rows = []
        for gain in (0.02, 0.05, 0.08, 0.1, 0.15, 0.2):
            world = World("rate", (0.7 + gain, 0.7))
            found = [ship_rate(world, n, trials, seed=n, margin=margin) for n in SIZES]
            rows.append([f"+{100 * gain:g} points", *(f"{100 * one:.0f}" for one in found)])
        tables.append(_table([f"true gain; ships in %, margin {100 * margin:g}", *(f"{n:,}" for n in SIZES)], rows))
    return "\n\n".join(tables)


def covers(trials: int) -> str:
    """Every kind of interval × size."""
    cases = (
        ("rate 80%: Wilson", RATE, False),
        ("rate 97%: Wilson", World("rate", (0.97,)), False),
        ("field F1: BCa", World("field_f1", (0.75,)), False),
        ("macro-F1, 4 classes: BCa", World("macro_f1", (0.75,), classes=4), False),
        ("macro-F1, 10 skewed classes: BCa", World("macro_f1", (0.75,), classes=10, skew=1.0), False),
        ("difference of rates, +10 points", World("rate", (0.8, 0.7)), True),
        ("difference of rates, equal, 97%", NULLS["accuracy 97%, mostly alike"], True),
        ("difference of field F1, +5 points", World("field_f1", (0.75, 0.7)), True),
        ("difference of macro-F1, 4 classes", World("macro_f1", (0.8, 0.7), classes=4), True),
        ("difference of macro-F1, 10 skewed", World("macro_f1", (0.8, 0.7), classes=10, skew=1.0), True),
    )
    rows = [
        [
            name,
            *(f"{100 * coverage(world, n, _fewer(world, n, trials), n, paired=paired).covered:.1f}" for n in SIZES),
        ]
        for name, world, paired in cases
    ]
    return _table(["95% intervals cover, in %", *(f"{n:,}" for n in SIZES)], rows)


def _fewer(world: World, n: int, trials: int) -> int:
    """Metrics that are resampled row by row take long: fewer trials at large sizes."""
    return trials if world.rate else max(200, trials // (2 if n <= 1000 else 8))


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *(["---:"] * (len(heading) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES = {"false-ships": false_ships, "looks": looks, "trap": trap, "power": power, "coverage": covers}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)} (default: all)")
    parser.add_argument("--trials", type=int, default=4000)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.tables) - TABLES.keys()):
        parser.error(f"there is no table {unknown[0]}: choose from {', '.join(TABLES)}")
    for name in arguments.tables or TABLES:
        began = time.monotonic()
        table = TABLES[name](arguments.trials)
        error = 100 * math.sqrt(0.05 * 0.95 / arguments.trials)
        print(f"\n## {name}\n\n{table}\n", flush=True)
        print(f"{arguments.trials:,} trials (standard error {error:.2f} at 5%), {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
