"""What each of several processes does for a run: prepare the same rows, meet the others, train."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from burnish.cluster.place import Place, find_place
from burnish.config import LoadedTask, TaskConfig
from burnish.errors import Interrupted, RunError
from burnish.fit import Fitted, fit
from burnish.mixing import ANSWERS, answered
from burnish.prepare import Prepared, prepare
from burnish.progress import Progress, Silent
from burnish.records import Json
from burnish.runs import read_json


def job_of(loaded: LoadedTask, run_dir: Path, allow_bad_rows: int) -> dict[str, Json]:
    """All that another process needs to take part in a run's training, as JSON."""
    return {
        "config": loaded.config.model_dump(mode="json", by_alias=True),
        "base_dir": str(loaded.base_dir),
        "run_dir": str(run_dir.resolve()),
        "allow_bad_rows": allow_bad_rows,
        "cwd": str(Path.cwd()),
    }


def take_part(job: dict[str, Any], place: Place, progress: Progress, store: Any = None) -> Fitted:
    """Prepare a job's rows and train them with the other processes.

    store: where they meet, else as the environment says.
    Raises RunError when the rows are not those of the run, and whatever training raises.
    """
    from burnish.cluster.meet import meeting

    config = TaskConfig.model_validate(job["config"])
    loaded = LoadedTask(config, [], None, Path(job["base_dir"]))
    run_dir = Path(job["run_dir"])
    prepared = prepare(loaded, allow_bad_rows=job["allow_bad_rows"])
    _check_same_rows(prepared, run_dir)
    prepared = prepared._replace(extras=answered(prepared.extras, run_dir / ANSWERS))
    with meeting(place, sharded=config.training.sharded, store=store) as group:
        return fit(loaded, prepared, run_dir, progress, group=group)


def _check_same_rows(prepared: Prepared, run_dir: Path) -> None:
    known = read_json(run_dir / "split.json")
    for part in ("train", "validation"):
        if known[part] != [example.id for example in getattr(prepared.split, part)]:
            raise RunError(
                "a worker does not find the rows that the run began with",
                where=str(run_dir / "split.json"),
                fix="leave the data as they are while a run trains, and give all machines the same files",
            )


def main() -> None:
    """`python -m burnish.worker JOB`: one worker of `burnish run --processes N`."""
    from burnish.cluster.launch import MESSAGES
    from burnish.cluster.lifeline import end_with_parent
    from burnish.cluster.messages import Sender, error_message

    end_with_parent(sys.stdin.fileno())
    messages = os.fdopen(int(os.environ[MESSAGES]), "wb", buffering=0)

    def send(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message).encode() + b"\n")

    def stop(*_: Any) -> None:
        raise Interrupted("stopped before the first step", fix="go on with `burnish run TASK --resume`")

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        place = find_place()
        assert place is not None, "started with its place"
        progress: Progress = Sender(send) if place.rank == 0 else Silent()
        send(share(read_json(Path(sys.argv[1])), place, progress))
    except BaseException as error:
        send(error_message(error))
        sys.stdout.flush()
        os._exit(1)  # no farewell to a group whose others may be gone


def share(job: dict[str, Any], place: Place, progress: Progress) -> dict[str, Any]:
    """`take_part`, and the message that it ends with."""
    fitted = take_part(job, place, progress)
    return {"type": "done"} if fitted.folder is None else fitted_message(fitted)


def fitted_message(fitted: Fitted) -> dict[str, Any]:
    """The result of the first process, for those who started it."""
    return {
        "type": "fitted",
        "folder": str(fitted.folder),
        "base_hash": fitted.base_hash,
        "about": fitted.about,
        "mixture": fitted.mixture,
    }


def fitted_from(message: dict[str, Any]) -> Fitted:
    """`fitted_message` read back."""
    return Fitted(Path(message["folder"]), message["base_hash"], message["about"], message["mixture"])


if __name__ == "__main__":
    main()
