"""`burnish tune`: search training settings on the validation part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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


def tune(
    task: TaskFile,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Trainings in all (default: tune.trials).")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="MINUTES", help="Stop after this time; --resume goes on.")
    ] = None,
    metric: Annotated[
        Literal["metric", "loss"] | None,
        typer.Option("--metric", help="Search by the task's metric or by the loss, both on validation."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="NAMES", help="Settings of training to search: learning_rate,lora_r,…"),
    ] = None,
    resume: Resume = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write a new task file with the best settings.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Put the best settings into the task file itself.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> None:
    """Search learning rate, rank and epochs on the validation part; the sealed test is never read.

    The first trial has the task file's own settings, so the best is never worse than they are. Ctrl-C stops with a
    search that --resume goes on with.
    """
    from burnish.config import load_task
    from burnish.reports.terminal import TerminalProgress
    from burnish.reports.tuning import tuning_view
    from burnish.tuning.search import tune as whole_search
    from burnish.tuning.write import best_settings, require_target, write_task_file, yaml_lines

    loaded = load_task(task, overrides or ())
    if write is not None:
        require_target(loaded, write, overwrite=False)
    names = None if search is None else [name.strip() for name in search.split(",") if name.strip()]
    found = ",".join(names) if names else None
    given = {"trials": trials, "timeout": timeout, "metric": metric, "search": found}
    command = command_line("tune", task, runs_dir, allow_bad_rows, overrides, **given)
    try:
        with TerminalProgress(quiet=quiet) as progress:
            result = whole_search(
                loaded,
                trials=trials,
                timeout=timeout,
                metric=metric,
                search=names,
                runs_dir=runs_dir,
                resume=resume,
                allow_bad_rows=allow_bad_rows,
                progress=progress,
                command=command,
            )
    except Interrupted as error:
        raise Interrupted(error.what, fix=f"go on with `{command} --resume`") from None
    best = best_settings(result)
    written = [(write, False)] if write else []
    written += [(loaded.path, True)] if apply and loaded.path else []
    for target, overwrite in written if best and result.best != 0 else []:
        write_task_file(loaded, best, target, overwrite=overwrite)
        if overrides:
            typer.echo(f"note: {target} does not hold what --set changed: {', '.join(overrides)}", err=True)
    if as_json:
        from burnish.runs import to_json

        print_json({**to_json(result), "settings": best})
        return
    show(tuning_view(result))
    if best and result.best != 0:
        show("", yaml_lines(best))
        typer.echo("".join(f"\nwritten to {target}" for target, _ in written))
    elif written:
        typer.echo("nothing is written: the task file has the best settings already")
    typer.echo(f"page       {Path(result.path) / 'tuning.html'}")
