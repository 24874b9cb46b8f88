"""The settings found as lines to paste, and as a task file whose comments stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.config import LoadedTask, load_task
from burnish.config.names import rename
from burnish.config.yaml_tree import read_yaml
from burnish.errors import ConfigError
from burnish.records import Json
from burnish.runs import write_text
from burnish.tuning_records import Tuning


def best_settings(result: Tuning) -> dict[str, Json]:
    """The settings of the best trial, empty when none has finished."""
    return next((dict(trial.settings) for trial in result.trials if trial.number == result.best), {})


def yaml_lines(settings: Mapping[str, Json]) -> str:
    """The section `training` with these settings."""
    return "\n".join(["training:", *(f"  {name}: {_scalar(value)}" for name, value in settings.items())])


def _setting(name: str) -> re.Pattern[str]:
    """`name: value` in a line, alone or in braces; the value ends before a comment, a comma or a brace."""
    return re.compile(rf"(?P<key>(?<![\w.-])[\"']?{re.escape(name)}[\"']?\s*:\s+)(?P<value>[^#,}}\n]*[^#,}}\s])")


def _scalar(value: Json) -> str:
    import yaml

    if isinstance(value, float):
        digits, e, power = f"{value:.12g}".partition("e")
        # YAML 1.1, which other tools read, takes 1e-05 for text.
        return f"{digits if '.' in digits else digits + '.0'}e{power}" if e else digits
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").strip()


def with_settings(text: str, file: str, settings: Mapping[str, Json]) -> str:
    """A task file's text with these settings of training in it. Everything else, comments too, stays as it is.

    A setting that stands there, also under another tool's name, is changed in its line; others are added to the
    section. Only lines are edited, so the result must be read back and compared (`write_task_file` does).
    """
    lines = text.split("\n")
    tree = read_yaml(text, file)
    origin = rename(tree).origin
    added = {}
    for name, value in settings.items():
        key = origin.get(("training", name), ("training", name))
        place = tree.places.get(key)
        pattern = _setting(str(key[-1]))
        if place is not None and pattern.search(lines[place.line - 1]):
            new = _scalar(value)
            lines[place.line - 1] = pattern.sub(lambda m, new=new: m["key"] + new, lines[place.line - 1], count=1)  # type: ignore[misc]
        else:
            added[name] = _scalar(value)
    if added:
        _add(lines, tree.places.get(("training",)), added)
    return "\n".join(lines)


def _add(lines: list[str], place: Any, added: Mapping[str, str]) -> None:
    if place is None:
        while lines and not lines[-1].strip():
            lines.pop()
        lines += ["", "training:", *(f"  {name}: {value}" for name, value in added.items()), ""]
        return
    at = place.line - 1
    if "{" in lines[at]:
        inner = ", ".join(f"{name}: {value}" for name, value in added.items())
        empty = re.search(r"\{\s*\}", lines[at]) is not None
        lines[at] = lines[at].replace("{", "{" + inner + ("" if empty else ", "), 1)
        return
    below = next((line for line in lines[at + 1 :] if line.strip() and not line.lstrip().startswith("#")), "  x")
    indent = below[: len(below) - len(below.lstrip())] or "  "
    lines[at + 1 : at + 1] = [f"{indent}{name}: {value}" for name, value in added.items()]


def write_task_file(
    loaded: LoadedTask, settings: Mapping[str, Json], target: Path, *, overwrite: bool = False
) -> None:
    """Write the task file with these settings of training to `target`, beside it or over it.

    Raises ConfigError when the task was given in Python, when `target` exists (unless overwrite), when it stands in
    another folder (relative paths start from the task file's), or when the file cannot be edited line by line.
    """
    path, text = require_target(loaded, target, overwrite)
    before = load_task(path).config
    training = before.training.model_copy(update=dict(settings))
    wanted = before.model_copy(update={"training": training})
    _write_checked(path, with_settings(text, str(path), settings), wanted, target, yaml_lines(settings))


def write_instruction(loaded: LoadedTask, instruction: str, target: Path, *, overwrite: bool = False) -> None:
    """Write the task file with another instruction to `target`. Raises ConfigError as `write_task_file` does."""
    path, text = require_target(loaded, target, overwrite)
    wanted = load_task(path).config.model_copy(update={"instruction": instruction})
    _write_checked(path, with_instruction_line(text, str(path), instruction), wanted, target, instruction)


def with_instruction_line(text: str, file: str, instruction: str) -> str:
    """A task file's text with another instruction; its lines, however many, become one, and the rest stays."""
    lines, tree = text.split("\n"), read_yaml(text, file)
    name = str(rename(tree).origin.get(("instruction",), ("instruction",))[0])
    key = re.compile(rf"[\"']?{re.escape(name)}[\"']?\s*:")
    at = next((number for number, line in enumerate(lines) if key.match(line)), None)
    if at is None:
        return text
    end = at + 1
    for number in range(at + 1, len(lines)):
        if lines[number].strip() and not lines[number][0].isspace():
            break
        if lines[number].strip():
            end = number + 1
    comment = re.search(r"\s+#.*$", lines[at]) if end == at + 1 and not re.search(r":\s*[\"']", lines[at]) else None
    lines[at:end] = [f"{name}: {_scalar(instruction)}{comment[0] if comment else ''}"]
    return "\n".join(lines)


def require_target(loaded: LoadedTask, target: Path, overwrite: bool) -> tuple[Path, str]:
    """The task file and its text, when it may be written to the target; else ConfigError. To be asked before a long
    search, too."""
    if loaded.path is None:
        raise ConfigError("this task has no file", fix="put the settings into its mapping")
    if target.exists() and not overwrite:
        raise ConfigError("the file exists already", where=str(target), fix="name another one, or delete it")
    if target.resolve().parent != loaded.path.parent:
        raise ConfigError(
            "a task file's paths start from its folder, so the new one must stand beside it",
            got=str(target),
            fix=f"write it to {loaded.path.parent / target.name}",
        )
    return loaded.path, loaded.path.read_text(encoding="utf-8-sig")


def _write_checked(path: Path, new: str, wanted: Any, target: Path, by_hand: str) -> None:
    if not _reads_as(new, path, wanted):
        raise ConfigError(
            "the file cannot be edited line by line (anchors, or settings in unusual places)",
            where=str(path),
            fix=f"write it by hand:\n{by_hand}",
        )
    write_text(target, new)


def _reads_as(text: str, file: Path, wanted: Any) -> bool:
    """Whether the text is a task file with the wanted settings; tried beside the file, for its relative paths."""
    trial = file.with_name(f".{file.name}.trial")
    try:
        write_text(trial, text)
        return bool(load_task(trial).config == wanted)
    except ConfigError:
        return False
    finally:
        trial.unlink(missing_ok=True)
