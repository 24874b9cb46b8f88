"""The run folder: its state, its lock, and the records in it."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from burnish.errors import BurnishError, Interrupted, RunError
from burnish.records import Evaluation, Json, Paired, Prediction
from burnish.runs.files import clean_temporaries, read_json, read_jsonl, write_json, write_jsonl
from burnish.runs.machine import describe_machine, git_commit, installed_versions
from burnish.runs.serial import dumps, from_json, to_json

RUN_FILE = "run.json"
EVALUATION_FILE = "evaluation.json"
LOCK_FILE = ".lock"
# The working states stand in the order of the lifecycle.
Status = Literal[
    "created",
    "checking",
    "splitting",
    "baselines",
    "training",
    "evaluating",
    "reporting",
    "done",
    "failed",
    "interrupted",
]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Status, ...] = ("done", "failed", "interrupted")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk. Change it only under `lock`; reading needs none, every file is written whole."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def record(self) -> dict[str, Any]:
        """run.json. RunError when it is missing or damaged."""
        found = read_json(self.path / RUN_FILE)
        if not isinstance(found, dict) or found.get("status") not in STATUSES:
            raise RunError(
                "this is no run's state", where=str(self.path / RUN_FILE), fix="it was changed or damaged: run again"
            )
        return found

    def update(self, **fields: Any) -> None:
        """Set top-level fields of run.json. The status has its own function."""
        if "status" in fields:
            raise ValueError("use set_status")
        write_json(self.path / RUN_FILE, self.record() | fields)

    @property
    def status(self) -> Status:
        status: Status = self.record()["status"]
        return status

    def set_status(self, status: Status, error: str | None = None) -> None:
        """Go on to a state; ValueError for a step that makes no sense.

        Working states go forwards (some may be skipped); each may fail, be interrupted, or be done. A failed or
        interrupted run may take up any working state again; a run that is done may be evaluated or reported again.
        """
        record = self.record()
        if not _allowed(record["status"], status):
            raise ValueError(f"run {self.run_id} cannot go from {record['status']} to {status}")
        record |= {"status": status, "error": error, "updated": _now()}
        write_json(self.path / RUN_FILE, record)

    @contextmanager
    def stage(self, status: Status) -> Iterator[None]:
        """Work in one state: sets it, adds the seconds to timings, and on an error notes how it ended.

        A BurnishError or any other exception leaves the run failed, Ctrl-C and Interrupted leave it interrupted.
        """
        if self.status != status:
            self.set_status(status)
        began = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self._add_time(status, time.perf_counter() - began)
            stopped = isinstance(error, KeyboardInterrupt | Interrupted | SystemExit | GeneratorExit)
            text = str(error) if isinstance(error, BurnishError) else f"{type(error).__name__}: {error}"
            self.set_status("interrupted" if stopped else "failed", error=text)
            raise
        self._add_time(status, time.perf_counter() - began)

    def _add_time(self, stage: str, seconds: float) -> None:
        timings = dict(self.record().get("timings") or {})
        timings[stage] = round(timings.get(stage, 0.0) + seconds, 3)
        self.update(timings=timings)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while working on it. RunError when another process does.

        The system frees the lock when its process dies, however it dies; a working state found here is then one that
        was cut off, and becomes interrupted. What killed writers left is removed.
        """
        from filelock import FileLock, Timeout

        # Listing runs tries the lock for a moment, so a refusal is waited out briefly.
        held = FileLock(self.path / LOCK_FILE, timeout=1.0)
        try:
            held.acquire()
        except Timeout:
            process = self.record().get("process") or {}
            raise RunError(
                "another process is working on this run",
                got=f"process {process.get('pid', '?')} on {process.get('host', '?')}",
                where=str(self.path),
                fix="wait for it to end, or end it",
            ) from None
        try:
            clean_temporaries(self.path)
            if self.status not in (*ENDED, "created"):
                self.set_status("interrupted", error="the process ended without a word")
            self.update(process={"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            held.release()

    def locked(self) -> bool:
        """Whether some process is working on the run."""
        from filelock import FileLock, Timeout

        if not (self.path / LOCK_FILE).exists():
            return False
        try:
            with FileLock(self.path / LOCK_FILE, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that may only be read
            return False


def _allowed(before: Status, after: Status) -> bool:
    if after in ENDED:
        return before != "done"
    if before in ("failed", "interrupted"):
        return after != "created"
    if before == "done":
        return after in ("evaluating", "reporting")
    return STATUSES.index(after) > STATUSES.index(before)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run(
    runs_dir: Path,
    name: str,
    config: Mapping[str, Json],
    *,
    data_fingerprint: str | None = None,
    command: str | None = None,
) -> RunFolder:
    """Make runs_dir/<name>-<UTC time>-<hash of the settings>/ with its run.json.

    config: the resolved task file as JSON; its `seed` is repeated in run.json. RunError: the name is no plain name,
    or the folder cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            "a run's name holds letters, digits, '.', '_' and '-' only, and begins with a letter or digit",
            got=name,
            where="name",
            fix="choose a name of at most 64 such characters",
        )
    settings = to_json(config)
    digest = hashlib.sha256(dumps(settings).encode()).hexdigest()
    now = datetime.now(UTC)
    for attempt in range(1000):
        salt = hashlib.sha256(f"{digest}{attempt}".encode()).hexdigest() if attempt else digest
        path = runs_dir / f"{name}-{now:%Y%m%d-%H%M%S}-{salt[:6]}"
        if path.exists():  # the same settings within one second
            continue
        record = {
            "format": 1,
            "run_id": path.name,
            "name": name,
            "status": "created",
            "error": None,
            "created": now.isoformat(timespec="seconds"),
            "updated": now.isoformat(timespec="seconds"),
            "config": settings,
            "seed": settings.get("seed"),
            "command": command,
            "data_fingerprint": data_fingerprint,
            "git_commit": git_commit(Path.cwd()),
            "versions": installed_versions(),
            "machine": describe_machine(),
            "timings": {},
        }
        # Filled before it gets its name, so that no run folder is without its state.
        hidden = runs_dir / f".{path.name}.{secrets.token_hex(4)}.tmp"
        try:
            write_json(hidden / RUN_FILE, record)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        try:
            hidden.rename(path)
        except OSError:  # another process took the name between the check and here
            (hidden / RUN_FILE).unlink()
            hidden.rmdir()
            continue
        return RunFolder(path)
    raise RunError("no free name for the run", got=str(path), fix="try again in a second")


def open_run(path: Path) -> RunFolder:
    """An existing run folder. RunError when it holds no run."""
    if not (path / RUN_FILE).is_file():
        raise RunError("this folder holds no run", got=str(path), fix="list the runs with `burnish runs`")
    return RunFolder(path)


def write_evaluation(path: Path, evaluations: Sequence[Evaluation], paired: Sequence[Paired], **extras: Any) -> None:
    """evaluation.json: {"systems": {name: Evaluation}, "paired": [Paired, …], …extras}."""
    systems = {evaluation.system: evaluation for evaluation in evaluations}
    write_json(path, {"systems": systems, "paired": list(paired), **extras})


def read_evaluation(path: Path) -> tuple[list[Evaluation], list[Paired]]:
    """What `write_evaluation` wrote, in its order. RunError when the file is missing or damaged."""
    found = read_json(path)
    systems = found.get("systems", {}) if isinstance(found, dict) else found
    if not isinstance(systems, dict) or not isinstance(found, dict):
        raise RunError("not a saved evaluation", where=str(path), fix="evaluate again")
    where = str(path)
    return (
        [from_json(Evaluation, one, where) for one in systems.values()],
        [from_json(Paired, one, where) for one in found.get("paired", [])],
    )


def predictions_path(folder: Path, system: str) -> Path:
    """Where the answers of a system are kept."""
    return folder / "predictions" / f"{system}.jsonl"


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """predictions/<system>.jsonl, whole or not at all."""
    write_jsonl(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """What `write_predictions` wrote. RunError (file:line) when a line is damaged."""
    return [from_json(Prediction, line, f"{path}:{number}") for number, line in enumerate(read_jsonl(path), 1)]
