"""The process of one tracker: messages in on stdin, one JSON a line, what became of it out on stdout.

    {"start": {"tracker": …, "place": …, "config": …}}   {"log": [[step, {name: number}], …]}
    {"finish": {"summary": …, "status": …}}

Answers: {"where": …} once started, {"done": true} at the end, {"failed": …} for anything that goes wrong. When stdin
ends without `finish`, the training was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from burnish.errors import first_line
from burnish.tracking.backends import TRACKERS, Place, Tracker

ORPHANED = 60  # seconds to finish after the training was killed


def main() -> None:
    """Serve one tracker until its end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints belongs into the log, not between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then says how it ended
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _serve(answers)
    except BaseException as error:
        traceback.print_exc()
        _answer(answers, failed=f"{type(error).__name__}: {first_line(error)}".rstrip(": "))


def _end_with(parent: int) -> None:
    """A tracker that hangs does not outlive a training that was killed by much."""
    while os.getppid() == parent:
        time.sleep(5)
    time.sleep(ORPHANED)
    os._exit(1)


def _serve(answers: TextIO) -> None:
    tracker: Tracker | None = None
    for line in sys.stdin.buffer:
        message: dict[str, Any] = json.loads(line)
        if "start" in message:
            start = message["start"]
            project, run_id, folder, runs_dir = start["place"]
            tracker = TRACKERS[start["tracker"]][0]()
            place = Place(project, run_id, Path(folder), Path(runs_dir))
            _answer(answers, where=tracker.start(place, start["config"]))
        elif tracker is not None and "log" in message:
            tracker.log([(step, numbers) for step, numbers in message["log"]])
        elif tracker is not None:
            tracker.finish(message["finish"]["summary"], message["finish"]["status"])
            _answer(answers, done=True)
            return
    if tracker is not None:
        tracker.finish({}, "killed")


def _answer(answers: TextIO, **what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
