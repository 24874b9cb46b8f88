"""A preference run as people see it: pairs, who prefers which, by what, and what was not measured."""

from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest
from test_report_page import outline

from burnish.reports import choices
from burnish.reports.model_card import render_model_card
from burnish.reports.rundata import read_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    systems = ("majority", "prompt", "tuned")
    return fake_runs.build(tmp_path_factory.mktemp("pairs") / "run", "preference", systems=systems)


def test_the_page_shows_pairs_and_choices(run_dir: Path) -> None:
    text = outline(run_dir).text
    for part in (
        "Pair accuracy",
        "Length-controlled win rate",
        "takes the longer or the shorter answer, whichever was chosen more often in training",
        "the base model, told what to do, by the log-likelihood a token",
        "by the implicit reward: what training added to the log-likelihood",
        "Chosen",
        "Rejected",
        "No idea about",
        "prefers the chosen answer by",
        "prefers the rejected answer by",
        "1,400; the chosen answer is the longer one in 64%",
        "chosen is longer",
    ):
        assert part in text, part
    assert "always the most frequent answer" not in text
    assert "Prompt tokens saved" not in text or "41 instead of" in text


def test_the_card_says_what_was_measured_and_what_was_not(run_dir: Path) -> None:
    card = render_model_card(read_run(run_dir))
    assert "measured was which of two given answers it prefers" in card
    assert "in the other pairs it prefers what people rejected" in card
    assert "tuned: the base model after fine-tuning, by the implicit reward" in card
    assert "pair_accuracy" in card


def test_words() -> None:
    assert choices.preference_words({"margin": 0.0, "prefers": "rejected"}) == "prefers neither"
    assert choices.preference_words({"margin": -1.23456, "prefers": "rejected"}).endswith("rejected answer by 1.23")
    assert choices.preference_words("text") == ""
    assert choices.preference_words({"margin": None}) == ""
    assert choices.both_answers({"chosen": "", "rejected": "x"}) == ("(nothing)", "x")
    assert choices.pair_facts({}) == []
    alone = {"unpaired": {"rows": 40, "desirable": 10}}
    assert choices.pair_facts(alone) == [("Rows with one answer", "40; 25% of them desirable")]
    assert choices.system_note("majority", "classification", {}) == "always the most frequent answer"
