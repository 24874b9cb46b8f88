"""burnish.yaml -> TaskConfig, with all mistakes of the file reported together, each with its line."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from burnish.config.base import Report
from burnish.config.checks import check_settings
from burnish.config.json_file import read_json_object
from burnish.config.names import rename
from burnish.config.paths import absolute, full_path
from burnish.config.schema_check import check_schema
from burnish.config.settings import TaskConfig
from burnish.config.words import locate, problems_from
from burnish.config.yaml_tree import Key, Place, Tree, dotted, read_scalar, read_yaml
from burnish.errors import ConfigError, Problem, shorten

TASK_FILE_NAMES = ("burnish.yaml", "burnish.yml")


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task as read. Paths in `config` are absolute.

    notices: one line for everything that was read in another way than written; show them to the user.
    path: the task file, None for a mapping. base_dir: what relative paths start from.
    """

    config: TaskConfig
    notices: list[str]
    path: Path | None
    base_dir: Path


def load_task(path: str | Path, overrides: Sequence[str] = ()) -> LoadedTask:
    """Read a task file (or the burnish.yaml of a folder).

    overrides: "training.num_epochs=1" and the like, values in YAML; they win over the file.
    Raises ConfigError with one problem for each mistake.
    """
    file = _find(Path(path))
    tree = read_yaml(_text(file), str(path) if file == Path(path) else str(file))
    return _finish(tree, _read_overrides(overrides), file.resolve(), file.resolve().parent)


def task_from(mapping: Mapping[str, Any], base_dir: str | Path = ".", overrides: Sequence[str] = ()) -> LoadedTask:
    """A task from Python values of the task file's shape; relative paths start from `base_dir`."""
    tree = Tree(_plain(mapping))
    return _finish(tree, _read_overrides(overrides), None, Path(base_dir).resolve())


def with_sharding(loaded: LoadedTask, sharding: str, asked_by: str) -> LoadedTask:
    """The task with another training.sharding, checked again; asked_by: who to name for what does not fit.

    Raises ConfigError.
    """
    training = loaded.config.training.model_copy(update={"sharding": sharding})
    config = loaded.config.model_copy(update={"training": training})
    problems: list[Problem] = []

    def report(key: Key, what: str, got: Any, fix: str) -> None:
        problems.append(_problem(asked_by, 0, key, what, got, fix))

    check_settings(config, report, [], kind_known=True)
    if problems:
        raise ConfigError("", problems=problems)
    return replace(loaded, config=config)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


_ROWS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq", ".gz", ".zst")  # .json may hold a task


def _find(path: Path) -> Path:
    if path.is_dir():
        for name in TASK_FILE_NAMES:
            if (path / name).is_file():
                return path / name
        raise ConfigError(
            "the folder holds no burnish.yaml",
            where=str(path),
            fix=f"run `burnish init {path} --kind classification`, or name the task file",
        )
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        fix = f"task files there: {', '.join(beside[:5])}" if beside else "check the path, or run `burnish init DIR`"
        raise ConfigError("there is no such task file", where=str(path), fix=fix)
    if path.suffix.lower() in _ROWS:
        fix = f"write one with `data: {path.name}` (burnish init DIR makes a commented one) and name that"
        raise ConfigError("this is a file of rows, and a task file is needed", where=str(path), fix=fix)
    return path


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror}", where=str(file), fix="check its rights"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{data[error.start]:02x}"
        problem = Problem(str(file), line, "", "the file is not UTF-8", got, "save it as UTF-8")
        raise ConfigError("", problems=[problem]) from None


def _read_overrides(overrides: Sequence[str]) -> Tree:
    tree = Tree({})
    for text in overrides:
        name, equals, value = text.partition("=")
        key: Key = tuple(name.strip().split("."))
        if not equals or not all(key):
            fix = "write it as training.num_epochs=1"
            tree.problems.append(Problem("--set", 0, "", "an override is key=value", shorten(text), fix))
            continue
        node = tree.values
        for part in key[:-1]:
            inner = node.setdefault(str(part), {})
            node = inner if isinstance(inner, dict) else {}
        node[str(key[-1])] = read_scalar(value)
        tree.places[key] = Place("--set", 0, value)
    return tree


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if key == "data" and isinstance(below, str | list):
            below = {"train": below}
        if isinstance(value, Mapping) and isinstance(below, Mapping) and key != "schema":
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _problem(file: str, line: int, key: Key, what: str, got: Any, fix: str) -> Problem:
    return Problem(file, line, dotted(key), what, "" if got is None else shorten(got), fix)


def _without(places: Mapping[Key, Place], overridden: Iterable[Key]) -> dict[Key, Place]:
    """The file's places but those inside values that were overridden as a whole, such as the items of a list."""
    whole = set(overridden)
    return {key: place for key, place in places.items() if not any(key[:end] in whole for end in range(1, len(key)))}


def _finish(tree: Tree, overrides: Tree, path: Path | None, base_dir: Path) -> LoadedTask:
    below, above = rename(tree), rename(overrides)
    values = _merge(below.values, above.values)
    places = {**_without(tree.places, overrides.places), **overrides.places}
    origin = {**below.origin, **above.origin}
    for key in overrides.places:
        origin.pop(key, None)  # the override was written under our own name
    problems = [*tree.problems, *overrides.problems]
    notices = [*below.notices, *above.notices]

    def report(key: Key, what: str, got: Any, fix: str) -> None:
        _, user, place = locate(key, places, origin)
        file, line = (place.file, place.line) if place else (str(path) if path and places else "", 0)
        problems.append(_problem(file, line, user, what, got, fix))

    _read_schema(values, base_dir, report, problems)
    config, wrong = _validated(values)
    known = {problem.field for problem in problems}
    problems += [problem for problem in problems_from(wrong, places, origin) if problem.field not in known]
    bad = {error["loc"][: end + 1] for error in wrong for end in range(len(error["loc"]))}
    reporting = _except(report, bad)
    config = absolute(config, base_dir, reporting)
    check_settings(config, reporting, notices, kind_known=("kind",) not in bad)
    if problems:
        problems.sort(key=lambda problem: (problem.file == "--set", problem.line))
        raise ConfigError("", problems=problems)
    return LoadedTask(config, notices, path, base_dir)


# What stands for a required setting that is missing or wrong while the others are checked.
_STAND_IN: dict[str, Any] = {"name": "task", "kind": "generation", "instruction": "-", "data": {"train": ["-"]}}


def _validated(values: dict[str, Any]) -> tuple[TaskConfig, list[ErrorDetails]]:
    """The settings and what is wrong with them; wrong ones have their defaults, so that checking can go on."""
    try:
        return TaskConfig.model_validate(values), []
    except ValidationError as error:
        wrong = error.errors(include_url=False)
    mended = copy.deepcopy(values)
    for detail in wrong:
        top, *rest = detail["loc"]
        section = mended.get(str(top))
        if top in _STAND_IN:
            mended[str(top)] = _STAND_IN[str(top)]
        elif len(rest) and isinstance(section, dict) and rest[0] in section:
            del section[rest[0]]
        elif not rest or not isinstance(section, dict):
            mended.pop(str(top), None)
    return TaskConfig.model_validate(mended), wrong


def _except(report: Report, bad: set[tuple[str | int, ...]]) -> Report:
    """Reports nothing about settings that are wrong as such: their stand-ins are not the user's."""

    def filtered(key: Key, what: str, got: Any, fix: str) -> None:
        if key not in bad and key[:1] not in (bad & {(name,) for name in _STAND_IN}):
            report(key, what, got, fix)

    return filtered


def _read_schema(values: dict[str, Any], base_dir: Path, report: Report, problems: list[Problem]) -> None:
    """Put a schema file's content in the place of its path, and check the schema as such."""
    schema, file = values.get("schema"), None
    if isinstance(schema, str):
        file = full_path(Path(schema), base_dir)
        try:
            values["schema"] = schema = read_json_object(file)
        except ConfigError as error:
            if error.problems:
                problems.extend(error.problems)
            else:
                report(("schema",), error.what, schema, error.fix or "")
            values["schema"] = {"type": "object"}  # goes on, so that the other mistakes are found
            return
    if isinstance(schema, Mapping):
        at = None if file is None else str(file)
        for key, what, got, fix in check_schema(schema):
            if at is None:
                report(("schema", *key), what, got, fix)
            else:
                problems.append(_problem(at, 0, key, what, got, fix))
