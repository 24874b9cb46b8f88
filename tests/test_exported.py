"""`burnish.__all__` is complete, documented, typed, and costs nothing to import."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import burnish

ROOT = Path(__file__).parent.parent
SOURCE = Path(burnish.__file__).read_text(encoding="utf-8")
PUBLIC = [name for name in burnish.__all__ if name != "__version__"]


def names_for_type_checkers() -> dict[str, str]:
    """Name -> module, as imported under `if TYPE_CHECKING`."""
    block = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    assert "TYPE_CHECKING" in ast.unparse(block.test)
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_three_lists_agree():
    assert names_for_type_checkers() == burnish._HOME_OF
    assert sorted(PUBLIC) == sorted(burnish._HOME_OF)


def test_all_is_sorted_and_has_no_copies():
    assert burnish.__all__ == sorted(set(burnish.__all__))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_documented(name: str):
    value = getattr(burnish, name)
    home = burnish._HOME_OF[name]
    assert f"{value.__module__}.".startswith(f"{home}."), "taken from where it is defined, or from its folder"
    written = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    # dataclasses and NamedTuples make one of their fields where none is written
    assert written, f"{name} has no docstring"
    assert not re.match(rf"{name}\(", written), f"{name} has no docstring of its own"


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isfunction(getattr(burnish, name))])
def test_a_public_function_is_typed(name: str):
    signature = inspect.signature(getattr(burnish, name))
    assert signature.return_annotation is not signature.empty
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert untyped == []


def test_no_public_name_hides_a_module():
    # `import burnish.prepare` would put the module where the function was
    modules = {module.name for module in pkgutil.iter_modules(burnish.__path__)}
    assert modules & set(PUBLIC) == set()


def test_modules_can_be_imported_from_the_package():
    from burnish import errors

    assert errors.BurnishError is burnish.BurnishError


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        burnish.fine_tune  # noqa: B018
    assert not hasattr(burnish, "prepare_everything")


def test_dir_lists_what_is_not_imported_yet():
    code = "import burnish; print(set(burnish.__all__) <= set(dir(burnish)), 'Run' in vars(burnish))"
    assert _python(code) == "True False"


def test_importing_is_light():
    code = "import sys, burnish; print(*sorted(name for name in sys.modules if name.startswith('burnish')))"
    assert _python(code) == "burnish"


def test_star_import_gives_everything():
    assert _python("from burnish import *; print(run.__module__, Run.__name__)") == "burnish.lifecycle Run"


def test_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert burnish.__version__ == project["version"]


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()
