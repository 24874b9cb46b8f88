"""Paths of a task file made absolute: a run is asked from other working directories than it was made in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from burnish.config.base import Report
from burnish.config.settings import DataConfig, TaskConfig
from burnish.config.words import nearest
from burnish.config.yaml_tree import Key


def absolute(config: TaskConfig, base_dir: Path, report: Report) -> TaskConfig:
    """The settings with absolute paths. Relative ones start from base_dir; patterns (data/*.jsonl) become files.

    Models are files, folders or names: what is there is a path, other names stay. What is missing is reported.
    """
    found = _Paths(base_dir, report)
    probe, costs = config.probe, config.costs
    if probe.file is not None:
        probe = probe.model_copy(update={"file": found.file(probe.file, "probe", "file")})
    if costs.prices is not None:
        costs = costs.model_copy(update={"prices": full_path(costs.prices, base_dir)})
    return config.model_copy(
        update={
            "data": _data(config.data, found),
            "check": config.check.model_copy(update={"names_model": found.folder(config.check.names_model)}),
            "model": found.model(config.model, "model"),
            "mixture": [
                source.model_copy(update={"file": found.files(source.file, "mixture", index, "file")})
                for index, source in enumerate(config.mixture)
            ],
            "replay": config.replay.model_copy(update={"file": found.files(config.replay.file, "replay", "file")}),
            "probe": probe,
            "costs": costs,
            "embedding_probe": config.embedding_probe.model_copy(
                update={"model": found.embedder(config.embedding_probe.model, "embedding_probe", "model")}
            ),
            "retrieval": config.retrieval.model_copy(
                update={
                    "documents": found.files(config.retrieval.documents, "retrieval", "documents", folders=True),
                    "model": found.model(config.retrieval.model, "retrieval", "model"),
                }
            ),
        }
    )


def full_path(given: Path, base_dir: Path) -> Path:
    """Absolute, ~ expanded; a relative path starts from base_dir, whose folders ../ goes up."""
    with suppress(RuntimeError):  # ~nobody
        given = given.expanduser()
    start, rest = _climbed(given, base_dir)
    return (start / rest).absolute()


def _climbed(given: Path, base_dir: Path) -> tuple[Path, Path]:
    """Where a relative path starts once its first ../ are taken, and the rest. base_dir has no links to undo."""
    parts = given.parts
    while parts[:1] == ("..",):
        base_dir, parts = base_dir.parent, parts[1:]
    return base_dir, Path(*parts)


def _data(config: DataConfig, found: _Paths) -> DataConfig:
    parts = ("train", "validation", "test", "contamination", "answers")
    return config.model_copy(update={part: found.files(getattr(config, part), "data", part) for part in parts})


class _Paths:
    """Where the paths of one task file lead; missing ones are reported with their key."""

    def __init__(self, base_dir: Path, report: Report) -> None:
        self._base_dir = base_dir
        self._report = report

    def files(self, given: Sequence[Path], *key: str | int, folders: bool = False) -> list[Path]:
        """All that the paths and patterns mean. folders: whether a folder may be named."""
        files: list[Path] = []
        for index, one in enumerate(given):
            full = full_path(one, self._base_dir)
            if folders and _is(full, Path.is_dir):
                files.append(full)
                continue
            found = _files(one, self._base_dir)
            if isinstance(found, str):
                self._missing((*key, index), "data file", one, found)
            else:
                files += found
        return files

    def file(self, given: Path, *key: str | int) -> Path:
        """One file."""
        found = _files(given, self._base_dir)
        if not isinstance(found, str) and len(found) == 1:
            return found[0]
        self._missing(key, "data file", given, found if isinstance(found, str) else "name one file")
        return given

    def folder(self, given: str) -> str:
        """A folder, or the name of a package."""
        full = full_path(Path(given), self._base_dir)
        return str(full) if _is(full, Path.is_dir) else given

    def model(self, given: str, *key: str | int) -> str:
        """A file or folder; a name of the catalogue or of a hub stays. A path is looked for."""
        full = full_path(Path(given), self._base_dir)
        if _is(full, Path.is_file) or _is(full / "config.json", Path.is_file):
            return str(full)
        if not given.startswith(("./", "../", "/", "~")) and not given.endswith(".gguf"):
            return given
        if not _is(full, Path.exists):
            fix = "check the path; it starts from the task file's folder"
            self._missing(key, "model file or folder", given, fix)
        return str(full)

    def embedder(self, given: str, *key: str | int) -> str:
        """As `model`, but base is never a folder: the name of the base model's own hidden states."""
        return given if given == "base" else self.model(given, *key)

    def _missing(self, key: Key, what: str, given: Any, fix: str) -> None:
        self._report(key, f"there is no such {what}", str(given), fix)


def _files(given: Path, base_dir: Path) -> list[Path] | str:
    """The files a path means, or the fix when there are none."""
    full = full_path(given, base_dir)
    if _is(full, Path.is_file):
        return [full]
    if _is(full, Path.is_dir):
        return f"{full} is a folder: name its files, for example {given}/*.jsonl"
    if re.search(r"[*?\[]", str(given)):
        root = Path(full.anchor) if given.expanduser().is_absolute() else _climbed(given, base_dir)[0]
        try:
            matches = sorted(p for p in root.glob(str(full.relative_to(root))) if p.is_file())
        except ValueError:
            return "** stands alone between slashes: rows/**/*.jsonl"
        return matches or f"no file matches {full}"
    beside = [p.name for p in full.parent.iterdir()] if _is(full.parent, Path.is_dir) else []
    near = nearest(full.name, beside)
    meant = f"; did you mean {Path(given).with_name(near)}?" if near else ""
    return f"looked for {full}{meant}"


def _is(path: Path, what: Callable[[Path], bool]) -> bool:
    """`what(path)`, False for names that no file system takes (too long, with NUL)."""
    try:
        return what(path)
    except (OSError, ValueError):
        return False
