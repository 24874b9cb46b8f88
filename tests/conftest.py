"""Fixtures for all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the test processes share the cores

from pathlib import Path

import pytest
from hypothesis import settings

import burnish

# Nothing here depends on how fast a machine is: a first call that imports torch would exceed any deadline.
settings.register_profile("burnish", deadline=None)
settings.load_profile("burnish")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses `tiny_run` needs the starter model."""
    for item in items:
        if "tiny_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task folder of `burnish init` that runs in seconds: classification with four labels. Tests only read it."""
    folder = tmp_path_factory.mktemp("tiny") / "letters"
    burnish.init_task(folder, "classification")
    file = folder / "burnish.yaml"
    text = file.read_text(encoding="utf-8")
    for before, after in (
        ("validation: 0.1", "validation: 8"),
        ("test: 0.25", "test: 8"),
        ("baselines: [majority, prompt, few_shot]", "baselines: [majority, prompt]"),
        ("  batch_size: 8", "  batch_size: 4\n  max_steps: 2\n  eval_examples: 4"),
    ):
        assert before in text, f"the task file of init has changed: no {before!r}"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_task: Path, tmp_path_factory: pytest.TempPathFactory) -> burnish.Run:
    """A finished run of the starter model, trained for two steps: 20 seconds on one core. Tests only read it."""
    return burnish.run(tiny_task, runs_dir=tmp_path_factory.mktemp("tiny-runs"))
