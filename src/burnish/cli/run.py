"""`burnish run`: the whole lifecycle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.options import RUNS_DIR, AllowBadRows, AsJson, Overrides, Quiet, RunsDir, TaskFile
from burnish.cli.shell import print_json, show
from burnish.errors import Interrupted

HOLD_STATUS = 3


def run(
    task: TaskFile,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of this task.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> int:
    """Check, split, measure the baselines, train, evaluate, and say whether to ship.

    Exit status: 0 ship, 3 hold, 2 a mistake in the task or the data, 130 interrupted.
    """
    from burnish.config import load_task
    from burnish.lifecycle import run as whole_line
    from burnish.reports.terminal import TerminalProgress

    loaded = load_task(task, overrides or ())
    try:
        with TerminalProgress(quiet=quiet) as progress:
            finished = whole_line(
                loaded,
                runs_dir=runs_dir,
                resume=resume,
                allow_bad_rows=allow_bad_rows,
                progress=progress,
                command=command_line(task, runs_dir, allow_bad_rows, overrides or []),
            )
    except (Interrupted, KeyboardInterrupt) as error:
        what = error.what if isinstance(error, Interrupted) else "interrupted; what was done so far is kept"
        command = command_line(task, runs_dir, allow_bad_rows, overrides or [], resume=True)
        raise Interrupted(what, fix=f"go on with `{command}`") from None
    if as_json:
        print_json(finished.summary())
    else:
        from burnish.cli.runs import show_results

        show_results(finished)
        show("", f"Try it: burnish predict {finished.path} 'an input'")
    return 0 if finished.verdict.decision == "ship" else HOLD_STATUS


def command_line(
    task: Path, runs_dir: Path, allow_bad_rows: int, overrides: list[str], *, resume: bool = False
) -> str:
    """What to type for this run (kept in run.json), or to go on with it."""
    parts = ["burnish", "run", str(task), *(["--resume"] if resume else [])]
    if runs_dir != RUNS_DIR:
        parts += ["--runs-dir", str(runs_dir)]
    if allow_bad_rows:
        parts += ["--allow-bad-rows", str(allow_bad_rows)]
    for override in overrides:
        parts += ["--set", override]
    return shlex.join(parts)
