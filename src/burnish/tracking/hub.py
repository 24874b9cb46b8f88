"""The training's side of its trackers: hand over and go on.

Each tracker is a process (worker.py) behind a bounded queue. So it cannot draw from the training's random numbers,
its network cannot hold up a step, its crash is its own, and at the end it is waited for a little and then killed.
The first failure of each is told once; training goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from burnish.errors import ConfigError, Interrupted
from burnish.progress import Progress
from burnish.records import Json
from burnish.tracking.backends import PACKAGES, TRACKERS, Place

WAITING = 1000  # messages that may wait for a slow tracker; later ones are left out
AT_ONCE = 100  # rows of one message
DEADLINE = 60.0  # seconds that all trackers together have for their end

# Of the lines of metrics.jsonl: what is no number to look at.
_NOT_SHOWN = {"step", "tokens", "labelled_tokens", "seconds", "metric", "validation_loss", "validation_metric"}


def require_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError, with the command that installs it, for a tracker whose package is missing."""
    for name in names:
        if find_spec(TRACKERS[name][1]) is None:
            package = PACKAGES.get(name, name)
            raise ConfigError(
                f"the tracker {name} needs the package {package}",
                got=name,
                where="trackers",
                fix=f"pip install {package}, or take {name} out of trackers",
            )


def numbers_of(line: Mapping[str, Json]) -> tuple[int, dict[str, float]]:
    """The step and the numbers of a line of metrics.jsonl, by the names that trackers show."""
    part = "validation" if "validation_loss" in line else "train"
    found = {
        f"{part}/{name.removeprefix('validation_')}": value for name, value in line.items() if name not in _NOT_SHOWN
    }
    if part == "validation":
        found["validation/loss"] = line["validation_loss"]
    if "validation_metric" in line:
        found[f"validation/{line['metric']}"] = line["validation_metric"]
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    return int(line["step"]), {name: value for name, value in numbers.items() if math.isfinite(value)}


class Trackers:
    """All trackers of one run, none when `names` is empty; a context, which ends them however the run ends."""

    def __init__(
        self, names: Sequence[str], folder: Path, *, project: str, config: Mapping[str, Any], progress: Progress
    ) -> None:
        """folder: the run's; trackers/ in it keeps what they write. They start with the first line."""
        self._names, self._project, self._config, self._progress = names, project, config, progress
        self._folder = folder
        self._workers: list[_Worker] | None = None
        self._told: set[str] = set()

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._workers:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            self._end({}, "interrupted" if stopped else "failed")

    def log(self, line: Mapping[str, Json]) -> None:
        """Hand over a line of metrics.jsonl. Never raises, never waits."""
        if not self._names:
            return
        row = numbers_of(line)
        for worker in self._started():
            worker.log(row)
        self._tell()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run is over: hand over its result and wait, DEADLINE seconds at most."""
        if self._names:
            self._started()
            self._end(summary, "done")

    def _started(self) -> list[_Worker]:
        if self._workers is None:
            place = Place(self._project, self._folder.name, self._folder / "trackers", self._folder.parent)
            self._workers = [_Worker(name, place, self._config) for name in self._names]
        return self._workers

    def _end(self, summary: Mapping[str, Any], status: str) -> None:
        workers, self._workers = self._workers or [], []
        for worker in workers:
            worker.finish(summary, status)
        until = time.monotonic() + DEADLINE
        for worker in workers:
            worker.wait(max(0.1, until - time.monotonic()))
        self._tell(workers)
        for worker in workers:
            if worker.failure is None and worker.where and status == "done":
                self._progress.notice(f"{worker.name}: {worker.where}")

    def _tell(self, workers: Sequence[_Worker] | None = None) -> None:
        for worker in self._workers or () if workers is None else workers:
            if worker.failure is not None and worker.name not in self._told:
                self._told.add(worker.name)
                what = f"the tracker {worker.name} is left out: {worker.failure} (see {worker.log_file})"
                self._progress.notice(what, warning=True)


class _Worker:
    """One tracker's process with its two threads: what is read and written here cannot hold up the training.

    failure: why nothing more is handed over; where: where the run can be seen.
    """

    def __init__(self, name: str, place: Place, config: Mapping[str, Any]) -> None:
        self.name = name
        self.failure: str | None = None
        self.where: str | None = None
        self.log_file = place.folder / f"{name}.log"
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING + 1)  # None: nothing more comes
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            place.folder.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "burnish.tracking.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    start_new_session=True,  # so that it can be killed with all that it started
                )
            fields = [place.project, place.run_id, str(place.folder), str(place.runs_dir)]
            self._queue.put({"start": {"tracker": name, "place": fields, "config": config}})
            for work in (self._write, self._read):
                threading.Thread(target=work, name=f"tracker {name}", daemon=True).start()
        except (OSError, RuntimeError) as error:  # no process or thread is to be had
            self._fail(f"its process does not start: {error}")

    def log(self, row: tuple[int, Mapping[str, float]]) -> None:
        if self.failure is None:
            self._put({"log": [row]})

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        if self.failure is None:
            self._put({"finish": {"summary": summary, "status": status}})

    def wait(self, seconds: float) -> None:
        """Until the end, but not longer; then the process and all it started are killed."""
        process = self._process
        if process is None:
            return
        try:
            if not self._over.wait(seconds):
                self._fail(f"it did not end within {DEADLINE:.0f} seconds; what it had not sent is lost")
            process.wait(0.0 if self.failure else 2.0)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _put(self, message: dict[str, Any]) -> None:
        if self._queue.qsize() >= WAITING:
            self._fail(f"it does not keep up: {WAITING:,} messages wait")
        else:
            self._queue.put_nowait(message)

    def _fail(self, why: str) -> None:
        if self.failure is None:
            self.failure = why
        self._over.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put_nowait(None)

    def _write(self) -> None:
        """Queue to pipe. The rows that gathered while the pipe was full go together."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the reader knows why nobody listens any more
            message = self._queue.get()
            while message is not None:
                later = self._gather(message)
                process.stdin.write(json.dumps(message).encode() + b"\n")
                process.stdin.flush()
                message = None if "finish" in message else later or self._queue.get()
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()

    def _gather(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Add waiting rows to a message of rows; the first other message that waits, None when there is none."""
        while "log" in message and len(message["log"]) < AT_ONCE and not self._queue.empty():
            later = self._queue.get()
            if later is None or "log" not in later:
                return later
            message["log"] += later["log"]
        return None

    def _read(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with process.stdout as answers:
            for line in answers:
                answer = json.loads(line)
                if "failed" in answer:
                    self._fail(answer["failed"])
                elif "done" in answer:
                    self._over.set()
                else:
                    self.where = answer["where"]
        if not self._over.is_set():
            self._fail("its process ended without a word")
