"""One tree of errors. A user's mistake is a BurnishError: what is wrong, the value, where, and the fix.

The command line prints these without a traceback and exits with `exit_code`.
Anything else that escapes is a defect in Burnish.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


class _Missing:
    def __repr__(self) -> str:
        return "<not given>"


MISSING: Any = _Missing()


def shorten(value: object, limit: int = 120) -> str:
    """`repr(value)` cut to `limit` characters, for messages."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def first_line(value: object) -> str:
    """The first line with words of `str(value)`, an error's or a text's; empty where there is none."""
    return next(iter(str(value).strip().splitlines()), "")


class BurnishError(Exception):
    """A mistake the user can mend.

    what: what is wrong, one sentence without a full stop.
    got: the value found (omit when there is none).
    where: file, file:line, file:line:field, or a dotted settings path.
    fix: what to do about it, one sentence.
    """

    exit_code = 2
    kind = "error"

    def __init__(self, what: str, *, got: object = MISSING, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.got = got
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.got is not MISSING:
            text += f" (got {shorten(self.got)})"
        if self.fix:
            text += f"\n  fix: {self.fix}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """JSON form for `--json` output."""
        got = None if self.got is MISSING else shorten(self.got)
        return {"error": self.kind, "what": self.what, "got": got, "where": self.where, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad place in a file. `line` is 1-based (0: no line); `field` is empty when the whole row is bad.

    finding: the kind of finding of the data check that it counts as, empty for a row that is not one at all.
    """

    file: str
    line: int
    field: str
    what: str
    got: str
    fix: str
    finding: str = ""

    @property
    def where(self) -> str:
        # A value given in Python has no file, a whole file or a command-line option no line.
        return ":".join(part for part in (self.file, str(self.line or ""), self.field) if part)

    def __str__(self) -> str:
        got = f" (got {self.got})" if self.got else ""
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.what}{got}\n  fix: {self.fix}"


class ConfigError(BurnishError):
    """The task file or a setting is wrong. `problems` holds the mistakes of one file, all of them.

    With `problems` and an empty `what`, the sentence is made from them.
    """

    kind = "config"

    def __init__(
        self,
        what: str,
        *,
        got: object = MISSING,
        where: str | None = None,
        fix: str | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        self.problems = tuple(problems)
        if self.problems and not what:
            first = self.problems[0]
            if len(self.problems) == 1:
                what, where, fix = first.what, first.where or None, first.fix
            else:
                what, where = f"{len(self.problems)} mistakes", where or first.file or None
        super().__init__(what, got=got, where=where, fix=fix)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join([super().__str__(), *map(str, self.problems)])

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"problems": [asdict(problem) for problem in self.problems]}


class DataError(BurnishError):
    """The data cannot be used. `problems` holds the first bad rows, `count` the number of all."""

    kind = "data"

    def __init__(
        self,
        what: str,
        *,
        got: object = MISSING,
        where: str | None = None,
        fix: str | None = None,
        problems: Sequence[Problem] = (),
        count: int | None = None,
    ) -> None:
        self.problems = tuple(problems)
        self.count = len(self.problems) if count is None else count
        super().__init__(what, got=got, where=where, fix=fix)

    def __str__(self) -> str:
        text = super().__str__()
        for problem in self.problems:
            text += f"\n{problem}"
        hidden = self.count - len(self.problems)
        if self.problems and hidden > 0:
            text += f"\n… and {hidden:,} more bad rows"
        return text

    def to_dict(self) -> dict[str, Any]:
        problems = [asdict(problem) for problem in self.problems]
        return super().to_dict() | {"count": self.count, "problems": problems}


class ModelError(BurnishError):
    """A model cannot be found, loaded, or used as asked."""

    kind = "model"


class HostedError(BurnishError):
    """A hosted model cannot be reached, does not answer, or would cost more than it may."""

    kind = "hosted"


class TrainingError(BurnishError):
    """Training cannot start or go on; the last good checkpoint is kept."""

    kind = "training"


class RunError(BurnishError):
    """A run folder is missing, damaged, or belongs to other settings."""

    kind = "run"


class Interrupted(BurnishError):  # noqa: N818 - an interruption, not an error of the user's
    """Ctrl-C or SIGTERM: the run stopped at a checkpoint and can be resumed."""

    kind = "interrupted"
    exit_code = 130


@contextmanager
def at_place(where: str) -> Iterator[None]:
    """Give errors of models and training that name no place this one."""
    try:
        yield
    except (ModelError, TrainingError) as error:
        if error.where is not None:
            raise
        raise type(error)(error.what, got=error.got, where=where, fix=error.fix) from error
