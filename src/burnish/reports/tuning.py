"""A search for settings as people see it: a table on the terminal, and tuning.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.records import Json
from burnish.reports.html import render_page
from burnish.reports.plots import Dot, Series, bar_plot, line_plot, scatter_plot
from burnish.reports.text import cut, metric_name, one_line, percent, points, seconds
from burnish.runs import write_text
from burnish.tuning_records import Trial, Tuning


def setting_words(value: Json) -> str:
    """A setting's value as it stands in a task file."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(settings: Mapping[str, Json]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} {setting_words(value)}" for name, value in settings.items())


def value_words(trial: Trial) -> str:
    """What a trial reached, in one line."""
    metric = "" if trial.metric is None else f"metric {trial.metric:.3f}, "
    return f"{metric}loss {trial.loss:.4f}" if trial.loss is not None else "nothing measured"


def gain_words(result: Tuning) -> str:
    """The best trial and its advantage over the task file's own settings."""
    best = next((trial for trial in result.trials if trial.number == result.best), None)
    if best is None:
        return "No trial has finished."
    name = metric_name(result.metric)
    value = percent(best.metric) if result.metric != "validation_loss" else f"{best.loss:.4f}"
    what = f"Best: trial {best.number}, {name} {value}"
    if best.number == 0:
        return f"{what}: the task file's own settings."
    if result.gain is None:
        return f"{what}."
    if result.metric == "validation_loss":
        return f"{what}, {result.gain:.4f} below that of the task file's own settings."
    error = "" if result.standard_error is None else f" (standard error at most {100 * result.standard_error:.1f})"
    return f"{what}, {points(result.gain)} points{error} against the task file's own settings."


def searched(result: Tuning) -> list[str]:
    """Names of the settings in the table: those searched and those that follow them."""
    names = dict.fromkeys(result.search)
    for trial in result.trials:
        names |= dict.fromkeys(trial.settings)
    return list(names)


def cells(result: Tuning, trial: Trial) -> list[str]:
    """One row of the table of trials: number, settings, metric, loss, time, how it ended."""
    state: str = "best" if trial.number == result.best else trial.state
    if trial.number == 0:
        state += " (the task file's own)"
    if trial.reason:
        state += f": {trial.reason}"
    return [
        str(trial.number),
        *(setting_words(trial.settings[name]) if name in trial.settings else "–" for name in searched(result)),
        "–" if trial.metric is None else percent(trial.metric),
        "–" if trial.loss is None else f"{trial.loss:.4f}",
        seconds(trial.seconds),
        one_line(state, 200),
    ]


def headings(result: Tuning) -> list[str]:
    """Those of `cells`."""
    return ["trial", *searched(result), "metric", "loss", "time", ""]


def tuning_view(result: Tuning) -> RenderableType:
    """For the terminal: all trials, the best one, what to believe."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings(result):
        table.add_column(heading, justify="left" if heading == "" else "right", overflow="fold")
    for trial in result.trials:
        style = {"pruned": "dim", "failed": "yellow"}.get(trial.state, "")
        table.add_row(*cells(result, trial), style="bold" if trial.number == result.best else style)
    parts: list[RenderableType] = [table, Text(gain_words(result), style="bold")]
    if result.importance:
        shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in result.importance.items())
        parts.append(Text(f"Share in the differences: {shares}", style="dim"))
    parts += [Text(f"· {remark}") for remark in result.remarks]
    return Group(*parts)


def write_tuning_page(result: Tuning, path: Path) -> None:
    """tuning.html: one page without scripts."""
    write_text(path, render_page("tuning.html.j2", page_context(result)))


def page_context(result: Tuning) -> dict[str, Any]:
    """Everything the template says."""
    share = result.metric != "validation_loss"
    name = metric_name(result.metric)
    shown = [trial for trial in result.trials if _height(trial, share) is not None]
    dots = [_dot(result, trial, float(trial.number), share) for trial in shown]
    curves = [
        Series(f"trial {trial.number}", "metric" if trial.number == result.best else "train", _curve(trial, share))
        for trial in sorted(shown, key=lambda trial: trial.number == result.best)
    ]
    bars = list(result.importance.items())
    return {
        "title": result.name,
        "metric": name,
        "gain": gain_words(result),
        "remarks": result.remarks,
        "by_trial": scatter_plot(dots, x_name="trial", y_name=name, label=f"{name} by trial", share=share),
        "curves": line_plot(curves, x_name="evaluation", label=f"{name} by evaluation", share=share),
        "settings": [(setting, _by_setting(result, setting, share)) for setting in result.search],
        "importance": bar_plot(bars, label="Share in the differences", unit=lambda value: percent(value, 0))
        if bars
        else None,
        "headings": headings(result),
        "rows": [(cells(result, trial), trial.number == result.best) for trial in result.trials],
        "search": [(setting, _range_words(found)) for setting, found in result.search.items()],
    }


def _range_words(found: Json) -> str:
    if isinstance(found, dict):
        return f"{found['low']:g} to {found['high']:g}" + (", uniform in the logarithm" if found["log"] else "")
    return ", ".join(map(setting_words, found))


def _height(trial: Trial, share: bool) -> float | None:
    return trial.metric if share else trial.loss


def _curve(trial: Trial, share: bool) -> list[tuple[float, float]]:
    # The value holds the metric with a trace of the loss that decides between equals, or minus the loss.
    return [(float(at), value if share else -value) for at, value in trial.curve.items()]


def _dot(result: Tuning, trial: Trial, x: float, share: bool) -> Dot:
    kind = "best" if trial.number == result.best else trial.state
    return Dot(
        x, _height(trial, share) or 0.0, kind, f"trial {trial.number}: {value_words(trial)}; {words(trial.settings)}"
    )


def _by_setting(result: Tuning, setting: str, share: bool) -> Markup:
    """The trials over one setting: a number's range on its axis, a list by its values."""
    found, name = result.search[setting], metric_name(result.metric)
    shown = [trial for trial in result.trials if _height(trial, share) is not None and setting in trial.settings]
    label = f"{name} by {setting}"
    if isinstance(found, dict):
        dots = [_dot(result, trial, float(trial.settings[setting]), share) for trial in shown]
        return scatter_plot(dots, x_name=setting, y_name=name, label=label, log=bool(found["log"]), share=share)
    values = list(found) + [trial.settings[setting] for trial in shown if trial.settings[setting] not in found]
    dots = [_dot(result, trial, float(values.index(trial.settings[setting])), share) for trial in shown]
    categories = [cut(setting_words(value), 14) for value in dict.fromkeys(values)]
    return scatter_plot(dots, x_name=setting, y_name=name, label=label, categories=categories, share=share)
