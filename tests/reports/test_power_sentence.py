from __future__ import annotations

import json

from fake_runs import build

from burnish.reports.html import render_report
from burnish.reports.model_card import render_model_card
from burnish.reports.power import power_sentence
from burnish.reports.rundata import read_run


def test_page_and_card_tell_what_the_test_can_show(tmp_path):
    data = read_run(build(tmp_path / "run"))
    told = power_sentence(data)
    # ±7.5 points at 95% are a standard error of 3.83; 2.80 of them are 10.7 points, and (10.7 / 5)² × 200 = 918.
    assert "a true gain of 10.7 points over few_shot would be seen in 80% of tests of 200 examples" in told
    assert told in render_report(data)
    assert told in render_model_card(data).replace("\\_", "_")


def test_without_a_difference_there_is_nothing_to_tell(tmp_path):
    run = build(tmp_path / "run")
    saved = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(saved | {"paired": []}))
    assert power_sentence(read_run(run)) == ""
