"""A user's own metric: found, called, and every way it can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from task_makers import config, example, measure

from burnish.errors import ConfigError
from burnish.records import Parsed
from burnish.tasks import Task, make_task

CODE = """
from helper_of_metric import SCALE
LIMIT = 3
def near(target, value):
    return SCALE * (1 - abs(len(target) - len(value)) / 10)
def fails(target, value):
    raise KeyError("price")
def too_much(target, value):
    return 7
def text(target, value):
    return "good"
def nothing(target, value):
    return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_metrics.py").write_text(CODE)
    (tmp_path / "helper_of_metric.py").write_text("SCALE = 1.0\n")
    (tmp_path / "broken.py").write_text("import\n")
    (tmp_path / "needs.py").write_text("import not_installed_anywhere\n")
    return tmp_path


def task(folder: Path, name: str) -> Task:
    return make_task(config("generation", goal={"metric": name}), base_dir=folder)


def test_a_function_beside_the_task_file_is_the_primary_metric(folder: Path) -> None:
    path = list(sys.path)
    metric = task(folder, "my_metrics:near").metrics[0]
    assert sys.path == path
    assert (metric.name, metric.rate) == ("my_metrics:near", False)
    assert [m.name for m in task(folder, "my_metrics:near").metrics[1:]] == [
        "chrf",
        "exact_match",
        "token_f1",
        "rouge_l",
    ]
    pairs = [(example("abc"), Parsed("abc")), (example("abc"), Parsed("a")), (example("x"), Parsed(None, "empty"))]
    assert measure(metric, pairs) == pytest.approx((1 + 0.8 + 0) / 3)


def test_an_installed_module_and_a_package_in_the_folder(folder: Path) -> None:
    assert task(folder, "operator:eq").metrics[0].value is not None
    assert measure(task(folder, "operator:eq").metrics[0], [(example("a"), Parsed("a"))]) == 1
    (folder / "pack").mkdir()
    (folder / "pack" / "inner.py").write_text("def f(target, value): return 0.5\n")
    assert measure(task(folder, "pack.inner:f").metrics[0], [(example("a"), Parsed("a"))]) == 0.5


def test_two_tasks_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for name, value in (("a", 0.25), ("b", 0.75)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.py").write_text(f"def f(target, value): return {value}\n")
    first, second = (task(tmp_path / name, "metrics:f").metrics[0] for name in "ab")
    pair = [(example("x"), Parsed("x"))]
    assert (measure(first, pair), measure(second, pair)) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:f", "there is no such module (got 'nowhere')"),
        ("nowhere.deep:f", "there is no such module (got 'nowhere.deep')"),
        ("my_metrics:far", "my_metrics has no such function (got 'far')"),
        ("my_metrics:LIMIT", "my_metrics:LIMIT is not a function (got 3)"),
        ("broken:f", "broken cannot be imported: SyntaxError"),
        ("needs:f", "needs needs a missing module (got 'not_installed_anywhere')"),
    ],
)
def test_a_function_that_cannot_be_loaded(folder: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task(folder, name)
    assert str(caught.value).startswith(f"goal.metric: {said}")
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "failed: KeyError: 'price' (got ('abc', 'ab'))"),
        ("too_much", "must return a number from 0 to 1 (got 7)"),
        ("text", "must return a number from 0 to 1 (got 'good')"),
        ("nothing", "must return a number from 0 to 1 (got None)"),
    ],
)
def test_a_function_that_goes_wrong_names_the_row(folder: Path, name: str, said: str) -> None:
    metric = task(folder, f"my_metrics:{name}").metrics[0]
    with pytest.raises(ConfigError) as caught:
        metric.counts(example("abc"), Parsed("ab"))
    assert f"rows.jsonl:3: the metric my_metrics:{name} {said}" in str(caught.value)
