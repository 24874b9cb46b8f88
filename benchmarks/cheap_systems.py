"""Baselines of a task measured without training: value with interval, time an example, and what retrieval found.

    python benchmarks/cheap_systems.py benchmarks/tasks/banking77.yaml --systems prompt embedding_probe --json

The first system is what the others are compared with, example by example. Nothing is trained or shipped, so looks at
the test part are not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from burnish.cheap import Measured, compared, measured
from burnish.config import load_task
from burnish.measure import Bench
from burnish.prepare import prepare
from burnish.progress import Silent
from burnish.reports.terminal import TerminalProgress
from burnish.runs import new_run, read_jsonl, to_json


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--systems", nargs="+", help="baselines (default: the task file's)")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--rows", type=int, help="only the first rows of the part")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    began = time.perf_counter()
    loaded = load_task(arguments.task, arguments.set)
    with TerminalProgress(quiet=arguments.json) as progress, tempfile.TemporaryDirectory() as made:
        prepared = prepare(loaded, progress=Silent())
        folder = new_run(Path(made), loaded.config.name, loaded.config.model_dump(mode="json", by_alias=True))
        names = arguments.systems or loaded.config.baselines
        examples, seed = getattr(prepared.split, arguments.part)[: arguments.rows], loaded.config.seed
        bench = Bench(loaded, prepared, folder, progress)
        found = measured(bench, prepared.task, examples, names, progress, split=arguments.part, seed=seed)
        paired = compared(prepared.task, examples, found, [(name, names[0]) for name in names[1:]], seed=seed)
        tried = read_jsonl(folder.path / "prompts.jsonl") if (folder.path / "prompts.jsonl").exists() else []
        record = folder.record()
    facts = {
        "task": loaded.config.name,
        "part": arguments.part,
        "train": len(prepared.split.train),
        "examples": len(examples),
        "systems": {name: _system(found, name) for name in found.evaluations},
        "paired": to_json(paired),
        "tried": [{key: trial[key] for key in ("system", "k", "select", "metric", "value")} for trial in tried],
        "about": {key: record[key] for key in ("embedding_probe", "retrieval") if key in record},
        "seconds": round(time.perf_counter() - began, 1),
        "machine": platform.processor() or platform.machine(),
    }
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for name, system in facts["systems"].items():
        values = ", ".join(f"{metric} {_interval(one, '')}" for metric, one in system["metrics"].items())
        print(f"{name}: {values}; {system['seconds_per_example']:.3f} s an example")
        if "retrieval" in system:
            print(f"  {json.dumps(system['retrieval'])}")
    for pair in facts["paired"]:
        difference = _interval(pair | {"value": pair["difference"]}, "+")
        print(f"{pair['candidate']} minus {pair['baseline']}: {difference}, p = {pair['p_value']:.3g}")


def _interval(one: dict[str, Any], sign: str) -> str:
    return f"{one['value']:{sign}.3f} ({one['low']:{sign}.3f} to {one['high']:{sign}.3f})"


def _system(found: Measured, name: str) -> dict[str, Any]:
    evaluation = found.evaluations[name]
    made: dict[str, Any] = {
        "metrics": {
            metric: {"value": one.value, "low": one.low, "high": one.high}
            for metric, one in evaluation.metrics.items()
        },
        "seconds_per_example": evaluation.seconds_per_example,
        "prompt_tokens": evaluation.prompt_tokens,
    }
    if "retrieval" in evaluation.tables:
        made["retrieval"] = evaluation.tables["retrieval"]
    confidences = [one.confidence for one in found.predictions[name] if one.confidence is not None]
    if confidences:
        made["mean_confidence"] = sum(confidences) / len(confidences)
    return made


if __name__ == "__main__":
    main()
