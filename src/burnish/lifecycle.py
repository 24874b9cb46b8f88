"""The whole line in one place: check, split, baselines, train, evaluate, gate, report.

Every step leaves its result in the run folder, whole or not at all, so that a stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.config import LoadedTask, TaskConfig, load_task, task_from
from burnish.data.lineage import LINEAGE, lineage_lines, read_files
from burnish.errors import RunError
from burnish.evaluation.evaluate import comparisons, evaluate
from burnish.evaluation.gate import best_baseline, decide
from burnish.evaluation.looks import level_of
from burnish.evaluation.measures import Slices
from burnish.evaluation.slices import judge_slices
from burnish.finished import CANDIDATE, Run
from burnish.hosting import require_hosted, without_limits
from burnish.measure import Bench
from burnish.mixing import keep_mixture
from burnish.prepare import Prepared, prepare_checked, refuse_errors
from burnish.probing import forgetting_of, probe_step, questions_of
from burnish.progress import Progress, Silent
from burnish.records import DataReport, Evaluation, Forgetting, Json, Paired, Prediction, Verdict
from burnish.runs import (
    RunFolder,
    find_run,
    list_runs,
    new_run,
    predictions_path,
    read_json,
    read_predictions,
    record_look,
    resume_command,
    setting_differences,
    write_evaluation,
    write_json,
    write_jsonl,
    write_predictions,
)
from burnish.team import Together, together
from burnish.tracking.hub import Trackers, require_trackers
from burnish.training.optimizers import require_optimizer
from burnish.trust import calibration_step, slices_of, tell_power


def run(
    task: str | Path | Mapping[str, Any] | LoadedTask,
    *,
    runs_dir: str | Path = "runs",
    resume: bool = False,
    allow_bad_rows: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
    processes: int = 1,
    cluster: str | None = None,
    max_restarts: int = 1,
) -> Run:
    """Do all of it: from labelled examples to a verdict with its evidence.

    task: a task file (or its folder), the same as a mapping, or a loaded one. runs_dir: where run folders are made.
    resume: go on with the newest unfinished run of the same task instead of beginning a new one.
    processes: how many train together, on this machine, or where cluster says (a Ray address, or "local").
    max_restarts: how often training goes on from its last checkpoint when one of them dies.
    Under torchrun the first process does all of it, and the others take part in training.
    Raises BurnishError for everything that the user can mend; the run folder then holds what was done so far.
    """
    with together(
        processes=processes, cluster=cluster, max_restarts=max_restarts, allow_bad_rows=allow_bad_rows
    ) as team:
        if team.follow is not None:
            return Run(team.follow())
        resume, progress = resume or team.restarted, progress or Silent()
        return _run(task, Path(runs_dir), resume, allow_bad_rows, progress, command, team)


def _run(
    task: str | Path | Mapping[str, Any] | LoadedTask,
    root: Path,
    resume: bool,
    allow_bad_rows: int,
    progress: Progress,
    command: str | None,
    team: Together,
) -> Run:
    loaded = team.settings(_load(task), progress)
    for notice in loaded.notices:
        progress.notice(notice)
    require_trackers(loaded.config.trackers)
    require_optimizer(loaded.config.training.optimizer)
    if not resume:
        require_hosted(loaded.config, progress)
    folder = (
        _unfinished(root, loaded) if resume else new_run(root, loaded.config.name, _settings(loaded), command=command)
    )
    team.began(folder.path)
    progress.stage("run", str(folder.path))
    config = loaded.config
    trackers = Trackers(
        config.trackers, folder.path, project=config.name, config=_settings(loaded), progress=progress
    )
    with folder.lock(), trackers:
        with folder.stage("checking"):
            progress.stage("check", "reading the examples and looking for what is wrong with them")
            prepared, report = prepare_checked(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
            _keep_check(folder, report, progress)
        with folder.stage("splitting"):
            _keep_split(folder, prepared, progress)
            tell_power(folder, prepared, config.goal.margin, progress)
            keep_mixture(folder, prepared.extras)
            questions = questions_of(config, progress)
        bench = Bench(loaded, prepared, folder, progress, team.fit)
        with folder.stage("baselines"):
            if _unmeasured(folder, config):
                bench.require_trainable()
            for name in config.baselines:
                progress.stage("baseline", f"{name} on {len(prepared.split.test)} sealed examples")
                _answers(folder, name, prepared, bench)
            probe_step(folder, "before", questions, bench.probe, progress)
        with folder.stage("training"):
            progress.stage("train", bench.training_words())
            bench.train(trackers.log)
        with folder.stage("evaluating"):
            progress.stage("evaluate", f"the tuned model on {len(prepared.split.test)} sealed examples")
            # Written down first: a crash after the look must not hide it.
            looks = record_look(root, prepared.split.sealed_hash, folder.run_id, CANDIDATE)
            _answers(folder, CANDIDATE, prepared, bench)
            probe_step(folder, "after", questions, bench.probe, progress)
            forgetting = forgetting_of(folder, questions, config)
            level = level_of(looks)
            goal = config.goal
            evaluations, paired, slices = _evaluate(folder, prepared, config, forgetting, level)
            verdict = decide(
                evaluations,
                paired,
                candidate=CANDIDATE,
                margin=goal.margin,
                target=goal.target,
                looks=looks,
                forgetting=forgetting,
                slices=judge_slices(slices, hold=goal.slices == "hold") if slices else None,
            )
            write_json(folder.path / "verdict.json", verdict)
            trackers.finish(_tracked(evaluations, verdict))
        with folder.stage("reporting"):
            _report(folder)
        folder.set_status("done")
    return Run(folder.path)


def _load(task: str | Path | Mapping[str, Any] | LoadedTask) -> LoadedTask:
    if isinstance(task, LoadedTask):
        return task
    return task_from(task) if isinstance(task, Mapping) else load_task(task)


def _settings(loaded: LoadedTask) -> dict[str, Json]:
    settings: dict[str, Json] = loaded.config.model_dump(mode="json", by_alias=True)
    return settings


def _lasting(settings: Mapping[str, Json]) -> dict[str, Json]:
    """Settings without those that a resumed run may change: limits of hosted models, and how weights are cut."""
    found = without_limits(settings)
    training: Any = found.get("training") or {}
    return {**found, "training": {key: value for key, value in training.items() if key != "sharding"}}


def _unfinished(root: Path, loaded: LoadedTask) -> RunFolder:
    """The newest run of the task, with these settings, that is not done. RunError when there is none."""
    settings = _lasting(_settings(loaded))
    others = []
    for summary in list_runs(root):
        if summary.status == "damaged":
            continue
        folder = find_run(root, summary.run_id)
        record = folder.record()
        if record["name"] != loaded.config.name or record["status"] == "done":
            continue
        if _lasting(record["config"]) == settings:
            return folder
        others.append((folder, record))
    if others:
        folder, record = others[0]
        changed = setting_differences(_lasting(record["config"]), settings)
        raise RunError(
            "the settings are not those of the run that would be resumed",
            got=", ".join(changed),
            where=str(folder.path),
            fix=f"give them as they were, with every --set: `{resume_command(record)}`; or begin without --resume",
        )
    raise RunError(
        "there is no unfinished run of this task",
        got=loaded.config.name,
        where=str(root),
        fix="run without --resume, or name the folder with --runs-dir",
    )


def _keep_check(folder: RunFolder, report: DataReport, progress: Progress) -> None:
    """Write data_report.json; an error among the findings stops the run."""
    write_json(folder.path / "data_report.json", report)
    refuse_errors(report, progress)


def _keep_split(folder: RunFolder, prepared: Prepared, progress: Progress) -> None:
    """Write split.json and the sealed examples; a resumed run must find the same test."""
    split, path = prepared.split, folder.path / "split.json"
    if path.exists() and read_json(path)["sealed_hash"] != split.sealed_hash:
        raise RunError(
            "the data have changed since the run began: the sealed test would be another",
            where=str(path),
            fix="restore the data, or begin anew without --resume",
        )
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    ids: dict[str, Json] = {name: [example.id for example in part] for name, part in parts.items()}
    write_json(path, ids | {"sealed_hash": split.sealed_hash})
    write_jsonl(folder.path / "test_examples.jsonl", (prepared.shown(example) for example in split.test))
    write_jsonl(folder.path / LINEAGE, lineage_lines(split, prepared.extras))
    folder.update(data_fingerprint=prepared.fingerprint, data_files=read_files(split, prepared.extras))
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    progress.stage("split", f"{sizes}; sealed test {split.sealed_hash[:12]}")


def _unmeasured(folder: RunFolder, config: TaskConfig) -> list[str]:
    """The baselines without answers."""
    return [name for name in config.baselines if not predictions_path(folder.path, name).exists()]


def _answers(folder: RunFolder, name: str, prepared: Prepared, bench: Bench) -> None:
    """predictions/<name>.jsonl, unless an earlier sitting left it."""
    path = predictions_path(folder.path, name)
    if name != CANDIDATE:
        runs_dir = folder.path.parent
        record_look(runs_dir, prepared.split.sealed_hash, folder.run_id, name, candidate=False)
    if not path.exists():
        write_predictions(path, bench.predict(name, prepared.split.test))


def _evaluate(
    folder: RunFolder, prepared: Prepared, config: TaskConfig, forgetting: Forgetting | None, level: float
) -> tuple[list[Evaluation], list[Paired], Slices | None]:
    """Measure every system with the same code on the same examples. level: of the differences' intervals."""
    test, seed = prepared.split.test, config.seed
    evaluations = []
    answers: dict[str, list[Prediction]] = {}
    for name in [*config.baselines, CANDIDATE]:
        path = predictions_path(folder.path, name)
        evaluation, answers[name] = evaluate(
            name, prepared.task, test, read_predictions(path), split="test", seed=seed
        )
        evaluations.append(evaluation)
        write_predictions(path, answers[name])
    paired = comparisons(prepared.task, test, answers, candidate=CANDIDATE, seed=seed, level=level)
    rival = best_baseline(evaluations, paired)
    slices = slices_of(prepared, answers, CANDIDATE, rival, seed=seed) if config.goal.slices != "off" else None
    extras = {
        "forgetting": forgetting,
        "calibration": calibration_step(folder, prepared, answers, candidate=CANDIDATE, seed=seed),
        "slices": slices,
    }
    write_evaluation(folder.path / "evaluation.json", evaluations, paired, **extras)
    return evaluations, paired, slices


def _tracked(evaluations: Sequence[Evaluation], verdict: Verdict) -> dict[str, Json]:
    """What trackers show of the result: every system's metrics on the sealed test, and the verdict."""
    found: dict[str, Json] = {
        f"test/{evaluation.system}/{name}": interval.value
        for evaluation in evaluations
        for name, interval in evaluation.metrics.items()
    }
    return found | {"verdict": verdict.decision, "reasons": " ".join(verdict.reasons), "looks": verdict.looks}


def _report(folder: RunFolder) -> None:
    from burnish.reports.html import write_report
    from burnish.reports.model_card import write_model_card
    from burnish.reports.rundata import read_run

    data = read_run(folder.path)
    write_report(folder.path, data)
    write_model_card(folder.path, data)
