"""The documents say what is: links lead somewhere, commands and settings exist, nothing is left out."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import burnish
from burnish.cli import app
from burnish.config import METRICS, TaskConfig, task_from
from burnish.config.aliases import ALIASES, ALREADY, REFUSED
from burnish.config.names import ALL_NAMES
from burnish.data.reasons import WHY

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "burnish"
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
    if "runs" not in path.parts
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)


def text_of(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- Markdown ---


class Block(NamedTuple):
    """A fenced code block."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"(?ms)^```([a-z]*)[^\n]*\n(.*?)^```$", text)]


def prose(text: str) -> str:
    """The text without code blocks, fenced or indented."""
    text = re.sub(r"(?ms)^```.*?^```$", "", text)
    return re.sub(r"(?m)^ {4}.*$", "", text)


def anchors(text: str) -> set[str]:
    """The ids that GitHub gives headings."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#{1,6} +(.+?)\s*$", re.sub(r"(?ms)^```.*?^```$", "", text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken_links(path: Path, text: str) -> list[str]:
    found = []
    for target in re.findall(r"!?\[[^]]*\]\(([^)\s]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", prose(text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if name and not file.exists():
            found.append(f"{path.name}: {target}: there is no such file")
        elif not file.is_relative_to(ROOT):
            found.append(f"{path.name}: {target}: outside of the repository")
        elif anchor and anchor not in anchors(text if file == path else file.read_text(encoding="utf-8")):
            found.append(f"{path.name}: {target}: there is no such heading")
    return found


@documents
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


@documents
def test_no_paths_of_the_authors_machine(path: Path) -> None:
    own = {str(ROOT), str(Path.home())} - {"/"}
    text = path.read_text(encoding="utf-8")
    assert [place for place in own if place in text] == []
    assert re.findall(r"(?<![\w.:/])/(?:home|root|Users|work|opt|mnt)/\S*", text) == []


# --- commands ---

Commands = dict[str, dict[str, bool]]  # command -> option -> whether it takes a value


def cli_commands() -> Commands:
    group: Any = typer.main.get_command(app)

    def options(command: Any) -> dict[str, bool]:
        found = {"--help": False, "-h": False}
        for parameter in command.params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                if name.startswith("-"):
                    optional = str(getattr(parameter, "metavar", None) or "").startswith("[")
                    found[name] = not getattr(parameter, "is_flag", False) and not optional
        return found

    found = {"": options(group)}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        found |= {f"{name} {below}": options(each) for below, each in inner.items()} or {name: options(command)}
    return found


def command_lines(text: str) -> Iterator[str]:
    """Command lines that begin with burnish, in code blocks and in backticks, also behind a pipe."""
    spans = re.findall(r"`(burnish(?: [^`\n]*)?)`", prose(text))
    lines = [line for block in blocks(text) if block.language in ("", "sh", "bash", "console") for line in
             block.text.replace("\\\n", " ").splitlines()]  # fmt: skip
    indented = re.findall(r"(?m)^ {4,}(.*)$", re.sub(r"(?ms)^```.*?^```$", "", text))
    for line in (*spans, *lines, *indented):
        bare = re.sub(r"\s+#.*$", "", line).removeprefix("$ ").strip()
        for part in re.split(r"\s(?:\||&&|;)\s", bare):
            if part == "burnish" or part.startswith(("burnish ", ".venv/bin/burnish ")):
                yield part


def wrong_command(line: str, commands: Commands) -> str | None:
    """What does not exist in a command line, None when all of it does."""
    words = shlex.split(line)[1:]
    if ">" in words:
        words = words[: words.index(">")]
    if not words:
        return None
    name = "" if words[0].startswith("-") else words.pop(0)
    if words and f"{name} {words[0]}" in commands:
        name = f"{name} {words.pop(0)}"
    if name not in commands:
        return f"{line}: there is no command {name}"
    known = commands[name]
    while words:
        word = words.pop(0)
        if word == "--":
            return None
        option, equals, _ = word.partition("=")
        if not option.startswith("-") or option == "-":
            continue
        if option not in known:
            return f"{line}: {name} has no option {option}"
        if known[option] and not equals:
            if not words or words[0].startswith("--"):
                return f"{line}: {option} needs a value"
            words.pop(0)
        elif equals and not known[option]:
            return f"{line}: {option} takes no value"
    return None


@documents
def test_commands_exist(path: Path) -> None:
    commands = cli_commands()
    wrong = [wrong_command(line, commands) for line in command_lines(path.read_text(encoding="utf-8"))]
    assert list(filter(None, wrong)) == []


def test_every_command_is_documented() -> None:
    lines = [line.split()[1:] for path in DOCUMENTS for line in command_lines(text_of(path)) if " " in line]
    shown = {" ".join(words[:count]) for words in lines for count in (1, 2)}
    assert set(cli_commands()) - {""} - shown == set()


def messages(text: str) -> Iterator[str]:
    """The texts of a Python file's string literals, {…} of f-strings as X. Docstrings included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)


def test_commands_in_messages_exist() -> None:
    commands = cli_commands()
    wrong = [
        f"{path.relative_to(PACKAGE)}: {problem}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for message in messages(path.read_text(encoding="utf-8"))
        for line in re.findall(r"`(burnish [a-z][^`\n]*)`", message)
        if (problem := wrong_command(line.replace("…", ""), commands))
    ]
    assert sorted(set(wrong)) == []


# --- the task file ---


def settings(model: type[BaseModel] = TaskConfig, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, default or PydanticUndefined, annotation) of every setting that is no section."""
    for field, info in model.model_fields.items():
        name = prefix + (info.alias or field)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from settings(info.annotation, f"{name}.")
        else:
            yield name, info.default, info.annotation


def documented_settings() -> dict[str, tuple[str, str]]:
    """Name -> default and meaning, of the tables under "All settings"."""
    section = text_of("docs/task-file.md").split("## All settings", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"(?m)^\| `([a-z_.]+)` \| (.*?) \| (.*?) \|$", section)
    assert len(rows) == len({name for name, _, _ in rows}), "a setting is documented twice"
    return {name: (default, meaning) for name, default, meaning in rows}


def test_every_setting_is_documented() -> None:
    assert {name for name, _, _ in settings()} == set(documented_settings())


@pytest.mark.parametrize(("name", "default", "annotation"), list(settings()), ids=lambda value: str(value)[:40])
def test_a_setting_is_documented_as_it_is(name: str, default: Any, annotation: Any) -> None:
    shown, meaning = documented_settings()[name]
    assert len(meaning) > 10
    if default is PydanticUndefined:
        assert shown == "required"
    else:
        assert task_value(shown.strip("`")) == default
    for option in options(annotation):
        assert f"`{option}`" in shown + meaning, f"{name} may be {option}"


def options(annotation: Any) -> list[str]:
    """The texts of all Literals in a type."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [part for part in parts if isinstance(part, str)]
    return [option for part in parts for option in options(part)]


def task_value(text: str) -> Any:
    return yaml.safe_load(text)


def test_every_alias_is_documented() -> None:
    section = text_of("docs/task-file.md").split("## Names of other tools", 1)[1].split("\n## ", 1)[0]
    read, unchanged = [part for part in section.split("\n\n") if part.startswith("|")]
    read_as = {
        alias: ours
        for ours, names in re.findall(r"(?m)^\| `([a-z_.]+)` \| (.*?) \|", read)
        for alias in re.findall(r"`([a-z_0-9]+)`", names)
    }
    assert {name: alias.target for name, alias in ALIASES.items()}.items() <= read_as.items()
    fixed = {
        name: value
        for names, value in re.findall(r"(?m)^\| (`.*?`) \| `(.*?)` \|", unchanged)
        for name in re.findall(r"`([a-z_0-9]+)`", names)
    }
    assert fixed == {
        name: value if isinstance(value, str) else json.dumps(value) for name, (value, _) in ALREADY.items()
    }
    refused = set(re.findall(r"`([a-z_]+)`", section.rpartition("no counterpart")[2]))
    assert refused == set(REFUSED)
    assert set(read_as) | set(fixed) | refused == ALL_NAMES


def test_the_task_files_shown_can_be_read(tmp_path: Path) -> None:
    shown = [yaml.safe_load(block.text) for block in blocks(text_of("docs/task-file.md")) if block.language == "yaml"]
    tasks = [values for values in shown if values]
    assert {task["kind"] for task in tasks} == set(METRICS)
    for task in tasks:
        (tmp_path / task["data"]).touch()
        assert task_from(task, tmp_path).notices == []


# --- other lists ---


def test_every_metric_is_documented() -> None:
    section = text_of("docs/evaluation.md").split("## Metrics", 1)[1].split("\n## ", 1)[0]
    found: dict[str, list[str]] = {}
    kind = ""
    for first, metric in re.findall(r"(?m)^\| ([a-z_]*) ?\| `([a-z_0-9]+)` \|", section):
        kind = first or kind
        found.setdefault(kind, []).append(metric)
    assert {kind: tuple(metrics) for kind, metrics in found.items()} == METRICS


def test_every_finding_is_documented() -> None:
    section = text_of("docs/data.md").split("## Findings", 1)[1].split("\n## ", 1)[0]
    documented = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", section))
    raised = {
        node.args[0].value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Finding"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert raised <= documented
    assert documented <= WHY.keys(), "every kind says why it matters, in data/reasons.py"


def test_every_public_name_is_documented() -> None:
    text = text_of("docs/python.md")
    assert [name for name in burnish.__all__ if f"`{name}`" not in text and f"`burnish.{name}`" not in text] == []


@documents
def test_python_shown_is_python(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "burnish":
                    assert node.attr in burnish.__all__ or (PACKAGE / node.attr).exists(), ast.unparse(node)


def test_every_file_of_a_run_is_documented() -> None:
    """Files named in the code that writes a run."""
    text = text_of("docs/run-folder.md")
    written = {
        node.value
        for source in ("lifecycle.py", "measure.py", "runs/folder.py", "runs/sealed.py", "runs/files.py",
                       "training/loop.py", "models/adapters.py", "reports/html.py", "reports/model_card.py")
        for node in ast.walk(ast.parse((PACKAGE / source).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and re.fullmatch(r"[A-Za-z_]+\.(json|jsonl|md|html|safetensors|jinja)", node.value)
    }  # fmt: skip
    assert len(written) > 8
    assert [name for name in sorted(written) if name not in text] == []


def tree_of(text: str) -> dict[str, str]:
    """path below src/burnish -> its words, of README's tree: folders end in /, files are indented below them."""
    block = next(block for block in blocks(text) if "lifecycle.py" in block.text and block.language == "")
    found: dict[str, str] = {}
    trail: list[str] = []
    for line in block.text.splitlines():
        indent = len(line) - len(line.lstrip())
        name, _, words = line.strip().partition(" ")
        del trail[indent // 2 :]
        path = "/".join([*(part.rstrip("/") for part in trail), name])
        if path.startswith("src/burnish/") and path != "src/burnish/":
            found[path.removeprefix("src/burnish/")] = words.strip()
        if name.endswith("/"):
            trail.append(name)
    return found


def test_the_tree_names_every_file() -> None:
    tree = tree_of(text_of("README.md"))
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so") and "__pycache__" not in path.parts
    }
    files -= {path for path in files if path.endswith("/__init__.py")} | {"py.typed"}  # a folder's line is its own
    folders = {f"{Path(path).parent.as_posix()}/" for path in files if "/" in path}
    missing = [f"{path}   {first_line(path)}" for path in sorted((files | folders) - tree.keys())]
    assert missing == [], "add these to the tree in README.md"
    assert sorted(tree.keys() - files - folders) == [], "these do not exist"
    assert [path for path, words in tree.items() if len(words) < 8] == [], "these have no words"


def first_line(path: str) -> str:
    file = PACKAGE / path
    file = file / "__init__.py" if file.is_dir() else file
    if file.suffix != ".py" or not file.exists():
        return ""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n", 1)[0]


def test_every_example_has_a_page() -> None:
    listed = text_of("examples/README.md")
    folders = [path.parent.name for path in sorted((ROOT / "examples").glob("*/burnish.yaml"))]
    assert folders
    assert [name for name in folders if f"({name}/README.md)" not in listed] == []
    assert [name for name in folders if not (ROOT / "examples" / name / "README.md").exists()] == []


def test_the_changelog_has_this_version() -> None:
    assert f"## [{burnish.__version__}]" in text_of("CHANGELOG.md")
    assert burnish.__version__ == metadata.version("burnish")


def test_every_dependency_is_pinned() -> None:
    """constraints.txt names all that an installation with the dev extra brings."""
    lines = [line for line in text_of("constraints.txt").splitlines() if line and not line.startswith("#")]
    pinned = {plain(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    assert all(pinned.values())
    # Not what setuptools carries within itself: once it is imported, as torch.compile does, that is found, too.
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    installed = {plain(found.name): found for found in metadata.distributions(path=places)}
    wanted = ["burnish"]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        for requirement in installed[name].requires or []:
            head, _, marker = requirement.partition(";")
            other = plain(re.split(r"[\s\[<>=!~(@]", head.strip(), maxsplit=1)[0])
            extras = re.findall(r"extra *== *['\"]([a-z0-9-]+)['\"]", marker)
            if (extras and not (name == "burnish" and "dev" in extras)) or other in seen:
                continue
            if other not in installed:
                continue  # its marker is for another system
            seen.add(other)
            wanted.append(other)
            version = installed[other].version
            assert other in pinned, f"{name} brings {other}: add {other}=={version} to constraints.txt"
    assert len(seen) > 50


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- the checks above can fail ---


def test_planted_broken_links_are_found() -> None:
    path = ROOT / "docs" / "planted.md"
    text = "# Here is `x`: y\n[a](nowhere.md) [b](#here-is-x-y) [c](#there) [d](data.md#nothing) [e](https://x.y/z)"
    found = broken_links(path, text)
    assert [line.split(": ")[1] for line in found] == ["nowhere.md", "#there", "data.md#nothing"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("burnish", None),
        ("burnish run my-task --set training.num_epochs=1 --resume", None),
        ("burnish prompt tune my-task --rounds 2", None),
        ("burnish prompt tuen my-task", "no command prompt"),
        ("burnish run my-task --runs-dir=elsewhere", None),
        ("burnish predict latest 'a --b c'", None),
        ("burnish rum my-task", "no command rum"),
        ("burnish run my-task --resum", "no option --resum"),
        ("burnish run my-task --runs-dir --json", "--runs-dir needs a value"),
        ("burnish run my-task --json=yes", "--json takes no value"),
    ],
)
def test_planted_commands_are_found(line: str, wrong: str | None) -> None:
    found = wrong_command(line, cli_commands())
    assert found is None if wrong is None else wrong in str(found)


def test_command_lines_are_found() -> None:
    text = "Say `burnish runs` or\n\n```sh\n$ cat x | burnish predict latest  # words\nls\n```\n\n    burnish show\n"
    assert list(command_lines(text)) == ["burnish runs", "burnish predict latest", "burnish show"]


def test_the_tree_is_read() -> None:
    text = (
        "```\nMakefile  all tasks\nsrc/burnish/\n  lifecycle.py  the line\n  data/  rows\n    read.py  files\n```\n"
    )
    assert tree_of(text) == {"lifecycle.py": "the line", "data/": "rows", "data/read.py": "files"}
