"""Every malformed input is named with its file, line, field, value and a fix; its neighbours are still read."""

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import CASES, Case

from burnish.data.load import iter_examples, read_examples
from burnish.data.streams import Unreadable
from burnish.errors import DataError
from burnish.records import Example


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(CASES) >= 100
    assert len({(case.name, case.extension, case.kind) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_input_is_named(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{case.extension}"
    path.write_bytes(case.content)
    with pytest.raises(DataError) as caught:
        read_examples(path, kind=case.kind, **case.options)
    problem = caught.value.problems[0]
    assert (problem.line, problem.field) == (case.line, case.field), problem
    assert case.what in problem.what, problem
    assert case.got in problem.got, problem
    assert problem.fix
    assert case.fix in problem.fix, problem
    assert f"{path}:{case.line}" + (f":{case.field}" if case.field else "") + ": " in str(caught.value)
    assert len(str(problem)) < 1500
    assert isinstance(problem, Unreadable) == case.fatal


@pytest.mark.parametrize("case", [case for case in CASES if len(case.content) < 2**20], ids=lambda case: case.name)
def test_neighbours_of_a_bad_row_are_read(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{case.extension}"
    path.write_bytes(case.content)
    items = list(iter_examples(path, kind=case.kind, **case.options))
    bad = [item for item in items if not isinstance(item, Example)]
    assert bad
    if case.fatal:
        with pytest.raises(DataError):
            read_examples(path, kind=case.kind, allow_bad_rows=1000, **case.options)
    elif len(items) > len(bad):
        reading = read_examples(path, kind=case.kind, allow_bad_rows=len(bad), **case.options)
        assert (len(reading.examples), reading.bad) == (len(items) - len(bad), len(bad))
