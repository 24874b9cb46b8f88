"""`burnish predict`: new inputs to a tuned model, or to another system that a run measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli.options import RUNS_DIR, AsJson, Quiet, RunsDir
from burnish.errors import ConfigError, DataError

if TYPE_CHECKING:
    from burnish.config import TaskConfig
    from burnish.records import Example, Prediction

CHUNK = 256  # inputs that are answered before their answers are written
STDIN = "-"


def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, its id or the beginning of it, or latest.")
    ],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Inputs to answer.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Inputs: .txt with one a line, JSONL, CSV, …; - reads lines from stdin."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of stdout, whole or not at all.")
    ] = None,
    system: Annotated[
        str, typer.Option("--system", metavar="NAME", help="Who answers: tuned, or a baseline that the run measured.")
    ] = "tuned",
    as_json: AsJson = False,
    quiet: Quiet = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Answer inputs with the tuned model of a run: texts, a file, or lines from a pipe.

    The prompt, the chat template and the constraint are those of training. With --system a baseline answers as it was
    measured: with the instruction, the shots and the number of passages that the run chose. It is made anew from the
    task's data, which must be unchanged. One answer a line, a line break inside
    an answer written as \\n; with --json (or an --output that ends in .jsonl) one object a line with input, answer,
    parsed, confidence and error, and of a model that answers from documents the passages it was shown (sources).
    Confidences are calibrated with the temperature that the run found on its validation answers, where it found one.
    """
    from burnish.config import TaskConfig
    from burnish.finished import Run
    from burnish.predicting import predictor, require_system
    from burnish.reports.terminal import TerminalProgress
    from burnish.runs import RunFolder, dumps

    found = Run.open(run, runs_dir)
    require_system(found.path, system)
    config = TaskConfig.model_validate(RunFolder(found.path).record()["config"])
    examples = _inputs(list(texts or []), file, config)
    as_lines = as_json or (output is not None and output.suffix.lower() == ".jsonl")
    unread = 0
    with TerminalProgress(quiet=quiet or (file is None and len(examples) <= CHUNK)) as progress:
        answer = predictor(found.path, progress, system)

        def lines() -> Iterator[str]:
            nonlocal unread
            for start in range(0, len(examples), CHUNK):
                part = examples[start : start + CHUNK]
                for example, prediction in zip(part, answer(part), strict=True):
                    unread += prediction.parsed.error is not None
                    yield dumps(_line(example, prediction)) if as_lines else _plain(prediction)

        _write(lines(), output)
        if unread and not as_lines:
            what = f"{unread} of {len(examples)} answers are not of the task's form and stand as they came"
            progress.notice(f"{what} (--json tells why)", warning=True)


def _inputs(texts: list[str], file: Path | None, config: TaskConfig) -> list[Example]:
    """The inputs of the one source that was given. Raises ConfigError for none or two, DataError for bad rows."""
    from burnish.data.inputs import read_inputs, text_input
    from burnish.records import Source

    if texts and file is not None:
        fix = "give texts or a file, not both"
        raise ConfigError("inputs come from two places", got=texts[0], where="--file", fix=fix)
    if texts:
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise DataError("the input is empty", where=f"TEXT {number}", fix="give a text")
        return [text_input(text, Source("TEXT", number)) for number, text in enumerate(texts, 1)]
    if file is not None and str(file) != STDIN:
        data = config.data
        return read_inputs(
            file, kind=config.kind, format=data.format, text=data.text, target=data.target, tools=data.tools
        )
    if file is None and sys.stdin.isatty():
        fix = "give texts, --file FILE, or lines through a pipe"
        raise ConfigError("there is nothing to answer", where="TEXT", fix=fix)
    return [text_input(text, Source("stdin", number)) for number, text in enumerate(_stdin_lines(), 1)]


def _stdin_lines() -> Sequence[str]:
    try:
        lines = sys.stdin.read().removeprefix("\ufeff").splitlines()
    except UnicodeDecodeError as error:
        fix = "convert it: iconv -f WINDOWS-1252 -t UTF-8"
        raise DataError("the input is not UTF-8", got=error.object[error.start], where="stdin", fix=fix) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            fix = "remove empty lines: every line is one input"
            raise DataError("the line is empty", where=f"stdin:{number}", fix=fix)
    if not lines:
        raise DataError("there are no inputs", where="stdin", fix="write one input a line")
    return lines


def _line(example: Example, prediction: Prediction) -> dict[str, Any]:
    from burnish.runs import to_json

    messages = example.messages
    single = len(messages) == 1 and messages[0].role == "user"
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return {
        "input": messages[0].content if single else turns,
        "answer": prediction.text,
        "parsed": prediction.parsed.value,
        "confidence": prediction.confidence,
        "error": prediction.parsed.error,
    } | ({"sources": to_json(prediction.sources)} if prediction.sources else {})


def _plain(prediction: Prediction) -> str:
    """The answer on one line: the label or text as parsed, JSON compact, an answer of no form as it came."""
    from burnish.runs import dumps

    value = prediction.parsed.value
    text = prediction.text if prediction.parsed.error else value if isinstance(value, str) else dumps(value)
    return "\\n".join(str(text).splitlines())


def _write(lines: Iterator[str], output: Path | None) -> None:
    """To a file whole or not at all, to stdout as they come. A terminal gets no control characters."""
    from burnish.reports.terminal import is_live
    from burnish.reports.text import clean
    from burnish.runs import write_text

    if output is not None:
        write_text(output, "".join(f"{line}\n" for line in lines))
        return
    live = is_live(sys.stdout)
    for line in lines:
        typer.echo(clean(line) if live else line)
