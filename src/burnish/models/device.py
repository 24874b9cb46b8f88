"""What this machine computes with: device, number format, threads."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch

Format = Literal["auto", "float32", "bfloat16", "float16"]
LOST_BITS = {torch.bfloat16: 16, torch.float16: 13}  # of the 23 that float32 has behind the point


class Device(NamedTuple):
    """device: "cpu", "cuda" or "mps"; native_bf16: whether it multiplies bfloat16 matrices in hardware."""

    device: str
    native_bf16: bool


def detect() -> Device:
    """The best device at hand."""
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.get_device_capability()[0] >= 8)
    if torch.backends.mps.is_available():
        return Device("mps", False)
    return Device("cpu", _cpu_has_bf16())


def keep_freed_memory() -> None:
    """Have glibc keep large freed blocks for the next tensor instead of giving them back to the system.

    By default every block above 32 MB is mapped anew and faulted in page by page in each step: a tenth of a training
    step on CPU (docs/log.md). Does nothing on other C libraries.
    """
    _set_malloc(mapped_from=2**30, trimmed_from=2**31 - 1)


@contextlib.contextmanager
def mapped_blocks() -> Iterator[None]:
    """Within, glibc maps every block from 64 KB on by itself, and gives it back to the system when it is freed.

    For gradient checkpointing, whose layers each fill the same room anew: kept blocks do not serve aligned requests
    of their own size, so every layer would take fresh memory (docs/estimate.md). Page faults take their time.
    """
    _set_malloc(mapped_from=2**16, trimmed_from=2**17)
    give_back_freed_memory()
    try:
        yield
    finally:
        keep_freed_memory()


def _set_malloc(*, mapped_from: int, trimmed_from: int) -> None:
    """glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(-3, mapped_from)
            library.mallopt(-1, trimmed_from)


def give_back_freed_memory() -> None:
    """Give blocks that are free back to the system, once: after something large that will not come again."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _cpu_has_bf16() -> bool:
    """AMX or AVX512-BF16. Without them oneDNN emulates bfloat16, six times slower than float32 (docs/log.md)."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, lambda: False)()) for check in checks)


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """Random numbers on a device that do not depend on what was drawn before."""
    return torch.Generator(device).manual_seed(seed)


def choose_dtype(wanted: Format, device: Device) -> torch.dtype:
    """auto: bfloat16 where it is native, else float32."""
    if wanted == "auto":
        return torch.bfloat16 if device.native_bf16 else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]


class Hardware(NamedTuple):
    """What PyTorch finds here. dtype: what `dtype: auto` means; gpu: its name; gpu_memory_gb: in all."""

    device: str
    native_bf16: bool
    dtype: str
    threads: int
    gpu: str | None
    gpu_memory_gb: float | None


def hardware() -> Hardware:
    """Facts for `burnish doctor`."""
    device = detect()
    name = memory = None
    if device.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        name, memory = properties.name, round(properties.total_memory / 2**30, 1)
    dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
    return Hardware(device.device, device.native_bf16, dtype, torch.get_num_threads(), name, memory)
