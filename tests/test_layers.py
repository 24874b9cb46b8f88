"""The rules of docs/architecture.md, read from there: who may import whom, where packages may be used, sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "burnish"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

SOURCE_SUFFIXES = {".py", ".md", ".css", ".j2", ".png", ".typed"}
LONGEST_FILE = 450
LONGEST_FUNCTION = 80
HEAVY = {
    "accelerate",
    "bm25s",
    "gguf",
    "jsonschema",
    "llguidance",
    "mlflow",
    "optuna",
    "peft",
    "plotly",
    "pyarrow",
    "pypdf",
    "rouge_score",
    "sacrebleu",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorboard",
    "tokenizers",
    "torch",
    "trackio",
    "transformers",
    "wandb",
}

Sources = Mapping[str, str]  # path below src/burnish, with slashes -> text


class Rules(NamedTuple):
    """layer: of each unit, a folder or single file of src/burnish. places: package -> the units that may use it."""

    layer: dict[str, int]
    places: dict[str, set[str]]


class Import(NamedTuple):
    """One imported module. always: it happens when the file is imported (not in a function, not for types only)."""

    module: str
    line: int
    always: bool


def read_rules(document: str) -> Rules:
    section = document.split("## Who may import whom", 1)[1].split("\n## ", 1)[0]
    blocks = [
        [line.split() for line in block.splitlines() if line.strip()]
        for block in re.findall(r"(?m)(?:^ {4}.*\n)+", section)
    ]
    layers, places = blocks
    return Rules(
        {unit: int(number) for number, *units in layers for unit in units},
        {package: set(units) for package, *units in places},
    )


def read_sources(package: Path = PACKAGE) -> dict[str, str]:
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def unit_of(path: str) -> str:
    """data/read.py -> data; lifecycle.py -> lifecycle; __init__.py -> __init__"""
    return path.split("/")[0].removesuffix(".py")


def imports_of(path: str, text: str, modules: set[str]) -> Iterator[Import]:
    """Everything a file imports, at any depth. `from burnish.x import y` is burnish.x.y where that is a module."""
    package = ["burnish", *path.split("/")[:-1]]

    def visit(node: ast.AST, always: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(name.name, child.lineno, always)
            elif isinstance(child, ast.ImportFrom):
                base = [*package[: len(package) - child.level + 1], *filter(None, [child.module])]
                source = ".".join(base) if child.level else str(child.module)
                for name in child.names:
                    inner = f"{source}.{name.name}"
                    yield Import(inner if inner in modules else source, child.lineno, always)
            else:
                lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                    isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                )
                yield from visit(child, always and not lazy)

    yield from visit(ast.parse(text, path), True)


def module_of(path: str) -> str:
    """data/read.py -> burnish.data.read; data/__init__.py -> burnish.data"""
    return ".".join(["burnish", *path.removesuffix(".py").split("/")]).removesuffix(".__init__")


def all_imports(sources: Sources) -> dict[str, list[Import]]:
    modules = {module_of(path) for path in sources}
    return {path: list(imports_of(path, text, modules)) for path, text in sources.items()}


def layer_violations(sources: Sources, rules: Rules) -> list[str]:
    folders = {unit_of(path) for path in sources if "/" in path}
    found = []
    for path, imports in all_imports(sources).items():
        own = unit_of(path)
        for module, line, _ in imports:
            name, *rest = module.split(".")
            if name != "burnish":
                allowed = rules.places.get(name)
                if allowed is not None and own not in allowed:
                    found.append(f"{path}:{line} imports {name}, which is for {', '.join(sorted(allowed))}")
                continue
            other = rest[0] if rest else "__init__"
            if other == own or own not in rules.layer or other not in rules.layer:
                continue
            mine, theirs = rules.layer[own], rules.layer[other]
            if theirs > mine:
                found.append(f"{path}:{line} (layer {mine}) imports {module} (layer {theirs}): up")
            elif theirs == mine and other in folders:
                found.append(f"{path}:{line} imports {module}, another folder of layer {mine}: sideways")
    return found


def unknown_units(sources: Sources, rules: Rules) -> list[str]:
    units = {unit_of(path) for path in sources}
    return [f"docs/architecture.md gives {unit} no layer" for unit in sorted(units - rules.layer.keys())]


def missing_units(sources: Sources, rules: Rules) -> list[str]:
    units = {unit_of(path) for path in sources}
    named = set(rules.layer).union(*rules.places.values())
    return [f"docs/architecture.md names {unit}, which does not exist" for unit in sorted(named - units)]


def cycles(sources: Sources) -> list[str]:
    """Circles of modules that import one another, by imports of any kind except those for types only.

    Imports inside functions count: a circle that only works because it is lazy is still a circle.
    """
    path_of = {module_of(path): path for path in sources}
    graph: dict[str, set[str]] = {}
    for path, text in sources.items():
        tree = ast.parse(text, path)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = [ast.Pass()]
        graph[module_of(path)] = {
            item.module
            for item in imports_of(path, ast.unparse(tree), set(path_of))
            if item.module in path_of and item.module != module_of(path)
        }
    found: list[str] = []
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                walk(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])
    return found


def too_long(sources: Sources) -> list[str]:
    found = []
    for path, text in sources.items():
        lines = len(text.splitlines())
        if lines >= LONGEST_FILE:
            found.append(f"{path} has {lines} lines, {LONGEST_FILE} or more")
        for node in ast.walk(ast.parse(text, path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(f"{path}:{node.lineno} {node.name} has {length} lines, more than {LONGEST_FUNCTION}")
    return found


def eager_heavy(sources: Sources) -> list[str]:
    """Heavy packages imported with a file: outside of where torch lives that belongs into functions."""
    rules = read_rules(ARCHITECTURE)
    home = rules.places["torch"]
    return [
        f"{path}:{line} imports {module} with the file: move it into the function that needs it"
        for path, imports in all_imports(sources).items()
        for module, line, always in imports
        if always and module.split(".")[0] in HEAVY and unit_of(path) not in home
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources()


@pytest.fixture(scope="module")
def rules() -> Rules:
    return read_rules(ARCHITECTURE)


def test_the_tables_of_the_design_are_found(rules: Rules) -> None:
    assert rules.layer["errors"] == 0
    assert rules.layer["lifecycle"] == rules.layer["prepare"] == rules.layer["measure"] == 4
    assert rules.places["torch"] == {"models", "training", "cluster"}


def test_imports_go_down_or_stay_in_their_folder(sources: dict[str, str], rules: Rules) -> None:
    assert layer_violations(sources, rules) == []


def test_every_unit_has_a_layer(sources: dict[str, str], rules: Rules) -> None:
    assert unknown_units(sources, rules) == []


def test_every_layer_is_of_something(sources: dict[str, str], rules: Rules) -> None:
    assert missing_units(sources, rules) == []


def test_nothing_imports_in_a_circle(sources: dict[str, str]) -> None:
    assert cycles(sources) == []


def test_files_and_functions_are_short(sources: dict[str, str]) -> None:
    assert too_long(sources) == []


def test_heavy_packages_are_imported_where_needed(sources: dict[str, str]) -> None:
    assert eager_heavy(sources) == []


@pytest.mark.parametrize("start", ["import burnish", "import burnish.cli", "burnish --help", "burnish run --help"])
def test_help_loads_nothing_heavy(start: str) -> None:
    if start.startswith("import"):
        code = start
    else:
        code = f"import sys, contextlib\nsys.argv = {start.split()!r}\nfrom burnish.cli import main\n"
        code += "with contextlib.suppress(SystemExit):\n    main()"
    code += "\nimport sys\nprint('\\nLOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "burnish" in loaded
    assert loaded & HEAVY == set()


# --- the checks above can fail ---


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("records.py", "from burnish.tasks.base import Task", "records.py:1 (layer 0) imports burnish.tasks.base"),
        ("errors.py", "def f():\n    import burnish.cli", "errors.py:2 (layer 0) imports burnish.cli"),
        (
            "data/odd.py",
            "from burnish.models import load",
            "data/odd.py:1 imports burnish.models.load, another folder",
        ),
        ("data/odd.py", "from ..models.load import load_model", "data/odd.py:1 imports burnish.models.load, another"),
        ("config/odd.py", "from burnish import runs", "config/odd.py:1 imports burnish.runs, another folder"),
        ("runs/odd.py", "from burnish import run", "runs/odd.py:1 (layer 0) imports burnish (layer 5)"),
        (
            "tasks/odd.py",
            "def f():\n    import torch.nn",
            "tasks/odd.py:2 imports torch, which is for cluster, models, training",
        ),
        (
            "reports/odd.py",
            "from burnish.lifecycle import run",
            "reports/odd.py:1 (layer 3) imports burnish.lifecycle",
        ),
    ],
)
def test_a_planted_import_is_found(
    sources: dict[str, str], rules: Rules, path: str, text: str, expected: str
) -> None:
    assert any(line.startswith(expected) for line in layer_violations({**sources, path: text}, rules))


def test_imports_that_are_allowed_pass(sources: dict[str, str], rules: Rules) -> None:
    planted = {
        "lifecycle.py": "from burnish.prepare import prepare\nfrom burnish.reports.html import write_report",
        "data/odd.py": "from burnish.data.read import read_rows\nfrom . import split\nimport burnish.records",
        "models/odd.py": "import torch",
    }
    assert layer_violations({**sources, **planted}, rules) == []


def test_a_planted_unit_is_found(sources: dict[str, str], rules: Rules) -> None:
    assert "docs/architecture.md gives helpers no layer" in unknown_units({**sources, "helpers.py": ""}, rules)


def test_git_ignores_no_source() -> None:
    """A pattern such as runs/ would leave a whole package out of the repository, and out of what ruff looks at."""
    files = [path for folder in ("src", "tests", "docs") for path in (ROOT / folder).rglob("*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts and path.suffix in SOURCE_SUFFIXES]
    names = "\n".join(path.relative_to(ROOT).as_posix() for path in files)
    try:
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin"], input=names, capture_output=True, text=True, cwd=ROOT
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode == 128:
        pytest.skip("not in a git repository")
    assert done.stdout.split() == []


def test_a_planted_circle_is_found() -> None:
    circle = {
        "a.py": "def f():\n    from burnish import b",
        "b.py": "from burnish.c import x",
        "c.py": "import burnish.a",
    }
    assert cycles(circle) == ["burnish.a -> burnish.b -> burnish.c -> burnish.a"]
    for_types = {"a.py": "if TYPE_CHECKING:\n    from burnish import b", "b.py": "import burnish.a"}
    assert cycles(for_types) == []


def test_planted_length_is_found() -> None:
    function = "def f():\n" + "    pass\n" * LONGEST_FUNCTION
    assert too_long({"a.py": function}) == [
        f"a.py:1 f has {LONGEST_FUNCTION + 1} lines, more than {LONGEST_FUNCTION}"
    ]
    assert too_long({"a.py": "\n" * LONGEST_FILE}) == [f"a.py has {LONGEST_FILE} lines, {LONGEST_FILE} or more"]


def test_a_planted_heavy_import_is_found() -> None:
    assert eager_heavy({"data/a.py": "import pyarrow.parquet as pq"})
    assert eager_heavy({"data/a.py": "try:\n    import scipy\nexcept ImportError:\n    pass"})
    assert not eager_heavy({"data/a.py": "def f():\n    import pyarrow", "models/a.py": "import torch"})
