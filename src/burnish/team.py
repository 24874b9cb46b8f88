"""How many processes train a run, and who starts them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from burnish.cluster.asked import Asked, taken_over
from burnish.cluster.place import Place, find_place
from burnish.config import LoadedTask, with_sharding
from burnish.errors import BurnishError, Interrupted, RunError
from burnish.fit import Fitted, fit
from burnish.measure import Team
from burnish.prepare import Prepared
from burnish.progress import Progress, Silent
from burnish.runs import write_json
from burnish.worker import fitted_from, job_of, share, take_part

WORKERS = ".workers.tmp"  # in the run folder while workers are at work; a run that is taken up again removes it


class Together(NamedTuple):
    """began: to be told the run's folder. fit: how a run's training is done with others; None: by this process alone.

    follow: in a process that only takes part in a run which another one leads: does so; the run's folder.
    restarted: whether a launcher has started all processes again after a failure, so that the run is to be resumed.
    asked: what a launcher says about sharding.
    """

    began: Callable[[Path], None] = lambda _: None
    fit: Team | None = None
    follow: Callable[[], Path] | None = None
    restarted: bool = False
    asked: Asked | None = None

    def settings(self, loaded: LoadedTask, progress: Progress) -> LoadedTask:
        """The task with what its launcher asks for. Raises ConfigError where its method cannot be cut."""
        if self.asked is None or self.asked.sharding == loaded.config.training.sharding:
            return loaded
        wanted = self.asked.sharding
        progress.notice(f"accelerate asks for {self.asked.words}: done by training.sharding: {wanted}")
        return with_sharding(loaded, wanted, f"accelerate's configuration ({self.asked.words})")


def follows() -> bool:
    """Whether a launcher made this process one of those that only take part."""
    place = find_place()
    return place is not None and place.rank > 0


def launched() -> bool:
    """Whether torchrun or accelerate started this process."""
    return find_place() is not None


@contextmanager
def together(
    *, processes: int = 1, cluster: str | None = None, max_restarts: int = 1, allow_bad_rows: int = 0
) -> Iterator[Together]:
    """Within, what `processes`, `cluster` and the launcher around this process (torchrun, accelerate) ask for.

    Raises RunError when they contradict one another, or ask for what is not done.
    """
    with taken_over() as asked, _started(processes, cluster, max_restarts, allow_bad_rows) as found:
        yield found._replace(asked=asked if find_place() else None)


@contextmanager
def _started(processes: int, cluster: str | None, max_restarts: int, allow_bad_rows: int) -> Iterator[Together]:
    place = find_place()
    if place is not None:
        if processes > 1 or cluster:
            raise RunError(
                "a launcher has started several processes already",
                got=f"WORLD_SIZE={place.size}",
                where="--cluster" if cluster else "--processes",
                fix="leave the option out, or start without torchrun and accelerate",
            )
        with _joined(place, allow_bad_rows) as found:
            yield found
    elif cluster:
        yield Together(fit=_on_ray(cluster, processes, max_restarts, allow_bad_rows))
    elif processes > 1:
        yield Together(fit=_locally(processes, max_restarts, allow_bad_rows))
    else:
        yield Together()


def _locally(size: int, max_restarts: int, allow_bad_rows: int) -> Team:
    def train(loaded: LoadedTask, _: Prepared, run_dir: Path, progress: Progress) -> Fitted:
        from burnish.cluster.launch import Launch, launch
        from burnish.cluster.meet import thread_count

        folder = run_dir / WORKERS
        job = folder / "job.json"
        write_json(job, job_of(loaded, run_dir, allow_bad_rows))
        command = [sys.executable, "-m", "burnish.worker", str(job.resolve())]
        fitted = fitted_from(launch(Launch(command, size, folder, thread_count(), max_restarts), progress))
        shutil.rmtree(folder)
        return fitted

    return train


def _on_ray(address: str, size: int, max_restarts: int, allow_bad_rows: int) -> Team:
    def train(loaded: LoadedTask, _: Prepared, run_dir: Path, progress: Progress) -> Fitted:
        from burnish.cluster.on_ray import train_on_ray

        job = job_of(loaded, run_dir, allow_bad_rows)
        return fitted_from(train_on_ray(share, job, address, size, max_restarts=max_restarts, progress=progress))

    return train


@contextmanager
def _joined(place: Place, allow_bad_rows: int) -> Iterator[Together]:
    """Of a torchrun: the first process leads, the others follow."""
    from burnish.cluster.joined import Joined
    from burnish.cluster.meet import meeting

    joined = Joined(place)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0
    if place.rank > 0:
        yield Together(follow=lambda: _follow(joined))
        return

    def train(loaded: LoadedTask, prepared: Prepared, run_dir: Path, progress: Progress) -> Fitted:
        joined.announce(job_of(loaded, run_dir, allow_bad_rows))
        with meeting(place, sharded=loaded.config.training.sharded, store=joined.store) as group:
            return fit(loaded, prepared, run_dir, progress, group=group)

    led: list[Path] = []
    status = 1
    try:
        yield Together(led.append, train, restarted=restarted)
        status = 0
    except BurnishError as error:
        status = error.exit_code
        raise
    except KeyboardInterrupt:
        status = Interrupted.exit_code
        raise
    finally:
        joined.finish(status, str(led[0]) if led else "")


def _follow(joined: Any) -> Path:
    """Take part in the training that the first process leads, and end as it does."""
    job = joined.job()
    if job is not None:
        try:
            take_part(job, joined.place, Silent(), joined.store)
        except BaseException:
            joined.leave()
            raise
    status, run_dir = joined.end()
    if status or not run_dir:
        error = RunError("the first process ended before", got=f"status {status}", fix="see what it said")
        error.exit_code = status or 1
        raise error
    return Path(run_dir)
