"""`burnish data diff` and `burnish data lineage`: versions of data, and where a run's examples came from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli.options import RUNS_DIR, AllowBadRows, AsJson, RunsDir
from burnish.cli.runs import RunName
from burnish.cli.shell import print_json, show
from burnish.errors import RunError
from burnish.records import Json, Kind

if TYPE_CHECKING:
    from burnish.config import LoadedTask
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
    run: RunName,
    example: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="An example's id, the beginning of it, or FILE:LINE.")
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Show where a run's examples came from: files and their hashes, parts, or the place of one example."""
    from burnish.data.lineage import file_states, find_rows, run_rows
    from burnish.reports.versions import lineage_view, steps_of
    from burnish.runs import find_run

    folder = find_run(runs_dir, run)
    record, rows = folder.record(), run_rows(folder.path)
    files = file_states(record.get("data_files") or {})
    found = None if example is None else find_rows(rows, example)
    steps = steps_of(record, rows)
    if as_json:
        about = {
            "run_id": folder.run_id,
            "data_fingerprint": record.get("data_fingerprint"),
            "files": [file._asdict() for file in files],
        }
        print_json(about | {"steps": steps} | ({} if found is None else {"examples": [_row(row) for row in found]}))
    else:
        show(lineage_view(folder.run_id, files, steps, rows, found))


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

        prepared = prepare(loaded, allow_bad_rows=self._allowed, progress=self._progress, count_tokens=False)
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


def _changes(changes: Iterable[Change]) -> list[dict[str, Json]]:
    return [{"before": _row(change.before), "after": _row(change.after)} for change in changes]
