"""Workers as Ray actors, on one machine or several: one for each GPU, or for each machine without any."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from burnish.cluster.launch import WorkerLostError, signals_noted
from burnish.cluster.messages import Sender, error_from, error_message, tell
from burnish.cluster.place import Place
from burnish.errors import RunError, first_line
from burnish.progress import Progress, Silent

Work = Callable[[dict[str, Any], Place, Progress], dict[str, Any]]
RESOURCES_WITHIN = 300.0  # seconds that Ray may take to find room for the workers
POLL = 0.5


class Mailbox:
    """An actor between the driver and its workers: messages one way, a wish to stop the other."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._stopping = 0

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        found, self._messages = self._messages, []
        return found

    def stop(self, number: int) -> None:
        self._stopping = number

    def stopping(self) -> int:
        return self._stopping


class Worker:
    """An actor that takes part in a run's training."""

    def where(self) -> tuple[str, str, int]:
        """Its node, that node's address, and a port that is free there now."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            port = int(free.getsockname()[1])
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), port

    def train(
        self, work: Work, job: dict[str, Any], place: Place, environment: Mapping[str, str], mailbox: Any
    ) -> dict[str, Any]:
        """Do the work; the message it ends with, also of an error."""
        os.environ.update(environment)
        with contextlib.suppress(OSError):
            os.chdir(job["cwd"])
        threading.Thread(target=_heed, args=(mailbox,), daemon=True).start()
        progress: Progress = Sender(lambda message: mailbox.put.remote(message)) if place.rank == 0 else Silent()
        try:
            return work(job, place, progress)
        except BaseException as error:
            return error_message(error)


def _heed(mailbox: Any) -> None:
    """In a worker: when the driver wants to stop, the signal that the training loop heeds."""
    import ray

    while not (number := ray.get(mailbox.stopping.remote())):
        time.sleep(POLL)
    os.kill(os.getpid(), number)


def train_on_ray(
    work: Work, job: dict[str, Any], address: str, size: int, *, max_restarts: int, progress: Progress
) -> dict[str, Any]:
    """Run `work` in `size` actors (1: as many as there are GPUs, or machines without any); what the first one gave.

    address: ray://host:10001, auto, or local for a cluster of this machine alone. Every machine must have Burnish
    installed and see the data and the run folder under the same paths. Raises what a worker raised, and
    WorkerLostError when actors died more than max_restarts times.
    """
    with _connected(address) as ray:
        count, resources = _plan(ray, size)
        restarts = 0
        while True:
            try:
                return _attempt(ray, work, job, count, resources, progress)
            except WorkerLostError as lost:
                if restarts == max_restarts:
                    raise
                restarts += 1
                count_text = f"restart {restarts} of {max_restarts}"
                progress.notice(f"{lost.what}; going on from the last checkpoint ({count_text})", warning=True)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise RunError("Ray is not installed", where="--cluster", fix="pip install 'burnish[ray]'") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"no Ray cluster answers: {first_line(error) or type(error).__name__}",
            got=address,
            where="--cluster",
            fix="start one with `ray start --head`, or use --cluster local",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _plan(ray: Any, size: int) -> tuple[int, dict[str, float]]:
    """How many workers, and what each needs. RunError when the cluster has less."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    machines = sum(1 for node in ray.nodes() if node["Alive"])
    count = size if size > 1 else max(1, gpus or machines)
    room = gpus or int(there.get("CPU", 0))
    if count > room:
        raise RunError(
            f"the Ray cluster has {room} {'GPUs' if gpus else 'CPUs'}, fewer than the processes",
            got=f"{count} processes",
            where="--processes",
            fix=f"use --processes {room}, or add machines",
        )
    return count, {"CPU": 1.0, "GPU": 1.0} if gpus else {"CPU": 1.0}


def _attempt(
    ray: Any, work: Work, job: dict[str, Any], count: int, resources: dict[str, float], progress: Progress
) -> dict[str, Any]:
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([resources] * count, strategy="SPREAD")
    mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
    workers: list[Any] = []
    try:
        ray.get(group.ready(), timeout=RESOURCES_WITHIN)
        options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0)}
        for bundle in range(count):
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
            workers.append(ray.remote(Worker).options(**options, scheduling_strategy=strategy).remote())
        found = ray.get([worker.where.remote() for worker in workers])
        on_node = Counter(node for node, _, _ in found)
        _, host, port = found[0]
        tasks = []
        for rank, (worker, (node, _, _)) in enumerate(zip(workers, found, strict=True)):
            # A worker sees its own GPU alone, as the first.
            place = Place(rank, count, 0, on_node[node])
            environment = place.environment() | {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
            tasks.append(worker.train.remote(work, job, place, environment, mailbox))
        with signals_noted() as told:
            return _watch(ray, tasks, mailbox, progress, told)
    except ray.exceptions.GetTimeoutError as error:
        raise RunError(
            "the Ray cluster finds no room for the workers",
            got=f"{count} times {resources}",
            where="--cluster",
            fix="wait until others have ended, or use fewer --processes",
        ) from error
    finally:
        for actor in [*workers, mailbox]:
            ray.kill(actor)
        remove_placement_group(group)


def _watch(ray: Any, tasks: list[Any], mailbox: Any, progress: Progress, told: list[int]) -> dict[str, Any]:
    """Until all are done. A worker's own error is raised rather than that of one who lost its connection."""
    waiting, passed_on = list(tasks), 0
    lost: Exception | None = None
    result: dict[str, Any] | None = None
    until = float("inf")
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL)
        for message in ray.get(mailbox.take.remote()):
            tell(message, progress)
        if len(told) > passed_on:
            if len(told) > 1:
                raise KeyboardInterrupt
            ray.get(mailbox.stop.remote(int(told[0])))
            passed_on = len(told)
        for task in done:
            try:
                message = ray.get(task)
            except ray.exceptions.RayError as error:
                text = first_line(error) or type(error).__name__
                raise WorkerLostError(
                    f"worker {tasks.index(task)} of {len(tasks)} is gone: {text}", fix="go on with --resume"
                ) from error
            if message["type"] == "error" and not message["lost"]:
                raise error_from(message)
            if message["type"] == "error":
                text = f"worker {tasks.index(task)} of {len(tasks)} lost its connection to another"
                lost = lost or WorkerLostError(text, fix="go on with --resume")
                until = min(until, time.monotonic() + 10)
            if task == tasks[0] and message["type"] == "fitted":
                result = message
        if lost is not None and (not waiting or time.monotonic() > until):
            raise lost
    if result is None:
        raise WorkerLostError("the first worker ended without a result", fix="go on with --resume")
    return result
