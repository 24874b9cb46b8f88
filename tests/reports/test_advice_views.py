"""The views of costs and advice: charts drawn from curves, foreign names made safe, sentences with their sources."""

from __future__ import annotations

from burnish.advice.candidates import Candidate, Needs, rank
from burnish.advice.facts import DataFacts, Facts, SystemFact
from burnish.advice.learning_curve import Point, fit
from burnish.advice.recommend import recommend
from burnish.reports.advice import candidates_view, recommendation_view
from burnish.reports.costs import money, text_chart
from burnish.reports.curves import Line, learning_curve_chart, learning_curve_plot, lines_plot
from burnish.reports.terminal import to_text
from burnish.runs import dumps

POINTS = [Point(50 * 2**i, value, 0.02) for i, value in enumerate((0.5, 0.6, 0.68, 0.73))]


def test_money_has_the_digits_it_needs() -> None:
    shown = [money(x) for x in (0, 0.9, 1234.5, 0.0042, -3, 0.1)]
    assert shown == ["0", "0.90", "1,234", "0.00420", "−3.00", "0.10"]


def test_the_text_chart_shows_every_line() -> None:
    flat, rising = Line("tuned", [(0, 5), (10, 6)], strong=True), Line("prompt", [(0, 0), (10, 10)])
    chart = text_chart([flat, rising], (20, 6))
    assert "* tuned" in chart
    assert "p prompt" in chart
    assert chart.splitlines()[1].endswith("p")
    assert chart.splitlines()[-1].endswith("10 days")


def test_plots_are_svg_with_safe_names() -> None:
    lines = [Line("<script>", [(0, 1), (4, 2)]), Line("same end", [(0, 0), (4, 2)], strong=True)]
    plot = lines_plot(lines, x_name="days", y_name="USD", label="x", unit=money)
    assert plot.count("<svg") == 2
    assert "<script>" not in plot
    curve = learning_curve_plot(fit(POINTS), rows=400, target=0.9)
    assert curve.count("<polygon") == 2
    assert "goal 90.0%" in curve


def test_the_learning_curve_in_text() -> None:
    text = learning_curve_chart(fit(POINTS), rows=400, target=0.9)
    assert len(text.splitlines()) == 1 + 4 + 3
    assert text.count("●") == 4
    assert "4,000" in text


def test_a_recommendation_is_told_with_its_sources() -> None:
    systems = (SystemFact("probe", "probe", 0.93, 0.91, 0.95), SystemFact("tuned\x1b[0m", "tuned", 0.77, 0.74, 0.80))
    found = recommend(Facts("accuracy", systems, DataFacts(8000)))
    text = to_text(recommendation_view(found))
    assert "an embedding probe" in text
    assert "[measured: evaluation of probe]" in text
    assert "What would change it" in text
    assert "\x1b" not in text
    assert '"choice": "probe"' in dumps(found, indent=2)


def test_candidates_are_ranked_by_fit() -> None:
    models = [
        Candidate("big", 8_000_000_000, ("en", "de"), "apache-2.0", 20 * 2**30, 0.80),
        Candidate("small", 135_000_000, ("en",), "apache-2.0", 2**30, 0.95),
        Candidate("middle", 1_000_000_000, ("en", "de"), "apache-2.0", 4 * 2**30, 0.805),
        Candidate("closed", 1_000_000_000, ("en", "de"), "other", 4 * 2**30, 0.70),
        Candidate("unknown", 2_000_000_000, ("en", "de"), "apache-2.0", 4 * 2**30),
    ]
    everything = rank(models, Needs(memory=24 * 2**30, licences=("Apache-2.0",)))
    assert [one.candidate.name for one in everything] == ["middle", "big", "small", "unknown", "closed"]
    here = rank(models, Needs("de", ("apache-2.0",), 8 * 2**30))
    assert [one.candidate.name for one in here if one.fits] == ["middle", "unknown"]
    reasons = {one.candidate.name: " ".join(one.against) for one in here}
    assert "not trained on de" in reasons["small"]
    assert "20.0 GB" in reasons["big"]
    assert "its licence is other" in reasons["closed"]
    assert "middle" in to_text(candidates_view(here))
    assert rank(models[::-1], Needs()) == rank(models, Needs())
