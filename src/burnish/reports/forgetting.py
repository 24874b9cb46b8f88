"""What report.html says of the general probe before and after tuning."""

from __future__ import annotations

from typing import Any

from burnish.reports import plots
from burnish.reports.rundata import RunData
from burnish.reports.text import as_text, p_value, percent, points

CHARACTERS = 300  # of a question or a choice
SHOWN = 12  # questions that were lost


def forgetting_context(data: RunData) -> dict[str, Any] | None:
    """General questions before and after tuning, and which were lost."""
    found = data.forgetting
    if not found:
        return None
    rows = [
        plots.IntervalRow(name, found[key]["value"], found[key]["low"], found[key]["high"], key == "after")
        for name, key in (("before tuning", "before"), ("after tuning", "after"))
    ]
    before, after = data.probe.get("before", {}), data.probe.get("after", {})
    lost = [
        (before[id_], answer)
        for id_, answer in after.items()
        if id_ in before and before[id_]["chosen"] == answer["answer"] != answer["chosen"]
    ]
    allowed = found.get("allowed")
    return {
        "plot": plots.interval_plot(
            rows,
            target=None,
            label=f"General questions answered rightly: {percent(found['before']['value'])} before tuning, "
            f"{percent(found['after']['value'])} after",
        ),
        "questions": found["questions"],
        "probe": str(found["probe"]),
        "chance": found["chance"],
        "difference": points(found["difference"]),
        "range": f"{points(found['low'])} to {points(found['high'])}",
        "p": p_value(found["p_value"]),
        "lost": found["lost"],
        "gained": found["gained"],
        "allowed": "" if allowed is None else f"{100 * allowed:g}",
        "cases": [
            {
                "question": as_text(answer["question"], CHARACTERS),
                "right": as_text(answer["choices"][answer["answer"]], CHARACTERS),
                "now": as_text(answer["choices"][answer["chosen"]], CHARACTERS),
            }
            for _, answer in lost[:SHOWN]
        ],
    }
