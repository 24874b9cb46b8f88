"""`burnish probe`: what a model knows in general, by multiple-choice questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli.options import RUNS_DIR, AsJson, Quiet, RunsDir
from burnish.cli.shell import print_json, show
from burnish.errors import RunError

if TYPE_CHECKING:
    from burnish.data.questions import Question
    from burnish.finished import Run
    from burnish.progress import Progress
    from burnish.records import ProbeAnswer


def probe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A model (catalogue name, folder, .gguf file, hub id), or a run: its folder, its id, or latest.",
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Questions: JSONL, CSV … (default: the built-in ones)."),
    ] = None,
    questions: Annotated[
        int, typer.Option("--questions", metavar="N", min=1, help="Ask at most this many, chosen by hash.")
    ] = 500,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Ask a model general multiple-choice questions; of a run, the untuned and the tuned model.

    A choice is taken by its likelihood per character, so nothing is generated. Nothing of a run is changed.
    """
    from burnish.probing import probe_name, some_questions
    from burnish.reports.terminal import TerminalProgress

    with TerminalProgress(quiet=quiet) as progress:
        asked = some_questions(file, questions, progress)
        run = _run(model, runs_dir)
        name = probe_name(file)
        found = _model(model, asked, name, progress) if run is None else _both(run, asked, name, progress)
    if as_json:
        print_json(found)
        return
    from burnish.reports.views import forgetting_view, probe_view

    show(probe_view(found) if run is None else forgetting_view(found["forgetting"]))


def _run(name: str, runs_dir: Path) -> Run | None:
    """The run that is meant, None when it is a model."""
    from burnish.finished import Run
    from burnish.models.catalog import CATALOG

    if name in CATALOG or (Path(name).exists() and not (Path(name) / "run.json").is_file()):
        return None
    try:
        return Run.open(name, runs_dir)
    except RunError:
        if name == "latest":
            raise
        return None


def _model(name: str, questions: list[Question], probe: str, progress: Progress) -> dict[str, Any]:
    from burnish.data.questions import chance
    from burnish.evaluation.forgetting import measure
    from burnish.fit import chat_of
    from burnish.models.load import load_model
    from burnish.probing import ask

    loaded = load_model(name, base_dir=Path.cwd(), progress=progress)
    answers = ask(loaded, chat_of(loaded), questions, progress)
    return {
        "model": name,
        "probe": probe,
        "questions": len(questions),
        "chance": chance(questions),
        "right": measure(answers),
        "answers": answers,
    }


def _both(run: Run, questions: list[Question], probe: str, progress: Progress) -> dict[str, Any]:
    """Base and tuned model of a run, with the chat template of its training."""
    from burnish.config import TaskConfig
    from burnish.evaluation.forgetting import compare_probes
    from burnish.fit import chat_of
    from burnish.models.adapters import load_tuned, read_info
    from burnish.models.load import load_model
    from burnish.predicting import require_tuned
    from burnish.probing import allowed_fall, ask

    require_tuned(run.path)
    info = read_info(run.adapter)
    dtype: Any = info.dtype

    def answers(tuned: bool) -> list[ProbeAnswer]:
        progress.stage("probe", f"{len(questions):,} general questions {'after' if tuned else 'before'} tuning")
        loaded = (
            load_tuned(run.adapter, progress=progress)
            if tuned
            else load_model(info.base_model, dtype=dtype, progress=progress)
        )
        return ask(loaded, chat_of(loaded, info.chat_template), questions, progress)

    before, after = answers(tuned=False), answers(tuned=True)
    config = TaskConfig.model_validate(info.task)
    found = compare_probes(before, after, probe=probe, allowed=allowed_fall(config), seed=config.seed)
    return {"run_id": run.run_id, "forgetting": found, "before": before, "after": after}
