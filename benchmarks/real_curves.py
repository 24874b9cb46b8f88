"""How well the learning curve foretells what real trainings on more rows then reached, and which prior does it best.

    python benchmarks/real_curves.py                   # the forecasts, from benchmarks/real_curves.json
    python benchmarks/real_curves.py --priors          # priors compared; each task judges those chosen without it
    python benchmarks/real_curves.py --collect runs    # take curves from folders of `burnish advise` into that file

A curve's first three sizes, its first four and so on are fitted as `burnish advise` fits them, and each larger size
is forecast. The values that were then measured have errors of their own (200 examples): score and interval take that
into account. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from burnish.advice.learning_curve import PRIOR, SEED_ERROR, Prior, fit, points_of
from burnish.runs import dumps, from_json, read_json, read_jsonl

DATA = Path(__file__).parent / "real_curves.json"
# Rows that the training saw, value and test examples of full runs (benchmarks/RESULTS.md).
FULL_RUNS = {
    "banking77": (3_200, 0.774, 500),
    "icd10cm": (3_200, 0.762, 500),
    "procedure-coding": (1_140, 0.850, 200),
    "questions-documents": (526, 0.467, 200),
    "snips": (1_200, 0.433, 300),
    "sroie": (240, 0.676, 75),
    "trec": (5_152, 0.972, 500),
    "trec_fine": (5_152, 0.900, 500),
}
SMALLEST_LEAP = 1.9  # times the rows of the last point: nearer sizes say little


@dataclass(frozen=True, slots=True)
class RealCurve:
    """What one system reached on growing parts of a task. points: rows and the value of each draw; examples: that
    each value was measured on."""

    task: str
    system: str
    metric: str
    examples: int
    points: tuple[tuple[int, tuple[float, ...]], ...]

    @property
    def measured(self) -> list[tuple[int, tuple[float, ...], int]]:
        """Rows, values and examples of the points, and of the full run."""
        full = FULL_RUNS.get(self.task) if self.system == "tuned" else None
        ends = [] if full is None else [(full[0], (full[1],), full[2])]
        return [(rows, values, self.examples) for rows, values in self.points] + ends


class Foretold(NamedTuple):
    """A forecast and what came. score: continuous ranked probability score (Gneiting and Raftery 2007, equation 20),
    in the metric's unit, lower is better; held: whether the 95% interval, with the value's own error, has it."""

    curve: RealCurve
    fitted: int
    rows: int
    value: float
    median: float
    low: float
    high: float
    held: bool
    score: float

    @property
    def leap(self) -> float:
        """Doublings from the last fitted size."""
        return float(np.log2(self.rows / self.fitted))


def main() -> None:
    """Read the command line, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", type=Path, metavar="RUNS", help="take the curves of advise-* folders, and end")
    parser.add_argument("--priors", action="store_true", help="compare priors, leaving one task out each time")
    parser.add_argument("--each", action="store_true", help="every forecast, too")
    arguments = parser.parse_args()
    if arguments.collect:
        found = collect(arguments.collect)
        DATA.write_text("[\n" + ",\n".join(f" {dumps(curve)}" for curve in joined(known_curves(), found)) + "\n]\n")
        print(f"{len(found)} curves: {DATA}")
        return
    curves = known_curves()
    if arguments.priors:
        compare(curves)
        return
    foretold = [one for curve in curves for one in forecasts(curve, PRIOR)]
    if arguments.each:
        print("| task | system | fitted up to | rows | forecast | measured |\n|---|---|---:|---:|---|---:|")
        for one in foretold:
            value = f"{one.median:.1%} ({100 * one.low:.1f} to {100 * one.high:.1f})"
            line = f"| {one.curve.task} | {one.curve.system} | {one.fitted:,} | {one.rows:,} | {value} |"
            print(f"{line} {one.value:.1%}{'' if one.held else ' (outside)'} |")
        print()
    print("| system | rows | forecasts | held by the 95% interval | width | median minus measured | score |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for system in dict.fromkeys(curve.system for curve in curves):
        for name, least, most in (("2 to 4 times", 0, 2.5), ("5 to 15 times", 2.5, 4), ("more", 4, 99)):
            group = [one for one in foretold if one.curve.system == system and least <= one.leap < most]
            if group:
                print(f"| {system} | {name} | {len(group)} | {summary(group)} |")


def collect(runs: Path) -> list[RealCurve]:
    """The curves of the newest advice of each task."""
    newest: dict[str, Path] = {}
    for folder in sorted(runs.glob("advise-*-2*")):
        if (folder / "advice.json").is_file():
            newest[str(read_json(folder / "advice.json")["name"])] = folder
    found = []
    for task, folder in sorted(newest.items()):
        advice = read_json(folder / "advice.json")
        lines = read_jsonl(folder / "curve.jsonl")
        for system in ("tuned", "embedding_probe"):
            by_rows: dict[int, list[float]] = {}
            for line in lines:
                if line["system"] == system:
                    by_rows.setdefault(line["rows"], []).append(round(line["value"], 4))
            if len(by_rows) > 3 or (system, len(by_rows)) == ("tuned", 3):
                points = tuple((rows, tuple(values)) for rows, values in sorted(by_rows.items()))
                found.append(RealCurve(task, system, advice["metric"], advice["examples"], points))
    return found


def joined(known: Sequence[RealCurve], new: Sequence[RealCurve]) -> list[RealCurve]:
    """Curves of both; where both have one of a task and system on as many examples, its sizes from both, new ones
    first."""
    found = {(curve.task, curve.system): curve for curve in known}
    for curve in new:
        before = found.get((curve.task, curve.system))
        points = dict(curve.points)
        if before is not None and (before.metric, before.examples) == (curve.metric, curve.examples):
            points = dict(before.points) | points
        found[curve.task, curve.system] = replace(curve, points=tuple(sorted(points.items())))
    return sorted(found.values(), key=lambda curve: (curve.task, curve.system != "tuned"))


def known_curves() -> list[RealCurve]:
    """The curves in real_curves.json."""
    return [from_json(RealCurve, one, str(DATA)) for one in read_json(DATA)]


def forecasts(curve: RealCurve, prior: Prior) -> Iterator[Foretold]:
    """Every later size foretold from the sizes up to each one."""
    rng = np.random.default_rng(0)
    for known in range(3, len(curve.points) + 1):
        start = curve.points[:known]
        later = [point for point in curve.measured[known:] if point[0] >= SMALLEST_LEAP * start[-1][0]]
        fitted = fit(points_of(start, test_rows=curve.examples), prior) if later else None
        for rows, values, examples in later:
            assert fitted is not None
            value = float(np.mean(values))
            error = np.sqrt(value * (1 - value) / examples + SEED_ERROR**2 / len(values))
            drawn = fitted.drawn_at(rows) + error * rng.standard_normal(len(fitted.gap))
            low, high = np.quantile(drawn, [0.025, 0.975])
            told = fitted.forecast(rows)
            held = bool(low <= value <= high)
            score = score_of(drawn, value)
            yield Foretold(curve, start[-1][0], rows, value, told.value, told.low, told.high, held, score)


def score_of(drawn: NDArray[np.float64], value: float) -> float:
    """The continuous ranked probability score of equally likely draws: E|X - y| - E|X - X'| / 2."""
    ordered = np.sort(drawn)
    weights = 2 * np.arange(1, len(ordered) + 1) - len(ordered) - 1
    spread = 2 * float(weights @ ordered) / len(ordered) ** 2
    return float(np.mean(np.abs(drawn - value))) - spread / 2


def summary(group: Sequence[Foretold]) -> str:
    """Four cells: how many held, mean width in points, mean of median minus measured, mean score."""
    held = float(np.mean([one.held for one in group]))
    width = float(np.mean([one.high - one.low for one in group]))
    off = float(np.mean([one.median - one.value for one in group]))
    score = float(np.mean([one.score for one in group]))
    return f"{held:.0%} | {100 * width:.0f} points | {100 * off:+.1f} points | {100 * score:.2f}"


def candidates() -> list[Prior]:
    """Priors to compare."""
    shares = [(0.4, 0.15, 0.35, 0.1), (0.6, 0.05, 0.3, 0.05), (0.3, 0.05, 0.6, 0.05), (0.45, 0.02, 0.5, 0.03)]
    return [
        Prior(shares=share, height=height, exponents=exponents, error=error)
        for share, height, exponents, error in itertools.product(
            shares, (0.0, 2.0, 5.0, 10.0, 20.0), ((0.05, 2.0), (0.2, 1.0), (0.3, 1.5)), (0.005, 0.01)
        )
    ]


def compare(curves: Sequence[RealCurve]) -> None:
    """Mean score of each prior over the tasks, and of the choice that leaves the judged task out."""
    tasks = sorted({curve.task for curve in curves})
    priors = [PRIOR, *(one for one in candidates() if one != PRIOR)]
    scores = np.array([[_of_task(curves, task, prior) for task in tasks] for prior in priors])
    mean = scores.mean(axis=1)
    print("| prior | mean score | the same, task by task |\n|---|---:|---|")
    for place in [0, *np.argsort(mean)[:8]]:
        prior = priors[place]
        each = ", ".join(f"{task} {100 * score:.1f}" for task, score in zip(tasks, scores[place], strict=True))
        print(f"| {prior} | {100 * mean[place]:.2f} | {each} |")
    left_out = []
    for judged in range(len(tasks)):
        others = [place for place in range(len(tasks)) if place != judged]
        left_out.append(scores[int(np.argmin(scores[:, others].mean(axis=1))), judged])
    print(f"\nchosen without the judged task: {100 * np.mean(left_out):.2f}; now: {100 * mean[0]:.2f}")


def _of_task(curves: Sequence[RealCurve], task: str, prior: Prior) -> float:
    """A task's mean score: its forecasts count alike within a system, its systems alike."""
    of_systems = [
        np.mean([one.score for one in forecasts(curve, prior)] or [np.nan]) for curve in curves if curve.task == task
    ]
    return float(np.nanmean(of_systems))


if __name__ == "__main__":
    main()
