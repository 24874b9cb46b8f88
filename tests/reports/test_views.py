"""Views: what they say, and that foreign text in them is only text."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import RenderableType

from burnish.errors import BurnishError, DataError, Problem
from burnish.models.catalog import CATALOG
from burnish.records import DataReport, Evaluation, Finding, Interval, Paired, Source, Verdict
from burnish.reports import views
from burnish.reports.terminal import to_text
from burnish.runs import RunDiff, RunSummary, read_evaluation

EVIL = "\x1b[31m[bold]red[/bold]\x07\u202e"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(view: RenderableType) -> str:
    return to_text(view, width=200)


def evaluation(system: str, value: float, **options: float) -> Evaluation:
    metrics = {
        "accuracy": Interval(value, value - 0.05, value + 0.05, "wilson"),
        "macro_f1": Interval(0.5, 0.4, 0.6, "b"),
    }
    return Evaluation(system, "test", 200, metrics, options.get("seconds", 0.25), options.get("tokens", 612.4), 9.0)


def test_systems_have_intervals_differences_and_costs() -> None:
    systems = {"few_shot": evaluation("few_shot", 0.45), "tuned": evaluation("tuned", 0.86, tokens=41)}
    paired = [Paired("tuned", "few_shot", "accuracy", 0.41, 0.335, 0.485, 0.00001, "mcnemar", 90, 8)]
    text = shown(views.systems_view(systems, paired))
    assert "Accuracy" in text.splitlines()[1]
    assert "95% interval" in text
    few_shot = next(line for line in text.splitlines() if line.lstrip().startswith("few_shot"))
    for part in ("45.0% [40.0, 50.0]", "+41.0 [+33.5, +48.5]", "0.001", "250 ms", "612"):
        assert part in few_shot
    tuned = next(line for line in text.splitlines() if line.lstrip().startswith("tuned"))
    assert "86.0%" in tuned
    assert " 41" in tuned


def test_records_and_their_dicts_look_the_same(finished_run: Path) -> None:
    evaluations, paired = read_evaluation(finished_run / "evaluation.json")
    raw = json.loads((finished_run / "evaluation.json").read_text(encoding="utf-8"))
    records = shown(views.systems_view({e.system: e for e in evaluations}, paired))
    assert records == shown(views.systems_view(raw["systems"], raw["paired"]))


def test_the_goals_metric_comes_first() -> None:
    text = shown(views.systems_view({"tuned": evaluation("tuned", 0.86)}, metric="macro_f1"))
    assert "Macro-F1" in text.splitlines()[1]
    assert re.search("Other metrics +Accuracy", text)


def test_results_fit_80_columns(finished_run: Path) -> None:
    evaluations, paired = read_evaluation(finished_run / "evaluation.json")
    text = to_text(views.systems_view({one.system: one for one in evaluations}, paired), width=80)
    assert "…" not in text
    assert "few_shot" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_no_systems_are_no_crash() -> None:
    assert "System" in shown(views.systems_view({}))


@pytest.mark.parametrize(("decision", "word"), [("ship", "SHIP"), ("hold", "HOLD")])
def test_verdict(decision: str, word: str) -> None:
    verdict = Verdict(decision, "tuned", "prompt", "accuracy", ("a reason",), ("more data",), 0.05, None, 2)  # type: ignore[arg-type]
    text = shown(views.verdict_view(verdict))
    assert word in text
    assert "a reason" in text
    assert "more data" in text
    assert "2 times" in text


def test_data_report_shows_the_gravest_finding_first_and_its_places() -> None:
    findings = (
        Finding("info", "info", 1, "just so", ""),
        Finding("dup", "warning", 7, "7 rows repeat", "remove them", (Source("a.jsonl", 3), Source("a.jsonl", 9))),
        Finding("few", "error", 1, "only 8 rows", "add some"),
    )
    tokens = {"p50": 12.0, "max": 40.0, "histogram": {"counts": [5, 1], "edges": [0, 20, 40]}}
    report = DataReport(1234, findings, {"labels": {"b": 2, "a": 900}, "tokens": tokens})
    text = shown(views.data_report_view(report))
    assert text.index("only 8 rows") < text.index("7 rows repeat") < text.index("just so")
    assert "a.jsonl:3, a.jsonl:9 and 5 more" in text
    assert "1,234 rows" in text
    assert text.index(" a ") < text.index(" b ")
    assert "0–19" in text
    assert "20–40" in text
    assert "half are at most 12 tokens" in text
    assert shown(views.data_report_view(asdict(report))) == text


def test_a_clean_report_says_so() -> None:
    assert "nothing to complain about" in shown(views.data_report_view(DataReport(10, ())))


def test_many_classes_are_summed_up() -> None:
    stats = {"labels": {f"label{i:02}": 100 - i for i in range(77)}}
    text = shown(views.data_report_view(DataReport(10, (), stats)))
    assert "and 57 more" in text
    assert "label76" not in text


def test_runs(tmp_path: Path) -> None:
    run = RunSummary("x-1", tmp_path, "x", "done", "2026-11-22T18:30:05+00:00", 75.0, "ship", "exact_match", 0.86)
    broken = RunSummary("x-2", tmp_path, "x", "damaged", "", None, None, None, None)
    text = shown(views.runs_view([run, broken]))
    for part in ("x-1", "done", "ship", "Exact match 86.0%", "1 min 15 s", "damaged"):
        assert part in text
    assert "no runs" in shown(views.runs_view([]))


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_nothing_of_a_listing_is_cut(width: int, finished_run: Path) -> None:
    id_ = f"{'n' * 64}-20261122-183005-abc123"
    run = {"run_id": id_, "status": "interrupted", "metric": "exact_match", "value": 0.5}
    text = to_text(views.runs_view([run]), width=width)
    assert id_ in text.replace("\n", "")
    assert "interrupted" in text
    assert "Exact match 50.0%" in " ".join(text.split())
    evaluations, paired = read_evaluation(finished_run / "evaluation.json")
    text = to_text(views.systems_view({one.system: one for one in evaluations}, paired), width=width)
    assert "…" not in text
    for one in evaluations:
        assert one.system in text
        assert f"{100 * one.metrics['valid'].value:.1f}%" in text


def test_diff() -> None:
    diff = RunDiff({"training.lora_r": (8, 16), "labels": (None, ["a"])}, {}, {}, {"tuned.accuracy": (0.5, 0.75)})
    text = shown(views.diff_view("old", "new", diff))
    for part in ("training.lora_r", "8", "16", "missing", '["a"]', "50.0%", "75.0%", "+25.0"):
        assert part in text
    assert shown(views.diff_view("a", "b", RunDiff({}, {}, {}, {}))) == "no differences"


def test_tokens_are_told_apart_in_colour_and_in_plain_text() -> None:
    pieces = [("<user>", False), ("hi", False), ("yes", True), ("<end>", True)]
    coloured = views.tokens_view(pieces)
    styles = {coloured.plain[span.start : span.end]: str(span.style) for span in coloured.spans}
    assert coloured.plain == "<user>hiyes<end>"
    assert "green" in styles["yes"]
    assert "green" not in styles["hi"]
    assert views.tokens_view(pieces, plain=True).plain == "<user>hi⟦yes⟧⟦<end>⟧"


def test_models() -> None:
    text = shown(views.models_view(CATALOG.values()))
    assert "smollm2-135m-instruct" in text
    assert "135 M" in text
    assert "Apache-2.0" in text


def test_errors_name_what_value_where_and_fix() -> None:
    problems = [Problem("a.csv", 3, "label", "is empty", "''", "fill it")]
    error = DataError("2 rows are bad", got=2, where="a.csv", fix="mend them", problems=problems, count=25)
    text = shown(views.error_view(error))
    for part in (
        "2 rows are bad",
        "a.csv",
        "mend them",
        "a.csv:3:label",
        "is empty",
        "fill it",
        "and 24 more bad rows",
    ):
        assert part in text


def test_huge_values_are_shortened() -> None:
    huge = "x" * 1_000_000
    problem = Problem("f", 1, "a", huge, huge, huge)
    for view in (
        views.error_view(DataError(huge, got=huge, where=huge, fix=huge, problems=[problem])),
        views.verdict_view(Verdict("hold", huge, "b", "m", (huge,), (huge,), 0.0, None, 1)),
        views.diff_view("a", "b", {"settings": {"k": (huge, None)}}),
        views.data_report_view(DataReport(1, (Finding("k", "info", 1, huge, huge),), {"labels": {huge: 3}})),
    ):
        assert len(shown(view)) < 20_000


@settings(max_examples=25, deadline=None)
@given(noise=st.text(max_size=40))
def test_markup_and_control_characters_are_only_text(noise: str) -> None:
    evil = EVIL + noise
    problem = Problem(evil, 1, evil, evil, evil, evil)
    drawn = [
        views.error_view(BurnishError(evil, got=evil, where=evil, fix=evil)),
        views.error_view(DataError(evil, problems=[problem])),
        views.verdict_view(Verdict("ship", evil, evil, "m", (evil,), (evil,), 0.0, None, 1)),
        views.diff_view(evil, evil, {"settings": {evil: (evil, None)}}),
        views.systems_view({evil: evaluation(evil, 0.5)}),
        views.runs_view([{"run_id": evil, "status": evil, "created": evil}]),
        views.data_report_view(
            DataReport(1, (Finding(evil, "info", 1, evil, evil, (Source(evil, 1),)),), {"labels": {evil: 3}})
        ),
        views.tokens_view([(evil, True)], plain=True),
        views.models_view([{"name": evil, "about": evil}]),
    ]
    for view in drawn:
        text = shown(view)
        assert not CONTROL.search(text)
        assert "[bold]" in re.sub(r"\s", "", text)
