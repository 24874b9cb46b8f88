"""A user's own metric: a Python function (target, value) -> number from 0 to 1, named module:function."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Example, Parsed
from burnish.tasks.metrics import CountMetric, mean_metric
from burnish.thoughts import without_thought

_WHERE = "goal.metric"


def own_metric(name: str, base_dir: Path) -> CountMetric:
    """Load module:function, looked for beside the task file first. Raises ConfigError.

    The function is not asked about an answer that could not be parsed: that scores 0.
    """
    function = _load(name, base_dir)

    def score(example: Example, parsed: Parsed) -> float:
        if parsed.value is None:
            return 0.0
        where = f"{example.source.file}:{example.source.line}"
        target = without_thought(example.target) if isinstance(example.target, str) else example.target
        try:
            result = function(target, parsed.value)
        except Exception as error:
            raise ConfigError(
                f"the metric {name} failed: {type(error).__name__}: {error}",
                got=(target, parsed.value),
                where=where,
                fix="make it accept this target and answer",
            ) from error
        try:
            number = float(result)
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 <= number <= 1:
            raise ConfigError(
                f"the metric {name} must return a number from 0 to 1",
                got=result,
                where=where,
                fix="scale the result; 1 is best",
            )
        return number

    return mean_metric(name, score)


def _load(name: str, base_dir: Path) -> Callable[[Any, Any], Any]:
    module_name, _, function_name = name.partition(":")
    file = base_dir / Path(*module_name.split(".")).with_suffix(".py")
    try:
        with _first_on_path(base_dir):
            module = _from_file(module_name, file) if file.is_file() else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            fix = f"put {module_name}.py beside the task file ({base_dir}), or install it"
            raise ConfigError("there is no such module", got=module_name, where=_WHERE, fix=fix) from None
        fix = f"install {error.name}"
        raise ConfigError(f"{module_name} needs a missing module", got=error.name, where=_WHERE, fix=fix) from None
    except Exception as error:
        what = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError(what, where=_WHERE, fix=f"run `python {file}` to see the whole error") from error
    function = getattr(module, function_name, None)
    if function is None:
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        fix = f"functions there: {', '.join(own) or 'none'}"
        raise ConfigError(f"{module_name} has no such function", got=function_name, where=_WHERE, fix=fix)
    if not callable(function):
        raise ConfigError(
            f"{name} is not a function", got=function, where=_WHERE, fix="write `def …(target, value) -> float`"
        )
    return function  # type: ignore[no-any-return]


def _from_file(module_name: str, file: Path) -> Any:
    """Import a file under a name of its own, so that two tasks' metrics.py do not meet."""
    spec = importlib.util.spec_from_file_location(f"_burnish_metric_{abs(hash(str(file)))}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded as {module_name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return module


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
