"""Processes meet: one group, one device each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from burnish.cluster.place import RENDEZVOUS, Place
from burnish.errors import RunError
from burnish.training.parallel import Group

# Others wait while the first process measures on validation examples. Whoever starts the processes sees a death
# itself, so this only ends what nothing else would.
PATIENCE = timedelta(hours=12)


@contextmanager
def meeting(place: Place, *, sharded: bool = False, store: Any = None) -> Iterator[Group]:
    """Within, this process and the others of `place` are a group: gloo on CPUs, NCCL on GPUs.

    store: where they meet, else RENDEZVOUS or the variables of torchrun. Raises RunError when there are fewer GPUs
    than processes.
    """
    device = own_device(place)
    if sys.platform.startswith("linux") and place.local_size == place.size:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing listens to the network
    where: dict[str, Any] = {"init_method": os.environ.get(RENDEZVOUS, "env://")}
    if store is not None:
        where = {"store": store}
    torch.distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo", rank=place.rank, world_size=place.size, timeout=PATIENCE, **where
    )
    yield Group(place.rank, place.size, device, sharded)
    # Not after an error: others may be gone, and a farewell would wait for them.
    torch.distributed.destroy_process_group()


def thread_count() -> int:
    """Threads of this process's matrix products: what its workers divide among them."""
    return torch.get_num_threads()


def own_device(place: Place) -> str:
    """ "cpu" or "cuda"; on GPUs the local_rank-th becomes this process's."""
    if not torch.cuda.is_available():
        return "cpu"
    count = torch.cuda.device_count()
    if place.local_rank >= count:
        raise RunError(
            "there are more processes than GPUs on this machine",
            got=f"{place.local_size} processes, {count} GPUs",
            where="--processes",
            fix=f"use at most {count} processes here, or hide the GPUs (CUDA_VISIBLE_DEVICES= ) to train on CPUs",
        )
    torch.cuda.set_device(place.local_rank)
    return "cuda"
