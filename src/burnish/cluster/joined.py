"""Processes that torchrun or `accelerate launch` started: the first leads a run, the others wait for its training."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from burnish.cluster.place import Place

LONG = timedelta(days=30)  # checks and baselines may take hours; torchrun ends everyone when the first one dies
FAREWELL = 30.0  # seconds that the first process waits for the others to hear how it ended


class Joined:
    """The words between the first process and the others, in the store that their launcher gave them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        found, *_ = next(rendezvous("env://", timeout=LONG))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._words = PrefixStore(f"burnish/{attempt}/words", found)
        self.store = PrefixStore(f"burnish/{attempt}/group", found)
        self._announced = False

    def announce(self, job: dict[str, Any] | None) -> None:
        """First process: training begins, or (None) there will be none. Only the first call counts."""
        if not self._announced:
            self._announced = True
            self._words.set("job", json.dumps(job))

    def finish(self, status: int, run_dir: str) -> None:
        """First process: the run has ended; returns when the others have heard it, or do not listen any more."""
        self.announce(None)
        self._words.set("end", json.dumps({"status": status, "run_dir": run_dir}))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return  # the store outlives this process
        until = time.monotonic() + FAREWELL
        with suppress(RuntimeError):
            while self._words.add("heard", 0) < self.place.size - 1 and time.monotonic() < until:
                time.sleep(0.05)

    def job(self) -> dict[str, Any] | None:
        """Another process: what to take part in, once it begins."""
        found: dict[str, Any] | None = json.loads(self._wait("job"))
        return found

    def end(self) -> tuple[int, str]:
        """Another process: the first one's exit status and its run folder, once it has ended."""
        found = json.loads(self._wait("end"))
        self.leave()
        return int(found["status"]), str(found["run_dir"])

    def leave(self) -> None:
        """Another process: it listens no more."""
        self._words.add("heard", 1)

    def _wait(self, key: str) -> bytes:
        self._words.wait([key], LONG)
        return bytes(self._words.get(key))
