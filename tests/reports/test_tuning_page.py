"""tuning.html and the table: everything said, nothing foreign let in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from burnish.reports.plots import Dot, scatter_plot
from burnish.reports.terminal import to_text
from burnish.reports.tuning import gain_words, page_context, tuning_view, write_tuning_page
from burnish.tuning_records import Trial, Tuning


def trial(number, state, rate, metric, reason=None, **more):
    settings = {"learning_rate": rate, "lr_scheduler": "cosine" if number % 2 else "linear"}
    curve = {"1": metric - 0.1, "2": metric} if metric is not None else {}
    loss = None if metric is None else 1 - metric
    return Trial(number, state, settings | more, metric, loss, metric, 20, 61.0, reason, curve)


def tuning(**changes):
    trials = (
        trial(0, "done", 1e-3, 0.70),
        trial(1, "done", 4e-3, 0.85),
        trial(2, "pruned", 9e-5, 0.40, "below the median"),
        trial(3, "failed", 5e-3, None, "<script>alert(1)</script> is not finite"),
    )
    values = {
        "name": "letters",
        "path": "runs/tune-x",
        "metric": "accuracy",
        "examples": 100,
        "trials": trials,
        "best": 1,
        "gain": 0.15,
        "standard_error": 0.0581,
        "search": {
            "learning_rate": {"low": 5e-5, "high": 5e-3, "log": True},
            "lr_scheduler": ["cosine", "linear"],
        },
        "importance": {"learning_rate": 0.9, "lr_scheduler": 0.1},
        "remarks": ("It looks better than it is.",),
    }
    return Tuning(**values | changes)


def test_the_page_is_whole_and_foreign_text_is_text(tmp_path):
    write_tuning_page(tuning(), tmp_path / "tuning.html")
    page = (tmp_path / "tuning.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "+15.0 points (standard error at most 5.8)" in page
    assert page.count("<svg") == 2 * 5, "each plot for a wide and a narrow screen"
    assert len(re.findall(r"<tr[ >]", page)) == 5


def test_the_table_of_the_terminal():
    text = to_text(tuning_view(tuning()), width=160)
    assert "+15.0 points" in text
    assert "the task file's own" in text
    assert "failed: " in text
    assert "learning_rate 90%" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"best": 0, "gain": 0.0}, "the task file's own settings."),
        ({"best": None, "gain": None}, "No trial has finished."),
        ({"gain": None}, "Accuracy 85.0%."),
        ({"metric": "validation_loss", "gain": 0.05}, "0.0500 below that of the task file's own settings."),
    ],
)
def test_the_gain_in_words(changes, said):
    assert said in gain_words(tuning(**changes))


def test_pages_without_anything_to_draw(tmp_path):
    for trials in ((), (trial(0, "failed", 1e-3, None, "out of memory"),), (trial(0, "running", 1e-3, None),)):
        write_tuning_page(tuning(trials=trials, best=None, gain=None, importance={}), tmp_path / "tuning.html")
    one = tuning(trials=(trial(0, "done", 1e-3, 0.5),), best=0, importance={}, metric="validation_loss")
    assert "trial 0" in str(page_context(one)["by_trial"])


def test_values_outside_of_the_search_are_drawn(tmp_path):
    odd = replace(tuning().trials[0], settings={"learning_rate": 0.5, "lr_scheduler": "constant"})
    context = page_context(tuning(trials=(odd, *tuning().trials[1:])))
    assert "constant" in str(dict(context["settings"])["lr_scheduler"])


def test_a_log_axis_names_powers_of_ten():
    dots = [Dot(x, 0.5, "done", "") for x in (2e-4, 5e-3)]
    plot = str(scatter_plot(dots, x_name="rate", y_name="y", label="l", log=True))
    assert {"0.0002", "0.0005", "0.001", "0.002", "0.005"} <= set(re.findall(r">([0-9.]+)<", plot))
    assert "nan" not in plot
