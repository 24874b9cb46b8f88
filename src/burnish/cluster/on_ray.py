"""Workers as Ray actors, on one machine or several."""

from typing import Any


def train_on_ray(job: Any, address: str, size: int, *, max_restarts: int, progress: Any) -> dict[str, Any]:
    raise NotImplementedError
