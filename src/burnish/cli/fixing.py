"""`burnish check --fix`: its options, and the cleaned copies it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from burnish.data.cleaning.actions import ACTIONS
from burnish.errors import ConfigError

if TYPE_CHECKING:
    from burnish.data.check import Checked
    from burnish.data.checks.names import FindNames
    from burnish.data.cleaning.clean import Cleaned
    from burnish.progress import Progress

FixActions = Annotated[
    str | None,
    typer.Option(
        "--fix",
        metavar="[ACTIONS]",
        help="Write cleaned copies, and a log of every change: drop, redact, repair, joined by commas "
        "(alone: all). The files themselves stay as they are.",
    ),
]
CopiesFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the cleaned copies (default: beside each file)."),
]


class FixCommand(TyperCommand):
    """`burnish check`: --fix alone is --fix all; a word after it that names no action is the next argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[str] = []
        for index, word in enumerate(args):
            given.append(word)
            after = args[index + 1] if index + 1 < len(args) else ""
            if word == "--fix" and not set(after.split(",")) & {*ACTIONS, "all"}:
                given.append("all")
        return super().parse_args(ctx, given)


def chosen_actions(fix: str | None, out: Path | None) -> tuple[str, ...]:
    """The actions that were asked for, none without --fix. Raises ConfigError."""
    from burnish.data.cleaning.clean import read_actions

    if fix is None and out is not None:
        what = "--out names the folder of cleaned copies"
        raise ConfigError(what, got=str(out), where="--out", fix="add --fix, or leave it out")
    return () if fix is None else read_actions(fix)


def write_copies(
    checked: Checked, actions: tuple[str, ...], out: Path | None, names: FindNames | None, progress: Progress
) -> list[Cleaned]:
    """Cleaned copies of what was checked, with a word on each."""
    from burnish.data.checks.base import rows_text
    from burnish.data.cleaning.clean import clean_files

    answers = {file.file: file.answer for file in checked.files}
    nested = [file.file for file in checked.files if file.shape == "self_instruct"]
    cleaned = clean_files(checked.report.findings, actions, out, answers=answers, nested=nested, names=names)
    for item in cleaned:
        done = ", ".join(f"{action} {rows_text(rows)}" for action, rows in item.changes.items())
        progress.notice(f"{item.written}: {done}; each change in {item.log}")
    if not cleaned:
        progress.notice("nothing to fix: what was found needs a decision of yours")
    return cleaned
