"""A recommendation as people read it, on the terminal and as advice.html. Its JSON is the record itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.advice.candidates import Ranked
from burnish.advice.facts import Choice, Reason, Recommendation, SystemFact
from burnish.advice.result import Advice, Curve, fitted
from burnish.reports.curves import learning_curve_chart, learning_curve_plot
from burnish.reports.html import render_page
from burnish.reports.plots import IntervalRow, interval_plot
from burnish.reports.text import metric_name, one_line, percent, plural, seconds
from burnish.runs import write_text

CHOICES: dict[Choice, str] = {
    "keep_prompt": "keep the prompt",
    "few_shot": "examples in the prompt",
    "rag": "retrieval (RAG)",
    "probe": "an embedding probe",
    "fine_tune": "fine-tune",
    "rag_and_fine_tune": "retrieval and fine-tuning",
    "more_data": "get more data",
    "fix_data": "fix the data",
}


def _sentence(reason: Reason) -> Text:
    return Text.assemble(
        f"· {one_line(reason.text, 600)} ", (f"[{reason.kind}: {one_line(reason.source, 200)}]", "dim")
    )


def recommendation_view(found: Recommendation) -> RenderableType:
    """For the terminal: the choice, why, what was ruled out, the runner-up, and what would change it."""
    head = Text.assemble(("Recommendation: ", "bold"), (CHOICES[found.choice], "bold green"))
    if found.system is not None:
        head.append(f" ({one_line(found.system, 60)})")
    if not found.tested and found.choice not in ("more_data", "fix_data"):
        head.append("  not measured yet", "yellow")
    parts: list[RenderableType] = [head, *(_sentence(reason) for reason in found.reasons)]
    if found.left_out:
        parts += [Text("Ruled out", "bold"), *(_sentence(reason) for reason in found.left_out)]
    if found.runner_up is not None:
        parts.append(Text.assemble(("Runner-up: ", "bold"), CHOICES[found.runner_up]))
        if found.runner_up_reason is not None:
            parts.append(_sentence(found.runner_up_reason))
    if found.changes:
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("What would change it", "now", "then", "recommendation"):
            table.add_column(heading, overflow="fold")
        for change in found.changes:
            table.add_row(one_line(change.what, 80), change.now, change.then, CHOICES[change.choice])
        parts += [Text(), table]
    return Group(*parts)


def candidates_view(ranked: tuple[Ranked, ...]) -> RenderableType:
    """Models to try, the best fit first."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "model", "parameters", "why"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "parameters" else "left")
    for number, one in enumerate(ranked, 1):
        words = "; ".join([*one.against, *one.remarks])
        style = "" if one.fits else "dim"
        name = one_line(one.candidate.name, 80)
        table.add_row(str(number) if one.fits else "–", name, f"{one.candidate.parameters:,}", words, style=style)
    return table


def advice_view(advice: Advice) -> RenderableType:
    """For the terminal: systems, learning curves, the recommendation, what to know of it."""
    parts: list[RenderableType] = []
    if advice.facts.systems:
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for number, heading in enumerate(system_headings(advice)):
            table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
        for one in advice.facts.systems:
            chosen = one.name == advice.recommendation.system
            table.add_row(*system_cells(one), style="bold" if chosen else "")
        parts.append(table)
    for curve in advice.curves:
        parts.append(Text(f"\nLearning curve of {curve.system}: {curve_words(curve)}", style="bold"))
        target = None if curve.reach is None else curve.reach.target
        parts.append(
            Text(learning_curve_chart(fitted(curve.points, advice.examples), rows=curve.rows, target=target))
        )
    parts += [Text(), recommendation_view(advice.recommendation), Text()]
    if advice.models:
        parts += [Text("Models", style="bold"), candidates_view(advice.models), Text()]
    parts += [Text(f"· {remark}", style="dim") for remark in advice.remarks]
    parts.append(Text(f"took {time_words(advice)}", style="dim"))
    return Group(*parts)


def system_headings(advice: Advice) -> list[str]:
    """Those of `system_cells`."""
    return ["system", metric_name(advice.metric), "95% interval", "prompt tokens", "time an answer"]


def system_cells(one: SystemFact) -> list[str]:
    """One row of the table of systems."""
    return [
        f"{one.name} (forecast)" if one.forecast else one.name,
        percent(one.value),
        f"{100 * one.low:.1f} to {100 * one.high:.1f}",
        "–" if one.prompt_tokens is None else f"{one.prompt_tokens:,.0f}",
        "–" if one.seconds is None else seconds(one.seconds),
    ]


def curve_words(curve: Curve) -> str:
    """What the curve says, in one line."""
    value = f"{percent(curve.value)} ({100 * curve.low:.1f} to {100 * curve.high:.1f})"
    verb = "has" if curve.measured else "is forecast to have"
    what = f"with {curve.reached:,} rows it {verb} {value}"
    if curve.reach is None:
        return what
    needed = "" if curve.reach.rows is None else f", with about {curve.reach.rows:,} rows"
    answer = {
        "yes": f"is reached{needed}",
        "no": "is not reached by ten times the rows trained on",
        "unclear": "is unclear",
    }
    return f"{what}; the target of {percent(curve.reach.target)} {answer[curve.reach.answer]}"


def time_words(advice: Advice) -> str:
    """Seconds of each step, and their sum."""
    steps = ", ".join(f"{name} {seconds(value)}" for name, value in advice.seconds.items())
    return f"{seconds(sum(advice.seconds.values()))}: {steps}"


def write_advice_page(advice: Advice, path: Path) -> None:
    """advice.html: one page without scripts."""
    write_text(path, render_page("advice.html.j2", page_context(advice)))


def page_context(advice: Advice) -> dict[str, Any]:
    """Everything the template says."""
    found, target = advice.recommendation, advice.facts.target
    shown = [
        IntervalRow(
            f"{one.name} (forecast)" if one.forecast else one.name,
            one.value,
            one.low,
            one.high,
            strong=one.name == found.system,
        )
        for one in advice.facts.systems
    ]
    label = f"{metric_name(advice.metric)} of every system"
    return {
        "title": advice.name,
        "metric": metric_name(advice.metric),
        "examples": plural(advice.examples, "example"),
        "choice": CHOICES[found.choice],
        "system": found.system or "",
        "tested": found.tested or found.choice in ("more_data", "fix_data"),
        "reasons": found.reasons,
        "left_out": found.left_out,
        "runner_up": None if found.runner_up is None else CHOICES[found.runner_up],
        "runner_up_reason": found.runner_up_reason,
        "changes": [(one.what, one.now, one.then, CHOICES[one.choice]) for one in found.changes],
        "systems": interval_plot(shown, target=target, label=label) if shown else None,
        "headings": system_headings(advice),
        "rows": [(system_cells(one), one.name == found.system) for one in advice.facts.systems],
        "curves": [
            (
                curve.system,
                curve_words(curve),
                learning_curve_plot(
                    fitted(curve.points, advice.examples),
                    rows=curve.rows,
                    target=target,
                    label=f"Learning curve of {curve.system}",
                ),
            )
            for curve in advice.curves
        ],
        "models": [
            (one.candidate.name, f"{one.candidate.parameters:,}", "; ".join([*one.against, *one.remarks]), one.fits)
            for one in advice.models
        ],
        "findings": advice.findings,
        "remarks": advice.remarks,
        "took": time_words(advice),
    }
