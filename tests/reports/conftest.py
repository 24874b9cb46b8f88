"""Run folders shared by the tests of the reports."""

from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished extraction run that ships. Tests only read it."""
    return fake_runs.build(tmp_path_factory.mktemp("runs") / "procedure-coding-20261122-183005-abc123")
