"""What the report and the model card say of training: curves, the mixture, what it did and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.reports import plots, summary
from burnish.reports.rundata import RunData
from burnish.reports.text import as_text, count, megabytes, metric_name, seconds

NAME_CHARACTERS = 300
Context = dict[str, Any]


def training_context(data: RunData) -> Context | None:
    """Loss curves, the metric on validation, over-fitting and what training cost."""
    lines = summary.curves(data.history, data.metric)
    result = data.run.get("training") or {}
    if not (any(lines) or result):
        return None
    loss = [
        plots.Series("training loss", "train", lines.train),
        plots.Series("validation loss", "validation", lines.validation),
    ]
    best = result.get("best_step")
    name = f"{metric_name(data.metric)} on validation examples"
    return {
        "loss": plots.line_plot(loss, x_name="step", best=best, label="Training and validation loss by step")
        if lines.train or lines.validation
        else None,
        "metric": plots.line_plot(
            [plots.Series(name, "metric", lines.metric)],
            x_name="step",
            best=best,
            share=True,
            label=f"{name} by step",
        )
        if lines.metric
        else None,
        "has_validation": bool(lines.validation),
        "overfit": str(result.get("overfit") or "").removeprefix("Over-fitting: "),
        "known": bool(result),
        "facts": training_facts(result),
        "mixture": mixture_rows(data),
    }


def mixture_rows(data: RunData) -> list[Context]:
    """What an epoch held: the task's rows and those of further data sets; empty without any."""
    parts = [part for part in data.run.get("mixture") or () if isinstance(part, Mapping) and part.get("per_epoch")]
    if not parts:
        return []
    rest = 1 - sum(float(part["share_of_epoch"]) for part in parts)
    own = round(sum(part["per_epoch"] for part in parts) * rest / max(1e-9, 1 - rest))
    words = {"base": "the untuned model's own", "given": "given"}
    return [
        {"name": "the task", "per_epoch": own, "share": rest, "answers": "given"},
        *(
            {
                "name": as_text(part.get("name"), NAME_CHARACTERS),
                "per_epoch": int(part["per_epoch"]),
                "share": float(part["share_of_epoch"]),
                "answers": words.get(str(part.get("answers")), ""),
            }
            for part in parts
        ),
    ]


def training_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What training did and cost, from run.json's `training`."""
    facts = []
    if steps := result.get("steps"):
        early = ", stopped early" if result.get("stopped_early") else ""
        facts.append(("Steps", f"{count(steps)}{early}; step {count(result.get('best_step'))} was kept"))
    if result.get("trainable_parameters") and result.get("total_parameters"):
        share = result["trainable_parameters"] / result["total_parameters"]
        facts.append(("Trained parameters", f"{count(result['trainable_parameters'])} ({share:.2%} of the model)"))
    if result.get("train_tokens"):
        labelled = f", {count(result.get('labelled_tokens'))} of them labelled"
        facts.append(("Tokens", f"{count(result['train_tokens'])}{labelled}"))
    if took := result.get("seconds"):
        speed = f" ({count(result['train_tokens'] / took)} tokens/s)" if result.get("train_tokens") else ""
        facts.append(("Time", seconds(took) + speed))
    if memory := result.get("peak_memory_mb"):
        facts.append(("Peak memory", megabytes(memory)))
    return facts
