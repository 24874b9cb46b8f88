"""A search for a better instruction as people see it: a table on the terminal, and prompt-tuning.html."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.reports.html import render_page
from burnish.reports.plots import Dot, scatter_plot
from burnish.reports.text import as_text, count, cut_noted, metric_name, p_value, percent, points
from burnish.runs import write_text
from burnish.tuning_records import PromptTuning

CHARACTERS = 2000  # of an instruction on the page


def gain_words(result: PromptTuning) -> str:
    """The best instruction and its advantage over the task file's own."""
    best = result.trials[result.best]
    what = f"Best: trial {result.best}, {metric_name(result.metric)} {percent(best.value)}"
    if result.gain is None:
        return f"{what}: the task file's own instruction."
    gain = result.gain
    return (
        f"{what}, {points(gain.difference)} points against the task file's own instruction "
        f"({points(gain.low)} to {points(gain.high)}, p {p_value(gain.p_value)})."
    )


def cells(result: PromptTuning, limit: int) -> list[tuple[str, ...]]:
    """One row a trial: number, instruction, value, prompt tokens."""
    return [
        (str(place), as_text(trial.instruction, limit), percent(trial.value), count(trial.prompt_tokens))
        for place, trial in enumerate(result.trials)
    ]


def headings(result: PromptTuning) -> tuple[str, ...]:
    """Those of `cells`."""
    return ("Trial", "Instruction", metric_name(result.metric), "Prompt tokens")


def prompt_tuning_view(result: PromptTuning) -> RenderableType:
    """All instructions tried, the gain, what to believe."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings(result):
        table.add_column(heading, justify="left" if heading == "Instruction" else "right", overflow="fold")
    for place, row in enumerate(cells(result, 300)):
        table.add_row(*map(Text, row), style="bold" if place == result.best else "")
    return Group(
        table,
        Text(gain_words(result), style="bold"),
        *(Text(f"· {remark}") for remark in result.remarks),
    )


def write_prompt_tuning_page(result: PromptTuning, path: Path) -> None:
    """prompt-tuning.html: one page without scripts."""
    name = metric_name(result.metric)
    dots = [
        Dot(
            float(place),
            trial.value,
            "best" if place == result.best else "done",
            f"trial {place}: {percent(trial.value)}",
        )
        for place, trial in enumerate(result.trials)
    ]
    context = {
        "title": result.name,
        "system": result.system,
        "model": result.model,
        "metric": name,
        "examples": result.examples,
        "gain": gain_words(result),
        "best": cut_noted(result.trials[result.best].instruction, CHARACTERS),
        "remarks": result.remarks,
        "plot": scatter_plot(dots, x_name="trial", y_name=name, label=f"{name} by trial", share=True),
        "headings": headings(result),
        "rows": [(row, place == result.best) for place, row in enumerate(cells(result, CHARACTERS))],
    }
    write_text(path, render_page("prompt_tuning.html.j2", context))
