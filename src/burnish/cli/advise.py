"""`burnish advise`: prompt, retrieval, probe or fine-tune, from measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from burnish.advising import EXAMPLES, MINUTES
from burnish.cli.options import (
    RUNS_DIR,
    AllowBadRows,
    AsJson,
    Overrides,
    Quiet,
    Resume,
    RunsDir,
    TaskFile,
    command_line,
)
from burnish.cli.shell import print_json, show
from burnish.errors import Interrupted


def advise(
    task: TaskFile,
    systems: Annotated[
        str | None, typer.Option("--systems", metavar="NAMES", help="Only these: prompt,few_shot,embedding_probe,…")
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=10, help="Rows held out of the training part to measure on.")
    ] = EXAMPLES,
    curve_rows: Annotated[
        int | None,
        typer.Option("--curve-rows", metavar="N", min=50, help="Most rows of a small training (default: all)."),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", min=0, help="For all small trainings; three are always made.")
    ] = MINUTES,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Make no small trainings: cheap systems only.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Rank this model, too. Repeatable."),
    ] = None,
    resume: Resume = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> None:
    """Measure what is cheaper than fine-tuning, forecast what fine-tuning would bring, and recommend one of them.

    Keep the prompt, put examples or retrieved passages into it, train a probe on embeddings, fine-tune, get more
    data, or mend the data: with the reasons, and what would change the answer. The sealed test is never read. What
    no measurement tells (volume, privacy, latency, citations) stands under context: in the task file.
    """
    from burnish.advising.advise import PAGE, record
    from burnish.advising.advise import advise as whole
    from burnish.config import load_task
    from burnish.reports.advice import advice_view
    from burnish.reports.terminal import TerminalProgress

    names = None if systems is None else [name.strip() for name in systems.split(",") if name.strip()]
    loaded = load_task(task, overrides or ())
    given = {
        "systems": systems,
        "examples": None if examples == EXAMPLES else examples,
        "curve_rows": curve_rows,
        "minutes": None if minutes == MINUTES else minutes,
        "no_train": no_train or None,
        "model": model or None,
    }
    command = command_line("advise", task, runs_dir, allow_bad_rows, overrides, **given)
    try:
        with TerminalProgress(quiet=quiet) as progress:
            found = whole(
                loaded,
                systems=names,
                examples=examples,
                curve_rows=curve_rows,
                minutes=minutes,
                train=not no_train,
                models=model or (),
                runs_dir=runs_dir,
                resume=resume,
                allow_bad_rows=allow_bad_rows,
                progress=progress,
                command=command,
            )
    except Interrupted as error:
        raise Interrupted(error.what, fix=f"go on with `{command} --resume`") from None
    if as_json:
        print_json(record(found))
        return
    show(advice_view(found))
    typer.echo(f"page       {Path(found.path) / PAGE}")
