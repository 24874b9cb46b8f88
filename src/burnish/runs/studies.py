"""Studies: folders of work that tries things out beside the runs, such as searches for settings and advice.

A study stands in root/<kind>-<name>-<UTC time>-<hash>/ with <kind>.json, which says what it was asked for. A later
sitting goes on with the newest one that was asked for the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from burnish.errors import RunError
from burnish.records import Json
from burnish.runs.files import make_folder, read_json, write_json
from burnish.runs.listing import resume_command, setting_differences
from burnish.runs.machine import describe_machine, git_commit, installed_versions
from burnish.runs.serial import dumps


def new_study(
    root: Path, kind: str, name: str, same: Mapping[str, Json], command: str | None, *, noun: str = "search"
) -> Path:
    """Make the folder with its record. same: what a study that goes on with it must be asked for, too.

    noun: what messages call a study of this kind. Raises RunError when no free name is found.
    """
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
        folder = root / f"{kind}-{name}-{now:%Y%m%d-%H%M%S}-{salt[:6]}"
        make_folder(root)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        write_json(folder / f"{kind}.json", about)
        return folder
    raise RunError(f"no free name for the {noun}", where=str(root), fix="try again in a second")


def newest_study(root: Path, kind: str, name: str, same: Mapping[str, Json], *, noun: str = "search") -> Path:
    """The newest study of this kind and name that was asked for the same. RunError when there is none: the keys in
    which the newest one differs are named, those of "config" one by one, and the command that goes on with it."""
    found = []
    for file in root.glob(f"{kind}-*/{kind}.json"):
        record = read_json(file)
        if record.get("name") == name:
            found.append((str(record.get("created")), file.parent.name, file.parent, record))
    if not found:
        raise RunError(f"there is no {noun} of this task", got=name, where=str(root), fix="begin without --resume")
    found.sort(key=lambda one: one[:2], reverse=True)
    for *_, folder, record in found:
        if not _changed(record["same"], same):
            return folder
    *_, folder, record = found[0]
    raise RunError(
        f"the task has changed since the {noun} that would be resumed",
        got=", ".join(_changed(record["same"], same)),
        where=str(folder),
        fix=f"give all as it was, with every option: `{resume_command(record)}`; or begin without --resume",
    )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a study was asked for otherwise; settings, under "config", as dotted names."""
    keys = [key for key in now if key != "config" and before.get(key) != now[key]]
    return sorted({*keys, *setting_differences(before["config"], now["config"])})


@contextmanager
def locked_study(folder: Path, *, noun: str = "search") -> Iterator[None]:
    """Hold the study while working on it. RunError when another process does."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / ".lock", timeout=1.0)
    try:
        held.acquire()
    except Timeout:
        raise RunError(
            f"another process is working on this {noun}", where=str(folder), fix="wait for it to end, or end it"
        ) from None
    try:
        yield
    finally:
        held.release()
