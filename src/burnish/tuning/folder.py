"""The folder of a search: what it was asked for, its lock, and how a later sitting finds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from burnish.errors import RunError
from burnish.records import Json
from burnish.runs import describe_machine, dumps, git_commit, installed_versions, read_json, write_json

RECORD, STUDY, RESULT, PAGE = "tune.json", "study.jsonl", "tuning.json", "tuning.html"


def describe(
    config: Mapping[str, Json], search: Mapping[str, Json], by: str, fingerprint: str, sealed_hash: str
) -> dict[str, Json]:
    """What a search and the one that goes on with it must share. config: the task file as JSON."""
    kept = {key: value for key, value in config.items() if key not in ("tune", "trackers")}
    return {
        "config": kept,
        "search": dict(search),
        "metric": by,
        "data_fingerprint": fingerprint,
        "sealed_hash": sealed_hash,
    }


def new_folder(root: Path, name: str, same: Mapping[str, Json], command: str | None) -> Path:
    """Make root/tune-<name>-<UTC time>-<hash>/ with its tune.json."""
    now = datetime.now(UTC)
    about = {
        "format": 1,
        "name": name,
        "created": now.isoformat(timespec="seconds"),
        "same": same,
        "command": command,
        "git_commit": git_commit(Path.cwd()),
        "versions": installed_versions(),
        "machine": describe_machine(),
    }
    digest = hashlib.sha256(dumps(same).encode()).hexdigest()
    for attempt in range(1000):
        salt = hashlib.sha256(f"{digest}{attempt}".encode()).hexdigest() if attempt else digest
        folder = root / f"tune-{name}-{now:%Y%m%d-%H%M%S}-{salt[:6]}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        write_json(folder / RECORD, about)
        return folder
    raise RunError("no free name for the search", where=str(root), fix="try again in a second")


def newest_folder(root: Path, name: str, same: Mapping[str, Json]) -> Path:
    """The newest search of the task. RunError when there is none, or when it searched something else."""
    found = []
    for file in root.glob(f"tune-*/{RECORD}"):
        record = read_json(file)
        if record.get("name") == name:
            found.append((str(record.get("created")), file.parent.name, file.parent, record["same"]))
    if not found:
        raise RunError("there is no search of this task", got=name, where=str(root), fix="search without --resume")
    *_, folder, before = max(found, key=lambda one: one[:2])
    changed = {key for key in same if key != "config" and before.get(key) != same[key]}
    changed |= {key for key, value in same["config"].items() if before["config"].get(key) != value}
    if changed:
        raise RunError(
            "the task has changed since the search that would be resumed",
            got=", ".join(sorted(changed)),
            where=str(folder),
            fix="undo the change, or begin anew without --resume",
        )
    return Path(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the search while working on it. RunError when another process does."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / ".lock", timeout=1.0)
    try:
        held.acquire()
    except Timeout:
        raise RunError(
            "another process is working on this search", where=str(folder), fix="wait for it to end, or end it"
        ) from None
    try:
        yield
    finally:
        held.release()
