"""What report, card and terminal say of slices."""

from __future__ import annotations

import json

from fake_runs import EVIL, build

from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.rundata import read_run
from burnish.reports.slices import slices_context, slices_view
from burnish.reports.terminal import to_text

SENTENCE = "Of 50 slices of the sealed test 1 got worse (class: Knee) than with few_shot and 1 got better"


def test_the_worst_come_first_and_are_marked(tmp_path):
    context = slices_context(read_run(build(tmp_path / "run")))
    assert context["worse"]
    assert [row["worse"] for row in context["rows"][:2]] == [True, False]
    assert (context["rows"][0]["name"], context["rows"][0]["difference"]) == ("class: Knee", "−25.0")
    assert context["rows"][0]["level"] == "99.9%"
    assert len(context["rows"]) == 50


def test_page_card_and_terminal_say_the_same(tmp_path):
    data = read_run(build(tmp_path / "run"))
    page, card, text = render_report(data), render_model_card(data), to_text(slices_view(data.slices))
    assert '<section id="slices"' in page
    for told in (page, card.replace("\\_", "_"), " ".join(text.split())):
        assert SENTENCE in told
        assert "2 slices with fewer than 10 examples are not compared" in told
    assert "38 more" in page
    assert "class: Knee" in text
    assert "Part 47" not in text  # the worst dozen


def test_runs_without_slices_have_no_section(tmp_path):
    run = build(tmp_path / "run")
    saved = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(saved | {"slices": None}))
    data = read_run(run)
    assert slices_context(data) is None
    assert '<section id="slices"' not in render_report(data)
    assert "slices of the sealed test" not in render_model_card(data)


def test_foreign_names_stay_text(tmp_path):
    assert EVIL not in render_report(read_run(build(tmp_path / "run", evil=True)))
