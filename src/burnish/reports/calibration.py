"""What report, model card and terminal say of confidence: can it be believed, and what can be left to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from burnish.reports import plots
from burnish.reports.rundata import Record, RunData
from burnish.reports.text import count, metric_name, metric_phrase, one_line, percent
from burnish.reports.views import Listing


def calibration_context(data: RunData) -> dict[str, Any] | None:
    """The candidate's confidence, or else the best baseline's: plot, table, sentences."""
    wanted = data.candidate or data.baseline
    found = next((one for one in data.calibration if one["system"] == wanted), None)
    if found is None:
        return None
    lines = [plots.Series("as it is", "train" if found["scaled"] else "metric", _line(found["raw"]))]
    if found["scaled"]:
        lines.append(plots.Series("calibrated", "metric", _line(found["scaled"])))
    return {
        "metric": metric_phrase(found["metric"]),
        "plot": plots.line_plot(
            lines,
            x_name="confidence",
            share=True,
            diagonal=True,
            label="Share that is right by confidence; on the dashed line confidence is exactly right",
        ),
        "scaled": bool(found["scaled"]),
        "rows": _measures(found),
        "bins": [_bin(one) for one in (found["scaled"] or found["raw"])["bins"]],
        "sentences": calibration_sentences(found),
        "coverage": [
            {
                "wanted": percent(point["wanted"], 0),
                "confidence": percent(point["confidence"], 1) if point["share"] else "–",
                "share": percent(point["share"]) if point["share"] else "none",
            }
            for point in found["coverage"]
        ],
    }


def calibration_sentences(found: Record) -> list[str]:
    """What the numbers mean."""
    raw, scaled, temperature = found["raw"], found["scaled"], found["temperature"]
    gap = raw["confidence"] - raw["accuracy"]
    seen = raw["error"] > raw["chance_high"]
    # Too sure here and not sure enough there may cancel out on the whole.
    side = "is too sure" if gap > 0 else "is not sure enough"
    if abs(gap) < raw["error"] / 2:
        side = "is too sure of some answers and not sure enough of others"
    sentences = [
        f"Confidence claims {percent(raw['confidence'])} right, {percent(raw['accuracy'])} are. "
        + (
            f"The calibration error of {percent(raw['error'])} is more than chance: {found['system']} {side}."
            if seen
            else f"A calibration error of {percent(raw['error'])} is within what a perfectly calibrated system shows "
            f"on {count(raw['examples'])} examples (up to {percent(raw['chance_high'])})."
        )
    ]
    if scaled:
        better = scaled["log_loss"] < raw["log_loss"]
        sentences.append(
            f"A temperature of {temperature:.2f}, fitted on {count(found['fitted_on'])} validation answers, "
            f"{'brings' if better else 'changes'} the error to {percent(scaled['error'])} on the sealed test and the "
            f"log loss from {raw['log_loss']:.3f} to {scaled['log_loss']:.3f}"
            f"{'' if better else ': it does not help here'}. It is chosen on validation alone, and burnish predict "
            f"applies it."
        )
    return sentences


def calibration_view(calibrations: Sequence[Record]) -> RenderableType:
    """All systems that give a confidence, one row each; a calibrated one gets a second row."""
    headings = ["Right", "Confidence", "Calibration\nerror", "By chance\nup to", "Brier", "AURC"]
    listing = Listing(["Confidence", *headings], right=headings)
    for one in calibrations:
        for name, part in (("", one["raw"]), (f", T = {one['temperature'] or 1:.2f}", one["scaled"])):
            if part:
                listing.add(
                    one_line(one["system"], 24) + name,
                    percent(part["accuracy"]),
                    percent(part["confidence"]),
                    percent(part["error"]),
                    percent(part["chance_high"]),
                    f"{part['brier']:.3f}",
                    f"{one['risk_area']:.3f}",
                )
    named = {metric_name(one["metric"]) for one in calibrations}
    return Group(listing, Text(f"right by {', '.join(sorted(named))}", style="dim"))


def _line(part: Record) -> list[tuple[float, float]]:
    return [(one["confidence"], one["right"]) for one in part["bins"]]


def _measures(found: Record) -> list[tuple[str, str, str, str, str, str]]:
    rows = [("as it is", found["raw"])]
    if found["scaled"]:
        rows.append((f"with temperature {found['temperature']:.2f}", found["scaled"]))
    return [
        (
            name,
            percent(part["confidence"]),
            percent(part["error"]),
            f"{percent(part['chance'])} to {percent(part['chance_high'])}",
            f"{part['brier']:.3f}",
            f"{part['log_loss']:.3f}",
        )
        for name, part in rows
    ]


def _bin(one: Record) -> tuple[str, str, str, str]:
    between = f"{percent(one['low'])} to {percent(one['high'])}"
    return percent(one["confidence"]), percent(one["right"]), between, count(one["examples"])
