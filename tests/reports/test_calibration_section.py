"""What report, card and terminal say of confidence."""

from __future__ import annotations

import json

from fake_runs import build

from burnish.reports.calibration import calibration_context, calibration_sentences, calibration_view
from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.rundata import read_run
from burnish.reports.terminal import to_text


def part(**values):
    return {
        "examples": 200, "accuracy": 0.8, "confidence": 0.95, "error": 0.15, "chance": 0.03, "chance_high": 0.05,
        "brier": 0.2, "log_loss": 0.7, "bins": [],
    } | values  # fmt: skip


def found(raw, scaled=None):
    temperature = 2.0 if scaled else None
    return {"system": "tuned", "raw": raw, "scaled": scaled, "temperature": temperature, "fitted_on": 60}


def test_sentences_tell_chance_from_miscalibration():
    (sure,) = calibration_sentences(found(part()))
    assert "claims 95.0% right, 80.0% are" in sure
    assert "15.0% is more than chance: tuned is too sure" in sure
    (mixed,) = calibration_sentences(found(part(confidence=0.81)))
    assert "too sure of some answers and not sure enough of others" in mixed
    (modest,) = calibration_sentences(found(part(confidence=0.6)))
    assert "not sure enough" in modest
    (fine,) = calibration_sentences(found(part(error=0.04)))
    assert "within what a perfectly calibrated system shows on 200 examples (up to 5.0%)" in fine


def test_sentences_say_whether_the_temperature_helps():
    _, better = calibration_sentences(found(part(), part(error=0.02, log_loss=0.5)))
    assert "A temperature of 2.00, fitted on 60 validation answers, brings the error to 2.0%" in better
    _, worse = calibration_sentences(found(part(log_loss=0.5), part(log_loss=0.6)))
    assert "it does not help here" in worse


def test_the_page_shows_both_lines_and_the_tables(tmp_path):
    data = read_run(build(tmp_path / "run"))
    context = calibration_context(data)
    assert context["scaled"]
    assert [row[0] for row in context["rows"]] == ["as it is", "with temperature 2.00"]
    assert len(context["bins"]) == 10
    page = render_report(data)
    assert "Can its confidence be believed?" in page
    assert "What can be left to it" in page
    assert "fitted on 100 validation answers" in page
    assert "fitted on 100 validation answers" in render_model_card(data)


def test_runs_without_it_show_the_plain_plot(tmp_path):
    run = build(tmp_path / "run")
    saved = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(saved | {"calibration": []}))
    data = read_run(run)
    assert calibration_context(data) is None
    page = render_report(data)
    assert "Confidence needed" not in page
    assert "exactly as right as it claims" in page


def test_damaged_calibration_is_told(tmp_path):
    run = build(tmp_path / "run")
    saved = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(saved | {"calibration": [{"system": 3}]}))
    assert any("not a saved Calibration" in problem for problem in read_run(run).problems)


def test_the_terminal_shows_the_raw_and_the_calibrated_row(tmp_path):
    text = to_text(calibration_view(read_run(build(tmp_path / "run")).calibration))
    assert "tuned, T = 2.00" in text
    assert "AURC" in text
    assert "right by Exact match" in text
