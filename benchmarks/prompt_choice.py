"""What trying ways of prompting is worth: the few_shot baseline by the task file, and the best on validation.

    python benchmarks/prompt_choice.py benchmarks/tasks/trec.yaml --rows 200 --examples 50 --json trec.json

Both answer the same test rows (a public test or the sealed part: for measurements, not for a verdict).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from burnish.choosing import PROMPTS, Way, choose_way, read_trials, ways
from burnish.config import load_task
from burnish.evaluation.evaluate import compare, evaluate
from burnish.measure import Bench
from burnish.prepare import prepare
from burnish.progress import Progress
from burnish.records import Example, Prediction
from burnish.reports.terminal import TerminalProgress
from burnish.runs import new_run


class Asked:
    """A system of the bench, prompted in one way."""

    def __init__(self, bench: Bench, name: str, way: Way) -> None:
        self.name, self._bench, self._way = name, bench, way

    def predict(self, examples: Sequence[Example], progress: Progress) -> list[Prediction]:
        return self._bench.predict_as(self.name, self._way, examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--rows", type=int, default=200, help="test rows that both answer")
    parser.add_argument("--examples", type=int, default=50, help="validation rows that choose")
    parser.add_argument("--instruction", action="append", default=[], help="another instruction to try; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    own = load_task(options.task)
    tried = load_task(
        options.task,
        [
            "few_shot.k=auto",
            "few_shot.select=auto",
            f"prompt.eval_examples={options.examples}",
            f"prompt.instructions={json.dumps(options.instruction)}",
        ],
    )
    with TerminalProgress() as progress, tempfile.TemporaryDirectory() as temporary:
        prepared = prepare(tried, progress=progress)
        rows = prepared.split.test[: options.rows]
        folder = new_run(Path(temporary), tried.config.name, {}, command=None)
        bench = Bench(tried, prepared, folder, progress)
        default = Way(**{part: values[0] for part, values in ways(own.config, few=True).items()})
        began = time.perf_counter()
        best = choose_way(
            "few_shot", tried.config, prepared, folder.path, progress,
            lambda way: Asked(bench, "few_shot", way), few=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        answers = {name: bench.predict_as("few_shot", way, rows) for name, way in (("own", default), ("best", best))}
        found = {
            name: evaluate(name, prepared.task, rows, one, split="test", seed=own.config.seed)[0]
            for name, one in answers.items()
        }
        gain = compare(
            prepared.task,
            rows,
            answers["best"],
            answers["own"],
            candidate="best",
            baseline="own",
            seed=own.config.seed,
        )
        result = {
            "task": own.config.name,
            "rows": len(rows),
            "own": default._asdict(),
            "best": best._asdict(),
            "trials": [asdict(trial) for trial in read_trials(folder.path / PROMPTS)],
            "choosing_seconds": round(seconds, 1),
            "systems": {
                name: {"prompt_tokens": one.prompt_tokens, "seconds": one.seconds_per_example}
                | {metric: [value.value, value.low, value.high] for metric, value in one.metrics.items()}
                for name, one in found.items()
            },
            "gain": asdict(gain),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
