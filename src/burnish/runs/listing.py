"""Finding runs, and telling them apart."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import RunError
from burnish.records import Json
from burnish.runs.files import read_json
from burnish.runs.folder import ENDED, EVALUATION_FILE, RUN_FILE, RunFolder


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs. seconds: of all stages; value: the candidate's on the goal's metric.

    status: run.json's; "interrupted" when a working state has no process any more, "damaged" without a readable one.
    """

    run_id: str
    path: Path
    name: str
    status: str
    created: str
    seconds: float | None
    verdict: str | None
    metric: str | None
    value: float | None


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What two runs do not share: dotted name -> (in a, in b), None where missing.

    metrics: "system.metric" -> the two values, also when they are equal.
    """

    settings: dict[str, tuple[Json, Json]]
    data: dict[str, tuple[Json, Json]]
    environment: dict[str, tuple[Json, Json]]
    metrics: dict[str, tuple[Json, Json]]


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """All runs of a folder, the newest first; empty when there is no such folder."""
    if not runs_dir.is_dir():
        return []
    folders = [path for path in runs_dir.iterdir() if (path / RUN_FILE).is_file() and not path.name.startswith(".")]
    return sorted(map(_summary, folders), key=lambda run: (run.created, run.run_id), reverse=True)


def find_run(runs_dir: Path, query: str) -> RunFolder:
    """The run with this id, beginning of an id, closing hash, or "latest". A path into runs_dir is taken as its id.

    RunError when none or several match, with the nearest names.
    """
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError("there are no runs here", got=str(runs_dir), fix="start one with `burnish run TASK`")
    wanted = query.rstrip("/")
    if "/" in wanted and Path(wanted).resolve().parent == runs_dir.resolve():
        wanted = Path(wanted).name
    if wanted == "latest":
        return RunFolder(runs[0].path)
    for run in runs:
        if run.run_id == wanted:
            return RunFolder(run.path)
    matches = [run for run in runs if wanted and run.run_id.startswith(wanted)]
    matches = matches or [run for run in runs if wanted and run.run_id.rpartition("-")[2] == wanted]
    if len(matches) == 1:
        return RunFolder(matches[0].path)
    if matches:
        shown = ", ".join(run.run_id for run in matches[:5]) + (", …" if len(matches) > 5 else "")
        raise RunError(f"{len(matches)} runs begin like this", got=query, fix=f"give more of the id: {shown}")
    near = difflib.get_close_matches(
        wanted, [run.run_id for run in runs] + [run.name for run in runs], n=3, cutoff=0.3
    )
    shown = ", ".join(dict.fromkeys(near)) or ", ".join(run.run_id for run in runs[:3])
    raise RunError("there is no such run", got=query, where=str(runs_dir), fix=f"did you mean: {shown}")


def diff_runs(a: Path, b: Path) -> RunDiff:
    """Compare two run folders. RunError when one has no readable run.json."""
    left, right = RunFolder(a).record(), RunFolder(b).record()
    return RunDiff(
        settings=_differences(_flat(left.get("config")), _flat(right.get("config"))),
        data=_differences(_data(a, left), _data(b, right)),
        environment=_differences(_environment(left), _environment(right)),
        metrics=_side_by_side(_metrics(a), _metrics(b)),
    )


def setting_differences(a: Mapping[str, Json], b: Mapping[str, Json]) -> list[str]:
    """The settings whose values differ, as dotted names."""
    return sorted(_differences(_flat(a), _flat(b)))


def resume_command(record: Mapping[str, Json]) -> str:
    """What goes on with the run of this run.json, by the command it was begun with."""
    return f"{record.get('command') or 'burnish run TASK'} --resume"


def remedy(run_dir: Path, record: Mapping[str, Json]) -> str:
    """What to do about a part that a run lacks: it was lost, or is not made yet."""
    if run_status(run_dir, record) == "done":
        return "restore it, or run the task again"
    return f"go on with `{resume_command(record)}`"


def lacking(run_dir: Path, part: str, otherwise: str = "") -> RunError:
    """The error of a part that a run lacks. part: its name. otherwise: ends the fix."""
    record = RunFolder(run_dir).record()
    status = run_status(run_dir, record)
    return RunError(
        f"the run has no {part}{'' if status == 'done' else ' yet'}",
        got=f"status {status}",
        where=str(run_dir),
        fix=f"{remedy(run_dir, record)}{otherwise}",
    )


def _summary(path: Path) -> RunSummary:
    folder = RunFolder(path)
    try:
        record = folder.record()
    except RunError:
        return RunSummary(path.name, path, path.name, "damaged", "", None, None, None, None)
    status = run_status(path, record)
    verdict = _optional(path / "verdict.json")
    metric = verdict.get("metric")
    value = _metrics(path).get(f"{verdict.get('candidate')}.{metric}")
    timings = record.get("timings") or {}
    return RunSummary(
        run_id=path.name,
        path=path,
        name=str(record.get("name") or path.name),
        status=status,
        created=str(record.get("created") or ""),
        seconds=sum(timings.values()) if timings else None,
        verdict=verdict.get("decision"),
        metric=metric,
        value=value,
    )


def run_status(path: Path, record: Mapping[str, Json]) -> str:
    """The status in run.json; "interrupted" when it is a working one and no process holds the run."""
    status = str(record.get("status", "unknown"))
    working = status not in (*ENDED, "created", "unknown")
    return "interrupted" if working and not RunFolder(path).locked() else status


def _optional(path: Path) -> dict[str, Any]:
    """A JSON object, empty when the run did not get that far or the file is damaged (`burnish show` tells which)."""
    try:
        found = read_json(path)
    except RunError:
        return {}
    return found if isinstance(found, dict) else {}


def _flat(value: Json, prefix: str = "") -> dict[str, Json]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are leaves."""
    if isinstance(value, Mapping) and value:
        return {
            name: leaf
            for key, item in value.items()
            for name, leaf in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value} if prefix else {}


def _data(path: Path, record: Mapping[str, Any]) -> dict[str, Json]:
    """The data's fingerprint and what split.json says in short (lists by their length)."""
    found: dict[str, Json] = {"fingerprint": record.get("data_fingerprint")}
    for key, item in _flat(_optional(path / "split.json")).items():
        found[f"split.{key}"] = f"{len(item)} rows" if isinstance(item, list) else item
    return found


def _environment(record: Mapping[str, Any]) -> dict[str, Json]:
    return _flat({key: record.get(key) for key in ("versions", "machine", "git_commit")})


def _metrics(path: Path) -> dict[str, Any]:
    """ "system.metric" -> value of evaluation.json."""
    systems = _optional(path / EVALUATION_FILE).get("systems")
    if not isinstance(systems, Mapping):
        return {}
    return {
        f"{system}.{metric}": interval.get("value")
        for system, evaluation in systems.items()
        if isinstance(evaluation, Mapping) and isinstance(evaluation.get("metrics"), Mapping)
        for metric, interval in evaluation["metrics"].items()
        if isinstance(interval, Mapping)
    }


def _side_by_side(a: Mapping[str, Json], b: Mapping[str, Json]) -> dict[str, tuple[Json, Json]]:
    return {key: (a.get(key), b.get(key)) for key in [*a, *(key for key in b if key not in a)]}


def _differences(a: Mapping[str, Json], b: Mapping[str, Json]) -> dict[str, tuple[Json, Json]]:
    return {key: pair for key, pair in _side_by_side(a, b).items() if pair[0] != pair[1]}
