"""`burnish data diff` and `burnish data lineage`: versions of data, and where a run's examples came from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from burnish.cli.options import RUNS_DIR, AllowBadRows, AsJson, RunsDir
from burnish.cli.shell import print_json, show
from burnish.errors import RunError
from burnish.records import Json, Kind

if TYPE_CHECKING:
    from burnish.config import LoadedTask
    from burnish.data.lineage import Cleanings, FileState, Origin, Traced
    from burnish.data.versions import Change, Version, VersionRow
    from burnish.progress import Progress

TASK_SUFFIXES = (".yaml", ".yml")
_WHICH = "A data file, a task (its file or folder), or a run (its folder, its id, or latest)."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_WHICH, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="What it became: likewise.", show_default=False)],
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Of data files: what the answers are (default: guessed).")
    ] = None,
    as_json: AsJson = False,
    allow_bad_rows: AllowBadRows = 0,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Show what happened between two versions of data: rows added, removed, answered otherwise, moved.

    A data file beside a task is read as the task reads its own.
    """
    from burnish.data.versions import diff_versions
    from burnish.reports.terminal import TerminalProgress
    from burnish.reports.versions import diff_view

    with TerminalProgress() as progress:
        reader = _Reader([a, b], kind, allow_bad_rows, runs_dir, progress)
        before, after = reader.version(a), reader.version(b)
    found = diff_versions(before.rows, after.rows)
    if not as_json:
        show(diff_view(before, after, found))
        return
    print_json(
        {
            "a": _about(before),
            "b": _about(after),
            "equal": found.equal,
            "same": found.same,
            "added": [_row(row) for row in found.added],
            "removed": [_row(row) for row in found.removed],
            "changed": _changes(found.changed),
            "moved": {"counts": found.moves(), "rows": _changes(found.moved)},
        }
    )


def lineage(
    origin: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run (its folder, its id or the beginning of it, or latest), or a cleaned copy."
        ),
    ],
    example: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="An example's id, the beginning of it, or FILE:LINE.")
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Show where a run's examples came from: files and their hashes, parts, or the place of one example.

    Rows of copies that `burnish check --fix` wrote lead back to the file that was cleaned, with what was changed.
    """
    from burnish.data.lineage import cleanings_of, file_states, run_rows, trace
    from burnish.reports.versions import cleaning_steps, lineage_view, steps_of
    from burnish.runs import find_run

    record: dict[str, Any] = {}
    if Path(origin).is_file():
        name, (files, rows) = origin, _cleaned_copy(origin, runs_dir)
    else:
        folder = find_run(runs_dir, origin)
        name, record, rows = folder.run_id, folder.record(), run_rows(folder.path)
        files = file_states(record.get("data_files") or {})
    cleanings = {file.name: cleanings_of(file) for file in files}
    found = None if example is None else trace(rows, cleanings, example)
    steps = [*cleaning_steps(cleanings), *(steps_of(record, rows) if record else [])]
    if as_json:
        about: dict[str, Any] = {"run_id": name} if record else {}
        about |= {
            "data_fingerprint": record.get("data_fingerprint"),
            "files": [_file(file, cleanings) for file in files],
        }
        print_json(
            about | {"steps": steps} | ({} if found is None else {"examples": [_traced(one) for one in found]})
        )
    else:
        show(lineage_view(name, files, steps, rows, found))


def _cleaned_copy(name: str, runs_dir: Path) -> tuple[list[FileState], Sequence[VersionRow]]:
    """A cleaned copy's state and rows. Raises RunError when no log stands beside it."""
    from burnish.data.cleaning.log import log_of, read_log
    from burnish.data.fingerprint import file_fingerprint
    from burnish.data.lineage import FileState
    from burnish.progress import Silent

    log = read_log(Path(name))
    if log is None:
        fix = "name a run, or a copy that burnish check --fix wrote, with its log beside it"
        raise RunError("the file has no log of changes", got=str(log_of(Path(name))), where=name, fix=fix)
    sha256 = file_fingerprint(name)
    now: Literal["unchanged", "changed"] = "unchanged" if sha256 == log.copy_sha256 else "changed"
    rows = _Reader([], None, sys.maxsize, runs_dir, Silent()).version(name).rows
    return [FileState(name, str(Path(name).resolve()), sha256, now)], rows


class _Reader:
    """Reads versions from files, tasks and runs; files as the task beside them, else as the first file's kind."""

    def __init__(
        self, names: Iterable[str], kind: Kind | None, allow_bad_rows: int, runs_dir: Path, progress: Progress
    ) -> None:
        from burnish.config import load_task

        self._kind = kind
        self._allowed = allow_bad_rows
        self._runs_dir = runs_dir
        self._progress = progress
        self._tasks: dict[str, LoadedTask] = {name: load_task(Path(name)) for name in names if _is_task(Path(name))}

    def version(self, name: str) -> Version:
        """Raises RunError when the name is nothing that exists, and whatever reading raises."""
        from burnish.data.lineage import run_version
        from burnish.runs import RunFolder, find_run

        path = Path(name)
        if name in self._tasks:
            return self._task(name, self._tasks[name])
        if (path / "run.json").is_file():
            return run_version(RunFolder(path))
        if path.is_file():
            return self._file(path)
        try:
            return run_version(find_run(self._runs_dir, name))
        except RunError as error:
            if (self._runs_dir / name).exists():
                raise
            fix = f"name a data file, a task or a run; among runs: {error.fix}"
            raise RunError(
                "there is no such file, task or run", got=name, where=str(self._runs_dir), fix=fix
            ) from None

    def _task(self, name: str, loaded: LoadedTask) -> Version:
        from burnish.data.lineage import PARTS
        from burnish.data.versions import Version, version_row
        from burnish.prepare import prepare

        prepared = prepare(loaded, allow_bad_rows=self._allowed, progress=self._progress)
        parts = [(part, getattr(prepared.split, part)) for part in PARTS]
        parts += [(f"mixture {extra.name}", extra.rows) for extra in prepared.extras]
        rows = [version_row(example, part) for part, examples in parts for example in examples]
        return Version(name, rows, prepared.fingerprint)

    def _file(self, path: Path) -> Version:
        from burnish.data.fingerprint import examples_fingerprint
        from burnish.data.guess import guess_kind
        from burnish.data.load import read_examples
        from burnish.data.versions import Version, version_row
        from burnish.prepare import reading_options

        task = next(iter(self._tasks.values()), None)
        if task is None:
            self._kind = self._kind or guess_kind(path)
        options: dict[str, Any] = {"kind": self._kind} if task is None else reading_options(task)
        examples = read_examples(path, allow_bad_rows=self._allowed, **options).examples
        rows = [version_row(example, "") for example in examples]
        return Version(str(path), rows, examples_fingerprint(examples))


def _is_task(path: Path) -> bool:
    return (path.suffix.lower() in TASK_SUFFIXES and path.is_file()) or (path / "burnish.yaml").is_file()


def _about(version: Version) -> dict[str, Json]:
    return {"name": version.name, "rows": len(version.rows), "fingerprint": version.fingerprint}


def _row(row: VersionRow) -> dict[str, Json]:
    return {"id": row.id, "part": row.part or None, "file": row.source.file, "line": row.source.line}


def _file(file: FileState, cleanings: Mapping[str, Cleanings]) -> dict[str, Json]:
    logs = cleanings[file.name].logs
    return file._asdict() | {"cleaned_from": [{"file": log.file, "sha256": log.sha256} for log in logs]}


def _traced(traced: Traced) -> dict[str, Json]:
    nowhere = dict.fromkeys(("id", "part", "file", "line"))
    return (_row(traced.row) if traced.row else nowhere) | {"from": [_origin(one) for one in traced.origins]}


def _origin(origin: Origin) -> dict[str, Json]:
    changes = [
        {"kind": one.kind, "action": one.action, "before": one.before, "after": one.after}
        | ({"repeats": one.repeats} if one.repeats else {})
        for one in origin.changes
    ]
    return {"file": origin.source.file, "line": origin.source.line, "changes": changes}


def _changes(changes: Iterable[Change]) -> list[dict[str, Json]]:
    return [{"before": _row(change.before), "after": _row(change.after)} for change in changes]
