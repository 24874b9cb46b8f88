"""Everything a report needs, read from a run folder that may be unfinished or damaged.

A missing file is not a mistake where the run stopped before it. A file that cannot be read, or that was there, is
named in `problems`, which the report shows: nothing is dropped in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import RunError
from burnish.evaluation.measures import Calibration, Slices
from burnish.records import DataReport, Evaluation, Forgetting, Paired, Prediction, ProbeAnswer, PromptTrial, Verdict
from burnish.reports.summary import pick_paired
from burnish.reports.text import plural
from burnish.runs import from_json

Record = dict[str, Any]
_KEPT = ("data_report.json", "split.json", "test_examples.jsonl", "evaluation.json", "verdict.json")  # when done


@dataclass(frozen=True, slots=True)
class RunData:
    """What a run folder holds; empty where a file is missing.

    predictions: system -> example id -> record. examples: id -> {"input", "target"} of the sealed test.
    probe: "before" and "after" -> question id -> answer to a general question. prompts: ways of prompting tried.
    """

    path: Path
    run: Record
    split: Record
    data: Record
    history: list[Record]
    evaluations: dict[str, Record]
    paired: list[Record]
    verdict: Record
    predictions: dict[str, dict[str, Record]]
    examples: dict[str, Record]
    problems: list[str]
    forgetting: Record = field(default_factory=dict)
    probe: dict[str, dict[str, Record]] = field(default_factory=dict)
    calibration: list[Record] = field(default_factory=list)
    slices: Record = field(default_factory=dict)
    prompts: list[Record] = field(default_factory=list)

    @property
    def config(self) -> Record:
        """The resolved task file."""
        return _mapping(self.run.get("config"))

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.run.get("name") or self.path.name)

    @property
    def metric(self) -> str:
        """The goal's metric; empty when nothing was measured."""
        goal = _mapping(self.config.get("goal"))
        names = [name for record in self.evaluations.values() for name in record["metrics"]]
        for name in (self.verdict.get("metric"), goal.get("metric")):
            if name and (name in names or not names):
                return str(name)
        return names[0] if names else ""

    @property
    def candidate(self) -> str:
        """The system the verdict is about; empty when there is none."""
        if name := self.verdict.get("candidate"):
            return str(name)
        return "tuned" if "tuned" in self.evaluations else ""

    @property
    def baseline(self) -> str:
        """The best other system; empty when there is none."""
        if name := self.verdict.get("baseline"):
            return str(name)
        others = [name for name in self.evaluations if name != self.candidate and self.interval(name)]
        return max(others, key=lambda name: float(self.interval(name)["value"]), default="")

    @property
    def decision(self) -> str:
        """ship, hold, or empty."""
        return str(self.verdict.get("decision") or "")

    def interval(self, system: str, metric: str | None = None) -> Record:
        """A system's value with its interval; empty when it was not measured."""
        metrics = self.evaluations.get(system, {}).get("metrics", {})
        found = _mapping(metrics.get(metric or self.metric))
        return found if _finite(found, "value", "low", "high") else {}

    def pair(self, baseline: str) -> Record:
        """Candidate minus a baseline on the goal's metric; empty when it was not compared."""
        found = pick_paired(self.paired, self.candidate, baseline, self.metric) or {}
        return found if _finite(found, "difference", "low", "high") else {}

    @property
    def test_size(self) -> int:
        sizes = [int(record.get("examples") or 0) for record in self.evaluations.values()]
        return max(sizes, default=len(self.examples))


def read_run(run_dir: Path) -> RunData:
    """Read a run folder. Raises RunError when it is none; problems inside it are told, not raised."""
    if not run_dir.is_dir():
        raise RunError("there is no such run folder", got=str(run_dir), fix="list the runs with `burnish runs`")
    problems: list[str] = []
    evaluation = _object(run_dir / "evaluation.json", problems)
    systems = _mapping(evaluation.get("systems"))
    predictions = {}
    for file in sorted((run_dir / "predictions").glob("*.jsonl")):
        rows = (_checked(Prediction, row, f"predictions/{file.name}", problems) for row in _lines(file, problems))
        predictions[file.stem] = {str(row["example_id"]): row for row in rows if row}
    probe = {}
    for file in sorted((run_dir / "probe").glob("*.jsonl")):
        rows = (_checked(ProbeAnswer, row, f"probe/{file.name}", problems) for row in _lines(file, problems))
        probe[file.stem] = {str(row["question_id"]): row for row in rows if row}
    tried = _lines(run_dir / "prompts.jsonl", problems)
    trials = [_checked(PromptTrial, trial, "prompts.jsonl", problems) for trial in tried]
    checked = {str(n): _checked(Evaluation, one, "evaluation.json", problems) for n, one in systems.items()}
    data = RunData(
        path=run_dir,
        run=_object(run_dir / "run.json", problems),
        split=_object(run_dir / "split.json", problems),
        data=_checked(DataReport, _object(run_dir / "data_report.json", problems), "data_report.json", problems),
        history=_lines(run_dir / "metrics.jsonl", problems),
        evaluations={name: one for name, one in checked.items() if one},
        paired=_all(Paired, evaluation.get("paired"), problems),
        verdict=_checked(Verdict, _object(run_dir / "verdict.json", problems), "verdict.json", problems),
        predictions=predictions,
        examples={str(row.get("id")): row for row in _lines(run_dir / "test_examples.jsonl", problems)},
        forgetting=_checked(Forgetting, evaluation.get("forgetting"), "evaluation.json", problems),
        probe=probe,
        prompts=[trial for trial in trials if trial],
        slices=_checked(Slices, evaluation.get("slices"), "evaluation.json", problems),
        calibration=_all(Calibration, evaluation.get("calibration"), problems),
        problems=list(dict.fromkeys(problems)),
    )
    data.problems.extend(_lost(data))
    if not (data.run or data.evaluations or data.data or data.history or problems):
        raise RunError("this folder holds no run", got=str(run_dir), fix="list the runs with `burnish runs`")
    return data


def _lost(data: RunData) -> list[str]:
    """The files that the run must have had, by its state and its evaluation, and has no longer."""
    names = [f"predictions/{system}.jsonl" for system in data.evaluations]
    if data.run.get("status") == "done":
        names += _KEPT
    return [f"{name} is missing" for name in names if not (data.path / name).exists()]


def _checked(cls: type[Any], value: object, name: str, problems: list[str]) -> Record:
    """The record as a dict; empty, with its problem told, when it is not of that form."""
    if not value:
        return {}
    try:
        return asdict(from_json(cls, value, name))
    except RunError as error:
        problems.append(f"{name}: {error.what}")
        return {}


def _all(cls: type[Any], values: object, problems: list[str]) -> list[Record]:
    """The sound ones of a list in evaluation.json."""
    found = [_checked(cls, one, "evaluation.json", problems) for one in values] if isinstance(values, list) else []
    return [one for one in found if one]


def _finite(record: Record, *keys: str) -> bool:
    return all(isinstance(record.get(key), int | float) and math.isfinite(record[key]) for key in keys)


def _mapping(value: object) -> Record:
    return dict(value) if isinstance(value, Mapping) else {}


def _object(file: Path, problems: list[str]) -> Record:
    if not file.exists():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{file.name} could not be read: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{file.name} should hold a JSON object but holds {type(value).__name__}")
        return {}
    return value


def _lines(file: Path, problems: list[str]) -> list[Record]:
    if not file.exists():
        return []
    return list(_each_line(file, problems))


def _each_line(file: Path, problems: list[str]) -> Iterator[Record]:
    bad = 0
    first = 0
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if isinstance(row, dict):
                    yield row
                else:
                    bad += 1
                    first = first or number
    except OSError as error:
        problems.append(f"{file.name} could not be read: {error}")
    if bad:
        problems.append(f"{file.name}: {plural(bad, 'line')} without a JSON object, the first is line {first:,}")
