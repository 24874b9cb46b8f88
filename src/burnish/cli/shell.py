"""What every command gets: exit statuses, messages instead of tracebacks, nearest names, quiet pipes.

Exit statuses: 0 done (a run: ship), 1 findings or a defect in Burnish, 2 the user's mistake, 3 hold,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from burnish.errors import BurnishError, Interrupted

if TYPE_CHECKING:
    from rich.console import RenderableType

DEBUG = "BURNISH_DEBUG"
DEFECT_STATUS = 1
PIPE_STATUS = 141  # what a shell reports of a program that SIGPIPE ended


class UsageMistakeError(BurnishError):
    """A command or option that does not exist, or a value it does not take."""

    kind = "usage"


class Shell(TyperGroup):
    """The group of all commands: runs one and turns whatever happens into a message and an exit status."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)

        def command() -> Any:
            return super(Shell, self).main(
                arguments, "burnish", complete_var, standalone_mode=False, windows_expand_args=False, **extra
            )

        status = guarded(command, arguments)
        if standalone_mode:
            sys.exit(status)
        return status

    def invoke(self, ctx: Any) -> Any:  # typer keeps the type of it to itself
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would leave without a word
            raise Interrupted("interrupted") from None
        except BrokenPipeError:
            raise typer.Exit(PIPE_STATUS) from None


def guarded(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run a command; its exit status, with what went wrong told on stderr (with --json: as JSON on stdout)."""
    options = _before_separator(arguments)
    for stream in (sys.stdout, sys.stderr):
        _take_every_character(stream)
    try:
        status = _run(command, options, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        status = PIPE_STATUS
    if status == PIPE_STATUS:
        _stop_writing()
    return status


def _run(command: Callable[[], Any], options: Sequence[str], arguments: Sequence[str]) -> int:
    as_json = "--json" in options
    try:
        done = command()
    except BurnishError as error:
        _tell(error, as_json)
        return error.exit_code
    except TyperException as error:
        mistake = _mistake(error)
        _tell(mistake, as_json)
        return mistake.exit_code
    except typer.Abort:
        _tell(Interrupted("interrupted"), as_json)
        return Interrupted.exit_code
    except SystemExit as error:  # rich leaves so when nobody reads any more
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        _tell_defect(error, arguments, as_json)
        return DEFECT_STATUS
    return done if isinstance(done, int) and not isinstance(done, bool) else 0


def _before_separator(arguments: Sequence[str]) -> Sequence[str]:
    """What may be an option: everything up to `--`."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _tell(error: BurnishError, as_json: bool) -> None:
    if as_json:
        print_json(error.to_dict())
        return
    from burnish.reports.terminal import is_live, messages_console
    from burnish.reports.text import clean

    if is_live(sys.stderr):
        from burnish.reports.views import error_view

        messages_console().print(error_view(error))
    else:  # not folded at any width, and places first, as log readers and editors look for them
        messages_console().out(f"error: {clean(str(error))}")


def _mistake(error: TyperException) -> UsageMistakeError:
    """typer's complaint in our own words, with the nearest name."""
    context: typer.Context | None = getattr(error, "ctx", None)
    path = context.command_path if context else "burnish"
    message = error.format_message().strip().rstrip(".")
    fix = f"`{path} --help` tells what it takes"
    unknown = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None:
        message = f"there is no option {unknown}"
        known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        fix = _nearest(str(unknown), known, fix)
    elif context is not None and isinstance(context.command, Shell) and message.startswith("No such command"):
        wanted = message.split("'")[1] if "'" in message else ""
        message = f"there is no command {wanted}"
        fix = _nearest(wanted, list(context.command.commands), "`burnish --help` lists the commands")
    elif " is not one of " in message:
        message = message.replace("Value error, ", "")
        given, *choices = re.findall(r"'([^']*)'", message.partition(": ")[2])
        fix = _nearest(given, choices, fix)
    return UsageMistakeError(message[:1].lower() + message[1:], fix=fix)


def _nearest(word: str, known: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}? {otherwise}" if near else otherwise


def _tell_defect(error: Exception, arguments: Sequence[str], as_json: bool) -> None:
    """A short message for a bug; the traceback goes to a file."""
    trace = "".join(traceback.format_exception(error))
    path = _keep(trace, arguments)
    summary = "".join(traceback.format_exception_only(error)).strip()
    what = f"this is a defect in Burnish, not your mistake: {summary}"
    fix = f"please report it with the file {path}" if path else f"please report it; {DEBUG}=1 shows the traceback"
    if as_json:
        print_json({"error": "defect", "what": what, "got": None, "where": path, "fix": fix})
    else:
        _tell(BurnishError(what, fix=fix), as_json=False)
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        sys.stderr.write(trace)


def _keep(trace: str, arguments: Sequence[str]) -> str | None:
    """Write the traceback into the runs folder, or where temporary files go; its path."""
    from burnish import __version__

    head = f"burnish {__version__}, python {sys.version}\nburnish {' '.join(arguments)}\n\n"
    folders = [_value_of("--runs-dir", arguments) or "runs", tempfile.gettempdir()]
    for folder in filter(os.path.isdir, folders):
        with contextlib.suppress(OSError):
            path = Path(folder) / f"burnish-defect-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
            path.write_text(head + trace, encoding="utf-8", errors="backslashreplace")
            return str(path)
    return None


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == option:
            return arguments[index + 1] if index + 1 < len(arguments) else None
        if argument.startswith(option + "="):
            return argument.removeprefix(option + "=")
    return None


def _take_every_character(stream: Any) -> None:
    """Where the locale has no UTF-8, escapes instead of an exception."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.reconfigure(errors="backslashreplace")


def _stop_writing() -> None:
    """Nobody reads: what is left in the buffers goes nowhere, without a word at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON value on stdout. Where stdout has no UTF-8, with escapes."""
    import json

    from burnish.runs import dumps, to_json

    text = dumps(value, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        text = json.dumps(to_json(value), allow_nan=False, indent=indent)
    sys.stdout.write(text + "\n")


def show(*views: RenderableType) -> None:
    """Results for people on stdout: in colour on a terminal, plain elsewhere."""
    from burnish.reports.terminal import is_live, results_console, to_text

    console = results_console()
    for view in views:
        if is_live(sys.stdout):
            console.print(view)
        else:
            sys.stdout.write(to_text(view) + "\n")
