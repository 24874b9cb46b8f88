"""`burnish export`: what a run trained, as a folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.options import RUNS_DIR, AsJson, Quiet, RunsDir
from burnish.errors import ConfigError


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, its id or the beginning of it, or latest.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is not there yet.", show_default=False)],
    merged: Annotated[
        bool, typer.Option("--merged/--adapter", help="All weights with the adapter in them, or the adapter alone.")
    ] = True,
    for_full: Annotated[
        bool,
        typer.Option(
            "--for-full-base",
            help="With --adapter: make an adapter that was trained on 4-bit weights one for the base in full.",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Write the tuned model as a folder that transformers reads: safetensors, tokenizer, chat template.

    Merged weights are in the base's own number format. Some held-out prompts are answered before and after, and
    nothing is written when an answer differs by more than rounding explains. The sealed test is not looked at: no
    answer is scored.
    """
    from burnish.cli.shell import print_json
    from burnish.finished import Run
    from burnish.reports.terminal import TerminalProgress

    if for_full and merged:
        raise ConfigError(
            "merged weights need no base", got="--for-full-base", where="the command line", fix="add --adapter"
        )
    found = Run.open(run, runs_dir)
    with TerminalProgress(quiet=quiet) as progress:
        replay = found.export(out, merged=merged, for_full=for_full, progress=progress)
    if as_json:
        print_json({"run_id": found.run_id, "folder": str(out), "replay": replay and replay._asdict()})
        return
    if replay and not quiet:
        words = f"{replay.same} of {replay.prompts} held-out prompts answered with the same tokens"
        if replay.same < replay.prompts:
            words += (
                f", the others parted where two tokens were {replay.widest_gap:.2g} nats apart at most "
                f"(rounding explains {replay.tolerance:g})"
            )
        typer.echo(words)
    typer.echo(out)
