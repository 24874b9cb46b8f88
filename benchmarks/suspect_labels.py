"""Flipped labels found by the check: recall, precision, and recall where half of what is listed was flipped.

    python benchmarks/suspect_labels.py banking77 trec --rate 0.05

Labels of up to 5,000 training rows are flipped to another label at random. Rows that were wrong before count as false
alarms, so the precision is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from burnish.inspection.labels import check_labels
from burnish.inspection.sample import Item
from burnish.models.embed import load_embedder
from burnish.records import Source

DATA = Path(__file__).parent / "data"
ROWS = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="folders of benchmarks/data with train.jsonl")
    parser.add_argument("--rate", type=float, default=0.05, help="share of the labels that are flipped")
    parser.add_argument("--flips", type=int, help="number of labels that are flipped, instead")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    embedder = load_embedder()
    results = {}
    for name in wanted.data:
        lines = [json.loads(line) for line in (DATA / name / "train.jsonl").open(encoding="utf-8")]
        vectors = embedder.embed([line["text"] for line in lines])
        found = [_flipped(lines, vectors, seed, wanted.rate, wanted.flips) for seed in range(wanted.seeds)]
        results[name] = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
        if not wanted.json:
            print(name, ", ".join(f"{key} {value:.3g}" for key, value in results[name].items()))
    if wanted.json:
        print(json.dumps(results, indent=2))


def _flipped(
    lines: list[dict[str, str]], vectors: np.ndarray, seed: int, rate: float, flips: int | None
) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(lines))[:ROWS]
    labels = [str(lines[row]["label"]) for row in rows]
    names = sorted(set(labels))
    wrong = set(rng.choice(len(rows), flips or round(rate * len(rows)), replace=False).tolist())
    given = [
        str(rng.choice([name for name in names if name != label])) if place in wrong else label
        for place, label in enumerate(labels)
    ]
    items = [
        Item(str(place), lines[row]["text"], label, lines[row]["text"], Source(str(place), place), "train")
        for place, (row, label) in enumerate(zip(rows, given, strict=True))
    ]
    began = time.perf_counter()
    check = check_labels(items, vectors[rows])
    assert check is not None
    hits = np.cumsum([suspect.item.source.line in wrong for suspect in check.suspects])
    precise = [hit / len(wrong) for place, hit in enumerate(hits, 1) if hit >= place / 2]
    return {
        "flipped": len(wrong),
        "listed": len(check.suspects),
        "recall": hits[-1] / len(wrong),
        "precision": hits[-1] / len(hits),
        "recall_at_precision_50": max(precise, default=0.0),
        "wrong_at_least": check.noise,
        "probe_accuracy": check.accuracy,
        "seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    main()
