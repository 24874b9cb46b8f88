"""What reports, card and terminal say of the general probe and of the mixture."""

from __future__ import annotations

from fake_runs import EVIL, build

from burnish.reports.forgetting import forgetting_context
from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.rundata import read_run
from burnish.reports.terminal import to_text
from burnish.reports.training import mixture_rows
from burnish.reports.views import forgetting_view, probe_view


def test_the_section_names_what_was_lost(tmp_path):
    context = forgetting_context(read_run(build(tmp_path / "run")))
    assert (context["questions"], context["lost"], context["gained"]) == (100, 12, 4)
    assert context["cases"][0] == {"question": "General question 0?", "right": "snow", "now": "milk"}
    assert len(context["cases"]) == 12
    assert context["allowed"] == "5"


def test_the_page_and_the_card_tell_it(tmp_path):
    data = read_run(build(tmp_path / "run"))
    page, card = render_report(data), render_model_card(data)
    assert '<section id="forgetting"' in page
    assert "Questions that were lost (12 of 12)" in page
    assert "A fall of 5 points is allowed." in page
    assert "General ability: 70.0% (60.4% to 78.1%) of 100 multiple-choice questions" in card
    assert "beyond the multiple-choice questions above" in card


def test_without_a_probe_the_card_says_that_it_was_not_tested(tmp_path):
    data = read_run(build(tmp_path / "run", systems=("majority", "prompt")))
    assert forgetting_context(data) is None
    assert '<section id="forgetting"' not in render_report(data)
    assert "- What it lost of the base model's general abilities.\n" in render_model_card(data)


def test_the_mixture_adds_up(tmp_path):
    task, replay = mixture_rows(read_run(build(tmp_path / "run")))
    assert (replay["name"], replay["per_epoch"], replay["answers"]) == ("replay", 117, "the untuned model's own")
    assert abs(task["per_epoch"] - 1050) <= 1
    assert task["share"] + replay["share"] == 1


def test_foreign_text_stays_text(tmp_path):
    data = read_run(build(tmp_path / "run", evil=True))
    assert EVIL not in render_report(data)


def test_damaged_answers_are_told(tmp_path):
    run = build(tmp_path / "run")
    (run / "probe" / "after.jsonl").write_text('{"question_id": 3}\n')
    assert any("probe/after.jsonl" in problem for problem in read_run(run).problems)


def test_the_terminal_shows_before_and_after(tmp_path):
    data = read_run(build(tmp_path / "run"))
    text = to_text(forgetting_view(data.forgetting))
    for part in ("100 general questions", "70.0% [60.4, 78.1]", "62.0% [52.2, 70.9]", "guessing reaches 25.0%"):
        assert part in text
    found = {"model": "m", "probe": "q.jsonl", "questions": 20, "chance": 0.25, "right": data.forgetting["before"]}
    assert "70.0% [60.4, 78.1]" in to_text(probe_view(found))
