"""Element-wise functions on a GPU: compiled, since each of their operations would be a kernel and a pass over memory.

On a CPU the functions stay what they are; their operations work in place, in parts that a cache holds.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

from burnish.errors import first_line

P = ParamSpec("P")
T = TypeVar("T")


def compiled_on_gpu(function: Callable[P, T]) -> Callable[P, T]:
    """The function, compiled at its first call with CUDA tensors; its first argument is a tensor.

    For all shapes at once. What it overwrites it overwrites compiled, too. Where PyTorch cannot compile it, the plain
    function serves from then on, and a line of the log says why, once.
    """
    made: Any = None
    refused = False

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal made, refused
        if refused or not _wanted(args[0]):
            return function(*args, **kwargs)
        made = made or _compile(function)
        try:
            found: T = made(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            name, kind, reason = function.__name__, type(error).__name__, first_line(error)
            logging.getLogger("burnish").warning("%s stays uncompiled on this GPU (%s: %s)", name, kind, reason)
            refused = True
            return function(*args, **kwargs)
        return found

    return call


def _wanted(tensor: Any) -> bool:
    return bool(tensor.device.type == "cuda")


def _compile(function: Any) -> Any:
    return torch.compile(function, dynamic=True, fullgraph=True)
