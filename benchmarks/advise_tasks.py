"""What `burnish advise` recommends for each task, how long it took, and whether a full run confirms it.

    python benchmarks/advise_tasks.py benchmarks/tasks/trec.yaml examples/procedure-coding --runs runs --markdown

Each task is advised in a process of its own. A run in --runs of the same task confirms "fine-tune" when it ships the
tuned model, and any other choice when no tuned model beats that system by the margin on the sealed test: a tuned
value that was measured for nothing else is what the advice was asked to spare. --known reads advice that is there
(advice.json of the newest advise-* folder in --runs) in place of asking again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from burnish.config import load_task
from burnish.runs import read_evaluation, read_json

TUNED = ("fine_tune", "rag_and_fine_tune")


class Confirmation(NamedTuple):
    """What the full run says. systems: value of each on the sealed test; holds: whether the advice was right."""

    systems: dict[str, float]
    decision: str
    holds: bool


def main() -> None:
    """Read the command line, advise task by task, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where advice and full runs are (runs)")
    parser.add_argument("--known", action="store_true", help="read advice that is there")
    parser.add_argument("--options", default="", help="of `burnish advise`, in one string")
    parser.add_argument("--markdown", action="store_true", help="a table (default: JSON, one line a task)")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(
            "| task | rows | measured on | held-out rows: systems | tuned, forecast | recommended | time | full run |"
        )
        print("|---|---:|---:|---|---|---|---:|---|")
    for task in arguments.tasks:
        name = load_task(task).config.name
        if not arguments.known:
            advise(task, arguments.runs, arguments.options.split())
        advice = newest(arguments.runs, name)
        if advice is None:
            raise SystemExit(f"no advice of {name} in {arguments.runs}: leave out --known")
        found = facts(name, advice, confirmation(arguments.runs, name, advice["recommendation"]))
        print(line(found) if arguments.markdown else json.dumps(found), flush=True)


def advise(task: Path, runs: Path, options: list[str]) -> None:
    """`burnish advise` as a user calls it; its own output goes to stderr."""
    command = [sys.executable, "-m", "burnish", "advise", str(task), "--runs-dir", str(runs), *options]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    print(f"{task}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


def newest(runs: Path, name: str) -> dict[str, Any] | None:
    """The newest finished advice of a task."""
    for folder in sorted(runs.glob(f"advise-{name}-2*"), reverse=True):
        if (folder / "advice.json").is_file():
            return dict(read_json(folder / "advice.json"))
    return None


def confirmation(runs: Path, name: str, recommendation: dict[str, Any]) -> Confirmation | None:
    """The newest full run of the task against the advice; None without one that has a verdict."""
    for folder in sorted(runs.glob(f"{name}-2*"), reverse=True):
        if (folder / "verdict.json").is_file():
            verdict = read_json(folder / "verdict.json")
            break
    else:
        return None
    evaluations, paired = read_evaluation(folder / "evaluation.json")
    systems = {one.system: one.metrics[verdict["metric"]].value for one in evaluations}
    if recommendation["choice"] in TUNED:
        return Confirmation(systems, verdict["decision"], verdict["decision"] == "ship")
    pair = next((one for one in paired if (one.candidate, one.baseline) == ("tuned", recommendation["system"])), None)
    beaten = pair is not None and pair.difference >= verdict["margin"] and pair.low > 0
    return Confirmation(systems, verdict["decision"], pair is not None and not beaten)


def facts(name: str, advice: dict[str, Any], confirmed: Confirmation | None) -> dict[str, Any]:
    """One task's line."""
    metric, choice = advice["metric"], advice["recommendation"]
    tuned = next((curve for curve in advice["curves"] if curve["system"] == "tuned"), None)
    return {
        "task": name,
        "rows": advice["rows"],
        "examples": advice["examples"],
        "metric": metric,
        "systems": {one["system"]: one["metrics"][metric]["value"] for one in advice["systems"]},
        "tuned": None
        if tuned is None
        else {key: tuned[key] for key in ("value", "low", "high", "reached", "measured")}
        | {"trained_on": [point["rows"] for point in tuned["points"]]},
        "choice": choice["choice"],
        "system": choice["system"],
        "seconds": sum(advice["seconds"].values()),
        "run": None if confirmed is None else confirmed._asdict(),
    }


def line(found: dict[str, Any]) -> str:
    """The line as a row of the table."""
    systems = ", ".join(f"{name} {100 * value:.1f}%" for name, value in found["systems"].items())
    tuned, run = found["tuned"], found["run"]
    forecast = "–"
    if tuned is not None:
        forecast = f"{100 * tuned['value']:.1f}% ({100 * tuned['low']:.1f} to {100 * tuned['high']:.1f})"
    full = "–"
    if run is not None:
        values = ", ".join(f"{name} {100 * value:.1f}%" for name, value in run["systems"].items())
        full = f"{values}; {run['decision']}: {'confirmed' if run['holds'] else 'not confirmed'}"
    minutes, seconds = divmod(round(found["seconds"]), 60)
    return (
        f"| {found['task']} ({found['metric']}) | {found['rows']:,} | {found['examples']} | {systems} | {forecast} | "
        f"{found['choice'].replace('_', ' ')} | {minutes} min {seconds:02d} s | {full} |"
    )


if __name__ == "__main__":
    main()
