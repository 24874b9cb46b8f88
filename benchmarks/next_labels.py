"""Rows chosen by `burnish data next` against rows drawn at random: the probe's accuracy with equally many labels.

    python benchmarks/next_labels.py banking77 trec --seeds 10

Every seed begins with the same random rows for both ways. A round fits the probe on what is labelled, adds rows from
4,000 unlabelled ones, and measures a new probe on the data set's test file. Differences are paired by seed, with a
95% t interval over the seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy import stats

from burnish.data.logistic import cross_validated
from burnish.inspection.next_labels import STRENGTHS, choose_next
from burnish.models.embed import load_embedder

DATA = Path(__file__).parent / "data"
POOL = 4000  # unlabelled rows that a round chooses from


def rows(name: str, part: str) -> tuple[list[str], np.ndarray]:
    """Texts and labels of one file."""
    lines = [json.loads(line) for line in (DATA / name / f"{part}.jsonl").open(encoding="utf-8")]
    return [line["text"] for line in lines], np.array([str(line["label"]) for line in lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="folders of benchmarks/data with train.jsonl and test.jsonl")
    parser.add_argument("--start", type=int, default=200, help="rows labelled at random at first")
    parser.add_argument("--add", type=int, default=100, help="rows labelled in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    embedder = load_embedder()
    results = {}
    for name in wanted.data:
        began = time.perf_counter()
        texts, labels = rows(name, "train")
        test_texts, test_labels = rows(name, "test")
        vectors, test_vectors = embedder.embed(texts), embedder.embed(test_texts)

        def accuracy(
            known: np.ndarray,
            vectors: np.ndarray = vectors,
            labels: np.ndarray = labels,
            held: np.ndarray = test_vectors,
            truth: np.ndarray = test_labels,
        ) -> float:
            probe = cross_validated(vectors[known], labels[known].tolist(), strengths=STRENGTHS).classifier
            return float((np.array(probe.classes)[probe.probabilities(held).argmax(axis=1)] == truth).mean())

        measured: dict[str, list[list[float]]] = {"chosen": [], "random": []}
        for seed in range(wanted.seeds):
            first = np.random.default_rng(seed).permutation(len(labels))[: wanted.start]
            for way, found in measured.items():
                rng = np.random.default_rng(seed + 1000)
                known, line = first, [accuracy(first)]
                for _ in range(wanted.rounds):
                    pool = rng.permutation(np.setdiff1d(np.arange(len(labels)), known))[:POOL]
                    if way == "chosen":
                        units = known.astype(str).tolist()
                        chosen = choose_next(
                            vectors[known], labels[known].tolist(), units, vectors[pool], wanted.add, seed=seed
                        )
                        new = pool[[choice.row for choice in chosen]]
                    else:
                        new = pool[: wanted.add]
                    known = np.concatenate([known, new])
                    line.append(accuracy(known))
                found.append(line)
        ours, chance = np.array(measured["chosen"]), np.array(measured["random"])
        table = []
        for step in range(wanted.rounds + 1):
            gap = ours[:, step] - chance[:, step]
            half = float(stats.t.ppf(0.975, len(gap) - 1) * stats.sem(gap)) if step else 0.0
            table.append(
                {
                    "labelled": wanted.start + step * wanted.add,
                    "chosen": float(ours[:, step].mean()),
                    "random": float(chance[:, step].mean()),
                    "difference": float(gap.mean()),
                    "low": float(gap.mean()) - half,
                    "high": float(gap.mean()) + half,
                }
            )
        results[name] = {"seeds": wanted.seeds, "seconds": time.perf_counter() - began, "table": table}
        if not wanted.json:
            print(f"{name}, {wanted.seeds} seeds, {results[name]['seconds']:.0f} s")
            for each in table:
                print("  {labelled:5} labels  chosen {chosen:.3f}  random {random:.3f}  "
                      "difference {difference:+.3f} ({low:+.3f} to {high:+.3f})".format(**each))  # fmt: skip
    if wanted.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
