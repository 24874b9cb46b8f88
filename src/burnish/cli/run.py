"""`burnish run`: the whole lifecycle."""

from __future__ import annotations

from typing import Annotated

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

HOLD_STATUS = 3


def run(
    task: TaskFile,
    resume: Resume = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", metavar="N", min=1, help="Train with N processes, on this machine's cores or GPUs."
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="ADDRESS", help="Train on a Ray cluster: ray://host:10001, auto, or local."
        ),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option("--max-restarts", metavar="K", min=0, help="How often training goes on when a process dies."),
    ] = 1,
) -> int:
    """Check, split, measure the baselines, train, evaluate, and say whether to ship.

    Exit status: 0 ship, 3 hold, 2 a mistake in the task or the data, 130 interrupted. Under torchrun a hold ends
    with 0: torchrun calls every other status a failure, and would start the run again.
    """
    from burnish.config import load_task
    from burnish.lifecycle import run as whole_line
    from burnish.reports.terminal import TerminalProgress
    from burnish.team import follows, launched

    loaded = load_task(task, overrides or ())
    parallel = {
        "processes": processes if processes > 1 else None,
        "cluster": cluster,
        "max_restarts": max_restarts if max_restarts != 1 else None,
    }
    command = command_line("run", task, runs_dir, allow_bad_rows, overrides, **parallel)
    try:
        with TerminalProgress(quiet=quiet or follows()) as progress:
            finished = whole_line(
                loaded,
                runs_dir=runs_dir,
                resume=resume,
                allow_bad_rows=allow_bad_rows,
                progress=progress,
                command=command,
                processes=processes,
                cluster=cluster,
                max_restarts=max_restarts,
            )
    except (Interrupted, KeyboardInterrupt) as error:
        what = error.what if isinstance(error, Interrupted) else "interrupted; what was done so far is kept"
        raise Interrupted(what, fix=f"go on with `{command} --resume`") from None
    if follows():
        pass  # the first process tells
    elif as_json:
        print_json(finished.summary())
    else:
        from burnish.cli.runs import show_results

        show_results(finished)
        show("", f"Try it: burnish predict {finished.path} 'an input'")
    if finished.verdict.decision == "ship":
        return 0
    if launched():
        if not follows():
            typer.echo(
                f"hold: {finished.path / 'verdict.json'} (status 0, as launchers call others failures)", err=True
            )
        return 0
    return HOLD_STATUS
