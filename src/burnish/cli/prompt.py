"""`burnish prompt tune`: a better instruction, proposed by a chat model and measured on validation."""

from __future__ import annotations

from pathlib import Path
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


def tune(
    task: TaskFile,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Who writes instructions: a hosted model of the task file, or any local chat model "
            "(default: the task's own).",
        ),
    ] = None,
    system: Annotated[
        str, typer.Option("--system", metavar="NAME", help="What is prompted: prompt, few_shot, or a hosted model.")
    ] = "prompt",
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=0, help="How often new ones are written.")] = 3,
    candidates: Annotated[
        int, typer.Option("--candidates", metavar="N", min=1, max=20, help="New instructions a round.")
    ] = 4,
    examples: Annotated[
        int | None,
        typer.Option("--examples", metavar="N", min=2, help="Validation examples (default: prompt.eval_examples)."),
    ] = None,
    resume: Resume = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The new task file (default: beside the old, NAME.prompt.yaml)."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the best into the task file itself.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
    allow_bad_rows: AllowBadRows = 0,
    overrides: Overrides = None,
) -> None:
    """Improve the instruction of a prompted system: a chat model sees its mistakes on training rows, and rewrites it.

    Each is measured on validation examples; the sealed test is never read. The best goes into a new task file, and
    the gain is told with its interval.
    """
    from burnish.config import load_task
    from burnish.reports.prompt_tuning import prompt_tuning_view
    from burnish.reports.terminal import TerminalProgress
    from burnish.tuning.prompts import Options, tune_prompt
    from burnish.tuning.write import require_target, write_instruction

    loaded = load_task(task, overrides or ())
    if out is not None and not write:
        require_target(loaded, out, overwrite=False)
    options = Options(system.removeprefix("hosted:"), model, rounds, candidates, examples)
    command = command_line("prompt tune", task, runs_dir, allow_bad_rows, overrides, **options._asdict())
    try:
        with TerminalProgress(quiet=quiet) as progress:
            result = tune_prompt(
                loaded,
                options,
                runs_dir=runs_dir,
                resume=resume,
                allow_bad_rows=allow_bad_rows,
                progress=progress,
                command=command,
            )
    except Interrupted as error:
        raise Interrupted(error.what, fix=f"go on with `{command} --resume`") from None
    best = result.trials[result.best].instruction
    target = None
    if result.best != 0 and loaded.path is not None:
        target = loaded.path if write else out or _free(loaded.path)
        write_instruction(loaded, best, target, overwrite=write)
    if as_json:
        from burnish.runs import to_json

        print_json({**to_json(result), "instruction": best, "written": None if target is None else str(target)})
        return
    show(prompt_tuning_view(result))
    if target is not None:
        typer.echo(f"\nwritten to {target}")
    typer.echo(f"page       {Path(result.path) / 'prompt-tuning.html'}")


def _free(path: Path) -> Path:
    """A name beside the task file that is not taken."""
    names = (f"{path.stem}.prompt{'' if number == 1 else f'-{number}'}.yaml" for number in range(1, 1000))
    return next(file for name in names if not (file := path.with_name(name)).exists())
