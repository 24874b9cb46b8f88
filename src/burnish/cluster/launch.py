"""Worker processes of one machine: started, watched, and when one dies started again from the last checkpoint."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

from burnish.cluster.messages import error_from, tell
from burnish.cluster.place import RENDEZVOUS, Place
from burnish.errors import Interrupted, RunError, first_line
from burnish.progress import Progress

MESSAGES = "BURNISH_MESSAGES"  # the file descriptor that a worker writes its messages to
GRACE = 5.0  # seconds for the cause, where the first thing known is that a connection was lost
TAIL = 5  # lines of a worker's output that an error shows


class WorkerLostError(RunError):
    """A worker ended without saying why: training may go on from the last checkpoint."""


class _Worker:
    """One process with its place, its messages and its output."""

    def __init__(self, command: Sequence[str], place: Place, log: Path, environment: dict[str, str]) -> None:
        self.place, self.log = place, log
        self.error: dict[str, Any] | None = None
        self._rest = b""
        reading, writing = os.pipe()
        self.messages: BinaryIO = os.fdopen(reading, "rb", buffering=0)
        os.set_blocking(reading, False)
        try:
            with log.open("wb") as output:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # never written to: its end tells the worker that we are gone
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                    start_new_session=True,  # Ctrl-C reaches us alone, and is passed on
                    env=environment | place.environment() | {MESSAGES: str(writing)},
                )
        finally:
            os.close(writing)

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have arrived whole."""
        found: list[dict[str, Any]] = []
        while data := self.messages.read(65536):
            *lines, self._rest = (self._rest + data).split(b"\n")
            found += [json.loads(line) for line in lines]
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.messages.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def lost(self) -> WorkerLostError:
        """How it ended, with its last words."""
        status = self.process.returncode
        if status is None:
            how = "lost its connection to another worker"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = "\n".join(f"  | {line}" for line in lines[-TAIL:] if line.strip())
        fix = "go on from the last checkpoint with --resume"
        if status == -signal.SIGKILL:
            fix += "; where nobody ended it, memory ran out: use fewer processes or a smaller tokens_per_batch"
        what = f"worker {self.place.rank} of {self.place.size} (process {self.process.pid}) {how}"
        return WorkerLostError(f"{what}\n{said}" if said else what, where=str(self.log), fix=fix)


class Launch(NamedTuple):
    """How to start workers.

    command: of one worker, told its place by the environment. folder: their output goes here. threads: of all
    workers together. max_restarts: how often a lost worker is answered by starting all again.
    """

    command: Sequence[str]
    size: int
    folder: Path
    threads: int
    max_restarts: int = 1


def launch(plan: Launch, progress: Progress) -> dict[str, Any]:
    """Run the workers to their end; the message of type "fitted" that the first one sent.

    Raises what a worker raised, WorkerLostError naming one that died, Interrupted after Ctrl-C or SIGTERM (passed on
    to the workers, which save a checkpoint first). None of the workers is left then.
    """
    restarts = 0
    while True:
        try:
            return _attempt(plan, progress)
        except WorkerLostError as lost:
            if restarts == plan.max_restarts:
                raise
            restarts += 1
            count = f"restart {restarts} of {plan.max_restarts}"
            progress.notice(f"{first_line(lost.what)}; going on from the last checkpoint ({count})", warning=True)


def _attempt(plan: Launch, progress: Progress) -> dict[str, Any]:
    share = str(max(1, plan.threads // plan.size))
    plan.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        meeting = stack.enter_context(tempfile.TemporaryDirectory(prefix="burnish-"))
        environment = os.environ | {
            "OMP_NUM_THREADS": share,
            "MKL_NUM_THREADS": share,
            RENDEZVOUS: f"file://{meeting}/meeting",
        }
        told = stack.enter_context(signals_noted())
        workers: list[_Worker] = []
        stack.callback(_end, workers)
        for rank in range(plan.size):
            place = Place(rank, plan.size, rank, plan.size)
            workers.append(_Worker(plan.command, place, plan.folder / f"worker-{rank}.log", environment))
        return _watch(workers, progress, told)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.end()


def _watch(workers: Sequence[_Worker], progress: Progress, told: list[int]) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    passed_on = 0
    deadline: float | None = None
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.messages, selectors.EVENT_READ, worker)
        while True:
            ended = [worker for worker in workers if worker.process.poll() is not None]
            for key, _ in selector.select(0.0 if len(ended) == len(workers) else 0.2):
                worker = key.data
                messages = worker.receive()
                if not messages and worker.process.poll() is not None:
                    selector.unregister(worker.messages)
                for message in messages:
                    if message["type"] == "error":
                        worker.error = message
                    elif message["type"] == "fitted":
                        result = message
                    else:
                        tell(message, progress)
            if len(told) > passed_on:
                _pass_on(workers, told)
                passed_on = len(told)
            if _failed(workers):
                deadline = deadline or time.monotonic() + GRACE
                late = len(ended) == len(workers) or time.monotonic() > deadline
                cause = _cause(workers, late=late, stopping=bool(told))
                if cause is not None:
                    raise cause
            elif len(ended) == len(workers):
                if result is None:
                    raise workers[0].lost()
                return result


def _failed(workers: Sequence[_Worker]) -> bool:
    return any(worker.error is not None or worker.process.poll() not in (None, 0) for worker in workers)


def _cause(workers: Sequence[_Worker], *, late: bool, stopping: bool) -> Exception | None:
    """Why the workers failed; None while it may still be told. late: all have ended, or were waited for enough."""
    errors = [worker.error for worker in workers if worker.error is not None]
    telling = [error for error in errors if not error["lost"]]
    if stopping:
        stopped = next((error for error in telling if error["error"] == Interrupted.kind), None)
        all_ended = all(worker.process.poll() is not None for worker in workers)
        if stopped is not None and (workers[0].error is stopped or all_ended):
            return error_from(stopped)
        if not all_ended:
            return None
        return Interrupted("stopped before the first step", fix="go on with `burnish run TASK --resume`")
    if telling:
        return error_from(telling[0])
    silent = [worker for worker in workers if worker.error is None and worker.process.poll() not in (None, 0)]
    if silent:
        return silent[0].lost()
    return next(worker for worker in workers if worker.error is not None).lost() if late else None


def _pass_on(workers: Sequence[_Worker], told: Sequence[int]) -> None:
    """The first signal asks for a checkpoint; after the second there is none."""
    if len(told) > 1:
        raise KeyboardInterrupt
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(told[0])


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Within, SIGINT and SIGTERM are noted in the list; their meaning is given back after."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
