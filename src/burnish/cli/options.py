"""Arguments and options that several commands share, and the examples under their help."""

from __future__ import annotations

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
RUNS_DIR = Path("runs")


def examples(*lines: str) -> str:
    """The closing section of a command's help; \\b keeps its lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
