"""The ledger of looks at sealed tests: runs/sealed_tests.json.

A test that is looked at again and again stops being one: the best of many candidates is partly lucky. So every
evaluation is written down. A look is a (run, system) pair of a candidate, something that may be shipped because of
what the test says; evaluating the same pair again (a resumed run) is the same look. Baselines are written down but
not counted: choosing the best of many makes shipping harder, not easier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from burnish.errors import RunError
from burnish.runs.files import read_json, write_json

LEDGER = "sealed_tests.json"
_WAIT_SECONDS = 60.0


def record_look(runs_dir: Path, sealed_hash: str, run_id: str, system: str, *, candidate: bool = True) -> int:
    """Write down one evaluation against a sealed test; return which look of its candidates this is: 1, 2, …

    A look keeps its number when it is repeated, whatever came after it. A baseline, which is no look, gets the number
    of looks so far.
    RunError when the ledger is damaged: it is never started afresh, because that would hide looks.
    """
    with _locked(runs_dir):
        ledger = _read(runs_dir)
        entries = ledger.setdefault(sealed_hash, [])
        if not any((entry["run"], entry["system"]) == (run_id, system) for entry in entries):
            when = datetime.now(UTC).isoformat(timespec="seconds")
            entries.append({"run": run_id, "system": system, "candidate": candidate, "time": when})
            write_json(runs_dir / LEDGER, ledger)
        if not candidate:
            return _looks(entries)
        place = next(at for at, one in enumerate(entries) if (one["run"], one["system"]) == (run_id, system))
        return _looks(entries[: place + 1])


def next_look(runs_dir: Path, sealed_hash: str, run_id: str) -> int:
    """Which look a run's candidate will be: its own number if it has looked already, else one more than so far."""
    entries = _read(runs_dir).get(sealed_hash, [])
    mine = [at for at, one in enumerate(entries) if one["run"] == run_id and one.get("candidate", True)]
    return _looks(entries[: mine[0] + 1]) if mine else _looks(entries) + 1


def count_looks(runs_dir: Path, sealed_hash: str) -> int:
    """How many looks a sealed test has had."""
    return _looks(_read(runs_dir).get(sealed_hash, []))


def _looks(entries: list[dict[str, Any]]) -> int:
    return sum(bool(entry.get("candidate", True)) for entry in entries)


def _read(runs_dir: Path) -> dict[str, list[dict[str, Any]]]:
    path = runs_dir / LEDGER
    if not path.exists():
        return {}
    ledger = read_json(path)
    sound = isinstance(ledger, dict) and all(
        isinstance(entries, list)
        and all(isinstance(entry, dict) and {"run", "system"} <= entry.keys() for entry in entries)
        for entries in ledger.values()
    )
    if not sound:
        raise RunError(
            "the ledger of sealed tests is damaged",
            where=str(path),
            fix="restore it from a copy; without it the looks at a sealed test are not known",
        )
    return dict(ledger)


@contextmanager
def _locked(runs_dir: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    runs_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(runs_dir / f".{LEDGER}.lock", timeout=_WAIT_SECONDS):
            yield
    except Timeout:
        raise RunError(
            "the ledger of sealed tests is held by another process",
            where=str(runs_dir / LEDGER),
            fix="wait for it to end, or end it",
        ) from None
