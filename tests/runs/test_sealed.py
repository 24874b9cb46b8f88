from __future__ import annotations

import json
import subprocess
import sys

import pytest

from burnish.errors import RunError
from burnish.runs import count_looks, next_look, record_look
from burnish.runs.sealed import LEDGER


def test_a_look_is_a_candidate_of_a_run(tmp_path):
    assert count_looks(tmp_path, "abc") == 0
    assert record_look(tmp_path, "abc", "run-1", "prompt", candidate=False) == 0
    assert record_look(tmp_path, "abc", "run-1", "tuned") == 1
    assert record_look(tmp_path, "abc", "run-1", "tuned") == 1  # resumed
    assert record_look(tmp_path, "abc", "run-2", "tuned") == 2
    assert record_look(tmp_path, "abc", "run-1", "tuned") == 1  # resumed after another one looked
    assert record_look(tmp_path, "other", "run-2", "tuned") == 1
    assert count_looks(tmp_path, "abc") == 2


def test_every_evaluation_is_written_down(tmp_path):
    record_look(tmp_path / "runs", "abc", "run-1", "prompt", candidate=False)
    record_look(tmp_path / "runs", "abc", "run-1", "tuned")
    entries = json.loads((tmp_path / "runs" / LEDGER).read_text())["abc"]
    assert [(one["run"], one["system"], one["candidate"]) for one in entries] == [
        ("run-1", "prompt", False), ("run-1", "tuned", True),
    ]  # fmt: skip
    assert all(one["time"].endswith("+00:00") for one in entries)


@pytest.mark.parametrize("content", ["", "[]", '{"abc": 3}', '{"abc": [{}]}', '{"abc": [1]}', '{"abc": ['])
def test_a_damaged_ledger_is_never_started_afresh(tmp_path, content):
    (tmp_path / LEDGER).write_text(content)
    with pytest.raises(RunError, match=LEDGER):
        record_look(tmp_path, "abc", "run-1", "tuned")
    with pytest.raises(RunError, match=LEDGER):
        count_looks(tmp_path, "abc")
    assert (tmp_path / LEDGER).read_text() == content


def test_no_look_is_lost_when_processes_look_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from burnish.runs.sealed import record_look\n"
    code += "for i in range(10): record_look(Path(sys.argv[1]), 'abc', f'run-{sys.argv[2]}-{i}', 'tuned')"
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)]) for number in range(3)]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    assert count_looks(tmp_path, "abc") == 30


def test_the_next_look_is_told_without_looking(tmp_path):
    assert next_look(tmp_path, "abc", "run-1") == 1
    record_look(tmp_path, "abc", "run-1", "prompt", candidate=False)
    assert next_look(tmp_path, "abc", "run-1") == 1
    record_look(tmp_path, "abc", "run-1", "tuned")
    record_look(tmp_path, "abc", "run-2", "tuned")
    assert [next_look(tmp_path, "abc", run) for run in ("run-1", "run-2", "run-3")] == [1, 2, 3]
    assert count_looks(tmp_path, "abc") == 2
