"""Where this process stands among those that train together, as launchers tell it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from burnish.errors import RunError

RENDEZVOUS = (
    "BURNISH_RENDEZVOUS"  # where processes of our own launcher meet; torchrun has MASTER_ADDR and MASTER_PORT
)


class Place(NamedTuple):
    """rank of `size` processes, on this machine the local_rank-th of local_size."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    def environment(self) -> dict[str, str]:
        """As torchrun writes it."""
        values = (self.rank, self.size, self.local_rank, self.local_size)
        return dict(zip(("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), map(str, values), strict=True))


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place, from the variables of torchrun and accelerate; None when it runs alone.

    Raises RunError for variables that do not fit together.
    """
    try:
        size = int(environment.get("WORLD_SIZE") or 1)
        if size < 2:
            return None
        rank = int(environment["RANK"])
        local_rank = int(environment.get("LOCAL_RANK") or 0)
        local_size = int(environment.get("LOCAL_WORLD_SIZE") or 1)
    except (KeyError, ValueError) as error:
        raise RunError(
            "the launcher's variables do not say which process this is",
            got={name: environment.get(name) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")},
            where="environment",
            fix="start with torchrun, or without a launcher: burnish run TASK --processes N",
        ) from error
    return Place(rank, size, local_rank, local_size)
