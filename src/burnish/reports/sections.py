"""What each section of report.html says: a run's data in, the template's plain values out.

A function returns None for a section that has nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import MISSING
from burnish.evaluation.looks import level_words
from burnish.reports import choices, plots, summary
from burnish.reports.hosted import hosted_note, per_1000
from burnish.reports.plots import MOST_NAMED
from burnish.reports.rundata import RunData
from burnish.reports.text import (
    as_text,
    count,
    cut_noted,
    metric_name,
    metric_phrase,
    one_line,
    p_value,
    percent,
    plural,
    points,
    seconds,
)

INPUT_CHARACTERS = 1200  # of one example's input that the page shows
VALUE_CHARACTERS = 300
TESTS = {"mcnemar": "McNemar"}
Context = dict[str, Any]


def verdict_context(data: RunData) -> Context:
    """The verdict in words."""
    goal = data.interval(data.candidate) if data.candidate else {}
    rival = data.interval(data.baseline) if data.baseline else {}
    sentence = ""
    if goal:
        sentence = (
            f"On {plural(data.test_size, 'sealed test example')} {data.candidate} reaches {percent(goal['value'])} "
            f"{metric_phrase(data.metric)}"
        )
        if rival:
            sentence += f"; the best alternative, {data.baseline}, reaches {percent(rival['value'])}"
        sentence += "."
    error = one_line(str(data.run.get("error") or ""), 600)
    status = str(data.run.get("status") or "unknown") + (f" ({error})" if error else "")
    words = {
        "ship": ("Ship", "Yes: ship it.", "✓"),
        "hold": ("Hold", "No: hold it back for now.", "■"),
    }
    word, answer, sign = words.get(data.decision, ("No verdict", f"Not known yet: this run is {status}.", "…"))
    return {
        "decision": data.decision if data.decision in words else "none",
        "word": word,
        "answer": answer,
        "sign": sign,
        "sentence": sentence,
        "reasons": [str(reason) for reason in data.verdict.get("reasons") or ()],
        "advice": [str(advice) for advice in data.verdict.get("advice") or ()],
        "looks": data.verdict.get("looks"),
    }


def tiles(data: RunData) -> list[tuple[str, str, str]]:
    """(what, number, remark): the figures a reader should leave with."""
    found: list[tuple[str, str, str]] = []
    goal, rival = data.interval(data.candidate), data.interval(data.baseline)
    if goal:
        found.append((f"{data.candidate}: {metric_phrase(data.metric)}", percent(goal["value"]), _range(goal)))
    if rival:
        found.append((f"Best alternative: {data.baseline}", percent(rival["value"]), _range(rival)))
    if pair := data.pair(data.baseline):
        level = level_words(pair.get("level", 0.95))
        remark = (
            f"{level} interval {points(pair['low'])} to {points(pair['high'])}, p\u00a0{p_value(pair['p_value'])}"
        )
        found.append(("Advantage in points", points(pair["difference"]), remark))
    if tokens := token_saving(data):
        mine, other, saved = tokens
        what = "Prompt tokens saved" if saved >= 0 else "More prompt tokens"
        found.append((what, percent(abs(saved), 0), f"{count(mine)} instead of {count(other)} a request"))
    speeds = [data.evaluations.get(name, {}).get("seconds_per_example") for name in (data.candidate, data.baseline)]
    if speeds[0]:
        remark = f"{data.baseline}: {seconds(speeds[1])}" if speeds[1] else "in batches"
        found.append(("Time an example", seconds(speeds[0]), remark))
    return found


def _range(interval: Mapping[str, Any]) -> str:
    return f"95% interval {percent(interval['low'])} to {percent(interval['high'])}"


def token_saving(data: RunData) -> tuple[float, float, float] | None:
    """Prompt tokens of the candidate and of the baseline, and the share saved."""
    mine = data.evaluations.get(data.candidate, {}).get("prompt_tokens")
    other = data.evaluations.get(data.baseline, {}).get("prompt_tokens")
    if not mine or not other or mine == other:
        return None
    return float(mine), float(other), 1 - float(mine) / float(other)


def comparison_context(data: RunData) -> Context | None:
    """All systems: plot of values, plot of differences, table."""
    measured = [name for name in data.evaluations if data.interval(name)]
    if not measured:
        return None
    name = metric_name(data.metric)
    target = (data.config.get("goal") or {}).get("target", data.verdict.get("target"))
    margin = data.verdict.get("margin", (data.config.get("goal") or {}).get("margin"))
    ordered = sorted(measured, key=lambda system: (system != data.candidate, -data.interval(system)["value"]))
    rows = [_row(system, data.interval(system), system == data.candidate) for system in ordered]
    gaps = [(system, data.pair(system)) for system in ordered if data.pair(system)]
    differences = [
        plots.IntervalRow(system, pair["difference"], pair["low"], pair["high"], system == data.baseline)
        for system, pair in gaps
    ]
    every = [metric for system in measured for metric in data.evaluations[system]["metrics"]]
    spoken = "; ".join(f"{row.name} {percent(row.value)}" for row in rows)
    return {
        "plot": plots.interval_plot(rows, target=target, label=f"{name} of each system: {spoken}"),
        "differences": plots.difference_plot(
            differences, margin=margin, label=f"Advantage of {data.candidate} over each other system in points"
        )
        if differences
        else None,
        "margin": margin,
        "level": level_words(max((pair.get("level", 0.95) for _, pair in gaps), default=0.95)),
        "metrics": [name for name in dict.fromkeys(every) if name != data.metric],
        "systems": [_system(data, system) for system in ordered],
        "saving": token_saving(data),
        "examples": data.test_size,
    }


def _row(name: str, interval: Mapping[str, Any], strong: bool) -> plots.IntervalRow:
    return plots.IntervalRow(name, interval["value"], interval["low"], interval["high"], strong)


def _system(data: RunData, name: str) -> Context:
    record = data.evaluations[name]
    pair = data.pair(name)
    metrics = {
        metric: (percent(value["value"]), f"{percent(value['low'])} to {percent(value['high'])}")
        for metric, value in (record.get("metrics") or {}).items()
    }
    return {
        "name": name,
        "note": hosted_note(data.config, name)
        or choices.system_note(name, str(data.config.get("kind")), data.run.get("judged_by") or {}),
        "cost": per_1000(record),
        "strong": name == data.candidate,
        "primary": metrics[data.metric],
        "metrics": metrics,
        "difference": points(pair["difference"]) if pair else "",
        "difference_range": f"{points(pair['low'])} to {points(pair['high'])}" if pair else "",
        "p": p_value(pair["p_value"]) if pair else "",
        "test": TESTS.get(str(pair.get("test")), str(pair.get("test") or "")) if pair else "",
        "wins": pair.get("wins") if pair else None,
        "losses": pair.get("losses") if pair else None,
        "seconds": seconds(record.get("seconds_per_example")),
        "prompt_tokens": count(record.get("prompt_tokens")),
        "completion_tokens": count(record.get("completion_tokens")),
    }


def cases_context(data: RunData) -> Context | None:
    """Wins, losses and common failures, with the fields that differ marked."""
    mine = data.predictions.get(data.candidate, {})
    rival = data.predictions.get(data.baseline, {})
    groups = summary.instructive(data.examples, mine, rival, data.metric)
    if not any(groups):
        return None
    pair = data.pair(data.baseline)
    names = ("wins", "losses", "failures")
    return {name: [_case(data, case) for case in cases] for name, cases in zip(names, groups, strict=True)} | {
        "win_count": pair.get("wins"),
        "loss_count": pair.get("losses"),
    }


def _case(data: RunData, case: summary.Case) -> Context:
    target = case.example.get("target")
    sides = [(data.candidate, case.candidate), (data.baseline, case.rival)]
    values = [(side.get("parsed") or {}).get("value") for _, side in sides]
    pair = choices.both_answers(target) if isinstance(target, Mapping) and choices.is_choice(target) else None
    structured = isinstance(target, Mapping | list) and pair is None
    return {
        "input": as_text(summary.example_input(case.example), INPUT_CHARACTERS),
        "target": pair[0] if pair else as_text(target, VALUE_CHARACTERS),
        "rejected": pair[1] if pair else None,
        "answers": [_answer(data, name, side, target) for name, side in sides if side],
        "fields": [
            {
                "path": field.path,
                "target": _value(field.target),
                "sides": [
                    (_value(value), summary.same(value, field.target)) for value in (field.candidate, field.rival)
                ],
            }
            for field in summary.fields(target, *values)
        ]
        if structured
        else [],
    }


def _value(value: object) -> str:
    return "–" if value is MISSING else as_text(value, VALUE_CHARACTERS)


def _answer(data: RunData, name: str, side: Mapping[str, Any], target: object) -> Context:
    parsed = side.get("parsed") or {}
    text = as_text(parsed["value"] if parsed.get("value") is not None else side.get("text", ""), INPUT_CHARACTERS)
    choice = choices.preference_words(parsed.get("value")) if choices.is_choice(target) else ""
    chosen = bool(choice) and parsed["value"]["prefers"] == "chosen"
    confidence = side.get("confidence")
    free = data.config.get("kind") == "generation" and isinstance(target, str)
    score = (side.get("score") or {}).get(data.metric)
    return {
        "name": name,
        "text": choice or text,
        "parts": summary.word_diff(cut_noted(str(target), INPUT_CHARACTERS), text) if free else [],
        "right": chosen or (parsed.get("value") is not None and summary.same(parsed["value"], target)),
        "error": str(parsed["error"]) if parsed.get("error") else "",
        "confidence": percent(confidence, 0) if isinstance(confidence, int | float) else "",
        "score": percent(score, 0) if free and isinstance(score, int | float) else "",
    }


def weaknesses_context(data: RunData) -> Context | None:
    """Confusion matrix and per-class table, or per-field table, of the candidate (or else of the best system)."""
    system = data.candidate or data.baseline
    tables = data.evaluations.get(system, {}).get("tables") or {}
    context: Context = {"system": system, "matrix": None, "whole": None, "pairs": [], "labels": 0}
    if confusion := summary.confusion_table(tables):
        context["pairs"] = summary.confused_pairs(confusion)
        context["labels"] = len(confusion.rows)
        small = len(confusion.rows) <= MOST_NAMED
        part = confusion if small else summary.confused_part(confusion)
        context["matrix"] = plots.heat_map(*part, label=f"Confusion matrix of {system}")
        context["whole"] = None if small else plots.heat_map(*confusion, label=f"All labels of {system}")
    context["tables"] = [table for table in summary.score_tables(tables) if table.rows]
    return context if context["matrix"] or context["tables"] else None


def confidence_context(data: RunData) -> Context | None:
    """What would be if unsure answers went to a person, and how far confidence can be believed."""
    answers = list(data.predictions.get(data.candidate or data.baseline, {}).values())
    rows = summary.confidence_rows(answers, data.metric)
    if len(rows) < 2:
        return None
    line = [(confidence, value) for confidence, value, _ in summary.reliability(answers, data.metric)]
    return {
        "system": data.candidate or data.baseline,
        "rows": rows,
        "plot": plots.line_plot(
            [plots.Series("measured", "metric", line)],
            x_name="confidence",
            share=True,
            diagonal=True,
            label="Measured quality by confidence; on the dashed line confidence is exactly right",
        ),
    }


def reproduce_context(data: RunData) -> Context | None:
    """Settings, versions, machine, hashes and timings."""
    import yaml

    if not data.run:
        return None
    known = ("seed", "git_commit", "data_fingerprint", "command", "base_model_hash", "adapter_hash")
    facts = [(key.replace("_", " ").capitalize(), as_text(data.run[key])) for key in known if data.run.get(key)]
    timings = [(str(name), float(took)) for name, took in (data.run.get("timings") or {}).items() if _number(took)]
    config = yaml.safe_dump(data.config, sort_keys=False, allow_unicode=True, width=100) if data.config else ""
    return {
        "command": str(data.run.get("command") or "burnish run burnish.yaml"),
        "facts": [fact for fact in facts if fact[0] != "Command"],
        "machine": [(key, as_text(value)) for key, value in summary.flatten(data.run.get("machine") or {}).items()],
        "versions": [(key, as_text(value)) for key, value in summary.flatten(data.run.get("versions") or {}).items()],
        "config": cut_noted(config, 20_000),
        "timings": plots.bar_plot(timings, label="Time of each stage", unit=seconds) if timings else None,
        "total": seconds(sum(took for _, took in timings)) if timings else "",
    }


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
