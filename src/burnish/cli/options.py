"""Arguments and options that several commands share, and the examples under their help."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

TaskFile = Annotated[
    Path, typer.Argument(metavar="TASK", help="A task file, or the folder of a burnish.yaml.", show_default=False)
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="FOLDER", help="Where the run folders are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, also for errors.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings, no progress.")]
AllowBadRows = Annotated[
    int,
    typer.Option("--allow-bad-rows", metavar="N", min=0, help="Go on without bad rows, if there are at most N."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting of the task file: training.num_epochs=1. Repeatable."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the newest one of this task stopped.")]
RUNS_DIR = Path("runs")


def command_line(
    command: str, task: Path, runs_dir: Path, allow_bad_rows: int, overrides: Sequence[str] | None, **options: object
) -> str:
    """What to type for this work, kept in its folder; `--resume` goes on with it.

    options: None is left out, True a flag, a list as often as it is long.
    """
    shared = {"runs_dir": None if runs_dir == RUNS_DIR else runs_dir, "allow_bad_rows": allow_bad_rows or None}
    parts = ["burnish", *command.split(), str(task)]
    for name, value in {**options, **shared}.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            parts.append(flag)
        elif value is not None:
            for one in value if isinstance(value, list) else [value]:
                parts += [flag, f"{one:g}" if isinstance(one, float) else str(one)]
    for override in overrides or ():
        parts += ["--set", override]
    return shlex.join(parts)


def examples(*lines: str) -> str:
    """The closing section of a command's help; \\b keeps its lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
