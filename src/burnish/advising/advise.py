"""The whole of `burnish advise` in order: check, hold rows out, cheap systems, small trainings, one recommendation.

It stands in runs/advise-<name>-<time>-<hash>/ and goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from burnish.advice.candidates import Ranked
from burnish.advice.facts import Facts, KnowledgeFact
from burnish.advice.learning_curve import FARTHEST
from burnish.advice.recommend import recommend
from burnish.advice.result import Advice, Curve
from burnish.advising import EXAMPLES, MINUTES
from burnish.advising.curves import SIZES_NEEDED, Points, curve_of, probe_points, rows_reached, sizes, tuned_points
from burnish.advising.evidence import facts_of
from burnish.advising.held_out import hold_out
from burnish.advising.labels import with_doubts
from burnish.advising.models import rank_models
from burnish.cheap import compared, measured
from burnish.config import LoadedTask, TaskConfig, load_task, task_from
from burnish.errors import ConfigError
from burnish.evaluation.evaluate import compare, primary_value
from burnish.measure import Bench
from burnish.models.catalog import EMBEDDING_MODEL, resolve
from burnish.prepare import Prepared, prepare_checked
from burnish.progress import Progress, Silent
from burnish.records import DataReport, Evaluation, Json
from burnish.reports.advice import write_advice_page
from burnish.runs import (
    NotesFolder,
    locked_study,
    new_study,
    newest_study,
    predictions_path,
    read_predictions,
    to_json,
    write_json,
    write_predictions,
)

KNOWING = "right_document"
KIND, NOUN = "advise", "advice"
RESULT, PAGE = "advice.json", "advice.html"
LADDER = ("majority", "prompt", "few_shot", "embedding_probe", "rag")


def advise(
    task: str | Path | Mapping[str, Any] | LoadedTask,
    *,
    systems: Sequence[str] | None = None,
    examples: int = EXAMPLES,
    curve_rows: int | None = None,
    minutes: float = MINUTES,
    train: bool = True,
    models: Sequence[str] = (),
    runs_dir: str | Path = "runs",
    resume: bool = False,
    allow_bad_rows: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
) -> Advice:
    """Measure what is cheaper than fine-tuning, forecast what fine-tuning would bring, and recommend one of them.

    systems: names to measure (default: those that suit the task). examples: held out of the training part to measure
    on; the sealed test is not read. curve_rows: the most rows of a small training (None: all there are); minutes:
    for all of them together (three are made whatever they take); train: whether any is made. models: candidates to
    rank for the task beside its own. resume: go on with the newest advice of the task.
    Raises BurnishError for everything that the user can mend, Interrupted with what was measured kept.
    """
    loaded = (
        task if isinstance(task, LoadedTask) else task_from(task) if isinstance(task, Mapping) else load_task(task)
    )
    progress, root = progress or Silent(), Path(runs_dir)
    for notice in loaded.notices:
        progress.notice(notice)
    config = loaded.config
    names = _asked_for(loaded, systems, models)
    clock = _Clock()
    with clock("check"):
        progress.stage("check", "reading the examples and looking for what is wrong with them")
        prepared, report = prepare_checked(loaded, allow_bad_rows=allow_bad_rows, progress=progress)
    asked: dict[str, Json] = {
        "config": {
            key: value
            for key, value in config.model_dump(mode="json", by_alias=True).items()
            if key not in ("tune", "trackers")
        },
        "systems": list(names),
        "examples": examples,
        "data_fingerprint": prepared.fingerprint,
    }
    if resume:
        folder = newest_study(root, KIND, config.name, asked, noun=NOUN)
    else:
        folder = new_study(root, KIND, config.name, asked, command, noun=NOUN)
    progress.stage("advise", str(folder))
    with locked_study(folder, noun=NOUN):
        if any(finding.severity == "error" for finding in report.findings):
            facts = facts_of(config, report, len(prepared.split.train), (), (), ())
            return _keep(folder, config, prepared, report, facts, (), (), (), clock)
        held = hold_out(prepared, config, examples)
        bench = Bench(loaded, held, NotesFolder(folder / "systems"), progress)
        if "embedding_probe" in names:
            with clock("labels"):
                judge = bench.embedder(_judging(config))
                report = with_doubts(report, prepared, judge.embed, progress)
        progress.stage(
            "hold out", f"{len(held.split.test)} of the training rows to measure on, {len(held.split.train):,} left"
        )
        test, seed = held.split.test, config.seed
        found = measured(
            bench, held.task, test, names, progress, split="held_out", seed=seed, folder=folder / "predictions"
        )
        clock.seconds |= found.seconds
        telling = [name for name in names if name != "majority"]
        every = [(second, first) for first, second in combinations(telling, 2)]
        pairs = compared(held.task, test, found, every, seed=seed)
        evaluations = list(found.evaluations.values())
        knowledge = _knowledge(bench, held, folder, names, clock, progress, config.seed)
        curves = _curves(bench, config, held, folder, names, clock, progress, curve_rows, minutes if train else None)
        facts = facts_of(config, report, len(held.split.train), evaluations, pairs, curves, knowledge)
        ranked: tuple[Ranked, ...] = ()
        if models:
            with clock("models"):
                ranked = rank_models(loaded, held, report, list(dict.fromkeys([config.model, *models])), progress)
        return _keep(folder, config, held, report, facts, evaluations, curves, ranked, clock)


class _Clock:
    """Seconds of each step by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def _judging(config: TaskConfig) -> str:
    """The embedding model that labels are judged with: the probe's own, the default where that is the base."""
    name = config.embedding_probe.model
    return EMBEDDING_MODEL if name == "base" else name


def _asked_for(loaded: LoadedTask, systems: Sequence[str] | None, models: Sequence[str]) -> tuple[str, ...]:
    """The systems to measure; a system or a model that there is not is refused before anything is measured."""
    for model in models:
        resolve(model, loaded.base_dir)
    return _systems(loaded.config, systems)


def _systems(config: TaskConfig, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the systems to measure, in the order of the ladder; the task's other baselines come last."""
    suits = {
        "majority": True,
        "prompt": True,
        "few_shot": config.kind != "preference",
        "embedding_probe": config.kind == "classification",
        "rag": "rag" in config.baselines,
    }
    possible = [name for name in LADDER if suits[name]]
    possible += [name for name in config.baselines if name not in LADDER]
    if wanted is None:
        return tuple(possible)
    unknown = [name for name in wanted if name not in possible]
    if unknown:
        fix = f"name some of {', '.join(possible)}"
        raise ConfigError("this system does not suit the task", got=unknown[0], where="--systems", fix=fix)
    chosen = tuple(name for name in possible if name in wanted)
    if set(chosen) <= {"majority"}:
        raise ConfigError(
            "the majority alone tells nothing", where="--systems", fix="add prompt or another system that answers"
        )
    return chosen


def _knowledge(
    bench: Bench, held: Prepared, folder: Path, names: Sequence[str], clock: _Clock, progress: Progress, seed: int
) -> KnowledgeFact | None:
    """Does the right document in the prompt repair the errors? None where no held-out example names one."""
    named = [place for place, example in enumerate(held.split.test) if example.document is not None]
    if not named or not {"prompt", "rag"} <= set(names):
        return None
    examples = [held.split.test[place] for place in named]
    path = predictions_path(folder, KNOWING)
    with clock("the right document"):
        if not path.exists():
            progress.stage("system", f"the prompt with the right document on {len(examples)} examples")
            write_predictions(path, bench.predict(KNOWING, examples))
    answers = read_predictions(predictions_path(folder, "prompt"))
    without = [answers[place] for place in named]
    knowing = read_predictions(path)
    pair = compare(held.task, examples, knowing, without, candidate=KNOWING, baseline="prompt", seed=seed)
    return KnowledgeFact(
        without=primary_value(held.task, examples, without),
        with_document=primary_value(held.task, examples, knowing),
        difference=pair.difference,
        low=pair.low,
        high=pair.high,
        examples=len(examples),
    )


def _curves(
    bench: Bench,
    config: TaskConfig,
    held: Prepared,
    folder: Path,
    names: Sequence[str],
    clock: _Clock,
    progress: Progress,
    most: int | None,
    minutes: float | None,
) -> list[Curve]:
    """Learning curves of the embedding probe and of the model itself. minutes: None for no training of the latter."""
    points, rows = Points(folder), len(held.split.train)
    if "embedding_probe" in names and len(sizes(rows)) >= SIZES_NEEDED:
        whole = read_predictions(predictions_path(folder, "embedding_probe")), clock.seconds["embedding_probe"]
        with clock("curve of the embedding probe"):
            progress.stage("curve", "embedding probes of growing parts of the rows")
            probe_points(held, points, progress, bench.embedder(config.embedding_probe.model).embed, whole)
    reached = rows_reached(bench.settings, rows)
    if minutes is not None and len(sizes(reached, most)) >= SIZES_NEEDED:
        with clock("small trainings"):
            stopped = tuned_points(bench, held, folder, points, progress, most=most, seconds=60 * minutes)
        if stopped:
            progress.notice(stopped)
    found = (
        curve_of(
            system,
            points.of(system),
            rows=rows,
            reached=reached if system == "tuned" else rows,
            examples=len(held.split.test),
            target=config.goal.target,
            minutes_per_row=config.costs.minutes_per_row,
            wage=config.costs.hourly_wage,
        )
        for system in ("embedding_probe", "tuned")
    )
    return [curve for curve in found if curve is not None]


def _keep(
    folder: Path,
    config: TaskConfig,
    prepared: Prepared,
    report: DataReport,
    facts: Facts,
    evaluations: Sequence[Evaluation],
    curves: Sequence[Curve],
    models: tuple[Ranked, ...],
    clock: _Clock,
) -> Advice:
    """The recommendation, in advice.json and advice.html."""
    advice = Advice(
        name=config.name,
        path=str(folder),
        metric=prepared.task.metrics[0].name,
        examples=evaluations[0].examples if evaluations else 0,
        rows=len(prepared.split.train),
        recommendation=recommend(facts),
        facts=facts,
        systems=tuple(evaluations),
        curves=tuple(curves),
        findings=tuple(finding for finding in report.findings if finding.severity != "info"),
        models=models,
        seconds=clock.seconds,
        remarks=tuple(_remarks(config, evaluations, curves)),
    )
    write_json(folder / RESULT, record(advice))
    write_advice_page(advice, folder / PAGE)
    return advice


def record(advice: Advice) -> dict[str, Json]:
    """advice.json, and what --json prints. Views of single classes and fields are left out."""
    found = {field.name: getattr(advice, field.name) for field in fields(advice)}
    facts = {field.name: getattr(advice.facts, field.name) for field in fields(advice.facts)}
    found["facts"] = facts | {"context": advice.facts.context.model_dump(mode="json")}
    found["systems"] = [replace(system, tables={}) for system in advice.systems]
    plain: dict[str, Json] = to_json(found)
    return plain


def _remarks(config: TaskConfig, evaluations: Sequence[Evaluation], curves: Sequence[Curve]) -> Iterator[str]:
    """What a reader should know of the measurements."""
    if evaluations:
        yield (
            f"Measured on {evaluations[0].examples} rows held out of the training part; the sealed test was not "
            "read. `burnish run` is what proves it."
        )
    for curve in curves:
        largest = curve.points[-1].rows
        if curve.reached < curve.rows:
            yield (
                f"The task's own training sees {curve.reached:,} of the {curve.rows:,} rows; what all of them would "
                "bring is another question (training.num_epochs, training.max_steps)."
            )
        if curve.reached > FARTHEST * largest:
            yield (
                f"The forecast of {curve.system} for {curve.reached:,} rows rests on trainings with up to "
                f"{largest:,}: a larger one says more than any forecast (--minutes, --curve-rows)."
            )
        if curve.misfit:
            yield f"The points of {curve.system}'s curve lie further from it than chance allows: trust it less."
    if evaluations and not any(curve.system == "tuned" for curve in curves):
        yield "No small training was made, so what fine-tuning would bring is not known."
    if not evaluations:
        yield "No system was measured: what the check found comes first."
