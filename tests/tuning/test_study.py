"""optuna in a file: what is proposed depends on the seed and what is known, not on the sittings."""

from __future__ import annotations

import optuna
import pytest

from burnish.config import Range
from burnish.tuning.study import choose, importance, next_trial, open_study, rounded

SPACE = {"x": Range(1e-3, 1.0, log=True, whole=False), "n": Range(1, 8, log=False, whole=True), "k": ("a", "b")}
OWN = {"x": 0.5, "n": 3, "k": "b"}


def value(values):
    return -abs(values["x"] - 0.05) - 0.1 * values["n"] + (0.2 if values["k"] == "a" else 0)


def run(file, trials, reopen):
    """A search for `trials`; reopen: a new study object from the file for every trial."""
    found = []
    study = open_study(file, 3)
    for _ in range(trials):
        study = open_study(file, 3) if reopen else study
        trial = next_trial(study, 3, OWN, SPACE)
        found.append(choose(trial, SPACE, OWN))
        study.tell(trial, value(found[-1]))
    return found, study


def test_a_study_in_many_sittings_is_one_study(tmp_path):
    once, _ = run(tmp_path / "a.jsonl", 15, reopen=False)
    often, study = run(tmp_path / "b.jsonl", 15, reopen=True)
    assert once == often
    assert once[0] == OWN
    assert len(study.trials) == 15
    assert once != run(tmp_path / "c.jsonl", 15, reopen=False)[0][::-1]


def test_it_searches_better_than_chance(tmp_path):
    found, _ = run(tmp_path / "a.jsonl", 40, reopen=False)
    early = sum(map(value, found[1:7])) / 6
    late = sum(map(value, found[-6:])) / 6
    assert late > early + 0.1


def test_an_unfinished_trial_is_taken_up_again(tmp_path):
    study = open_study(tmp_path / "a.jsonl", 3)
    first = next_trial(study, 3, OWN, SPACE)
    values = choose(first, SPACE, OWN)
    first.report(0.5, 1)
    again = next_trial(open_study(tmp_path / "a.jsonl", 3), 3, OWN, SPACE)
    assert again.number == first.number
    assert choose(again, SPACE, OWN) == values
    assert again.study.trials[0].intermediate_values == {1: 0.5}


def test_a_cut_line_is_mended(tmp_path):
    file = tmp_path / "a.jsonl"
    run(file, 3, reopen=False)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    study = open_study(file, 3)
    assert len(study.trials) == 3
    next_trial(study, 3, OWN, SPACE)
    assert len(open_study(file, 3).trials) >= 3


def test_optunas_own_journal_reads_the_file(tmp_path):
    file = tmp_path / "a.jsonl"
    _, study = run(file, 4, reopen=False)
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    theirs = optuna.load_study(study_name="tune", storage=optuna.storages.JournalStorage(backend))
    assert [trial.params for trial in theirs.trials] == [trial.params for trial in study.trials]


@pytest.mark.parametrize(
    ("given", "expected"), [(0.0012345, 0.00123), (0.9999, 1.0), (123456.0, 1000.0), (0.001, 0.001)]
)
def test_values_are_written_as_one_would(given, expected):
    assert rounded(given, Range(1e-4, 1000.0, log=True, whole=False)) == expected


def test_importance_needs_trials_and_finds_what_matters(tmp_path):
    _, study = run(tmp_path / "a.jsonl", 5, reopen=False)
    assert importance(study, SPACE) == {}
    _, study = run(tmp_path / "b.jsonl", 30, reopen=False)
    shares = importance(study, SPACE)
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
