"""Run folders as a run leaves them, built from the records themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from burnish.evaluation import calibration
from burnish.evaluation.measures import Calibration, Coverage, Slice, Slices
from burnish.records import (
    DataReport,
    Evaluation,
    Example,
    Finding,
    Forgetting,
    Interval,
    Message,
    Paired,
    Parsed,
    Prediction,
    ProbeAnswer,
    Source,
    TrainingResult,
    Verdict,
)
from burnish.tasks.classification import Classification, classification_metrics
from burnish.tasks.extraction import Extraction, extraction_metrics
from burnish.tasks.preference import Preference, preference_metrics
from burnish.tasks.tool_calling import ToolCalling, tool_calling_metrics

EVIL = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "extraction": ("exact_match", "field_f1", "field_accuracy", "valid"),
    "generation": ("chrf", "exact_match", "token_f1", "rouge_l"),
    "tool_calling": ("call_match", "name_match", "argument_f1", "valid"),
    "preference": ("pair_accuracy", "length_controlled_win_rate"),
}
SKILL = {"majority": 0.02, "prompt": 0.15, "few_shot": 0.45, "tuned": 0.86}
PROMPTS = {"majority": 0, "prompt": 143, "few_shot": 612, "tuned": 41}
OPERATIONS = ["Bypass", "Excision", "Drainage", "Insertion", "Repair", "Replacement"]
PARTS = ["Cerebral Ventricle", "Coronary Artery, One Artery", "Upper Lobe Bronchus, Right", "Liver", "Knee Joint"]
INTENTS = ["card_arrival", "lost_or_stolen_card", "exchange_rate", "top_up_failed", "pin_blocked"]


@dataclass(frozen=True)
class Row:
    id: str
    input: str
    target: Any
    wrong: Any


def _rows(kind: str, count: int, labels: Sequence[str], rng: random.Random) -> list[Row]:
    rows = []
    for index in range(count):
        id_ = f"{index:08x}"
        if kind == "classification":
            target, wrong = rng.sample(list(labels), 2)
            rows.append(
                Row(id_, f"Customer message {index}: what about my {target.replace('_', ' ')}?", target, wrong)
            )
        elif kind == "extraction":
            target = {
                "operation": rng.choice(OPERATIONS),
                "body_part": rng.choice(PARTS),
                "approach": rng.choice(["Open", "Percutaneous", "Via Natural Opening"]),
                "device": rng.choice(["Autologous Tissue Substitute", "None"]),
                "qualifier": None,
            }
            wrong = dict(target) | {"body_part": "Aorta", "approach": "External"}
            rows.append(
                Row(
                    id_,
                    f"{target['operation'][:6]} {target['body_part'][:8]} w Autol Sub, Opn {index}",
                    target,
                    wrong,
                )
            )
        elif kind == "generation":
            target = f"Your order {index} left our warehouse on Monday and arrives within three days."
            rows.append(Row(id_, f"Where is order {index}?", target, f"The order {index} arrives within four weeks."))
        elif kind == "preference":
            target = {"chosen": f"Order {index} left on Monday.", "rejected": f"No idea about {index}."}
            rows.append(Row(id_, f"Where is order {index}?", target, None))
        else:
            target = [{"name": "get_weather", "arguments": {"city": rng.choice(["Oslo", "Lima"]), "days": index % 5}}]
            wrong = [{"name": "get_weather", "arguments": {"city": "Paris"}}]
            rows.append(Row(id_, f"Forecast question {index}", target, wrong))
    return rows


def _answer(kind: str, row: Row, right: bool, rng: random.Random, metrics: Sequence[str]) -> Prediction:
    if kind == "preference":
        return _choice(row, right, rng, metrics)
    broken = not right and kind != "generation" and rng.random() < 0.2
    value = row.target if right else row.wrong
    text = value if isinstance(value, str) else json.dumps(value)
    parsed = Parsed(None, "not valid JSON: line 1, column 9") if broken else Parsed(value)
    score = {
        name: (1.0 if right else 0.0 if name in ("accuracy", "exact_match", "call_match") else 0.4)
        for name in metrics
    }
    confidence = min(0.999, max(0.05, rng.gauss(0.93 if right else 0.62, 0.12)))
    return Prediction(row.id, text[:9] if broken else text, parsed, confidence, 41, 25, 0.21, score)


def _choice(row: Row, right: bool, rng: random.Random, metrics: Sequence[str]) -> Prediction:
    """What a judge makes of a pair, as systems/judge.py leaves it."""
    margin = rng.uniform(0.1, 3) * (1 if right else -1)
    prefers = "chosen" if right else "rejected"
    value = {"margin": margin, "prefers": prefers, "chosen_tokens": rng.randint(3, 30), "rejected_tokens": 12}
    score = dict.fromkeys(metrics, float(right))
    return Prediction(row.id, row.target[prefers], Parsed(value), 1 / (1 + 2.718 ** -abs(margin)), 41, 25, 0.2, score)


def _evaluation(
    system: str, predictions: Sequence[Prediction], metrics: Sequence[str], tables: dict[str, Any]
) -> Evaluation:
    found = {}
    for name in metrics:
        value = sum(p.score[name] for p in predictions) / len(predictions)
        half = 1.96 * (value * (1 - value) / len(predictions)) ** 0.5
        found[name] = Interval(value, max(0.0, value - half), min(1.0, value + half), "wilson")
    return Evaluation(
        system, "test", len(predictions), found, 0.12 + PROMPTS[system] / 900, PROMPTS[system], 27.4, tables
    )


def _tables(kind: str, rows: Sequence[Row], answers: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    """What the real tasks make of these answers, so that a change of their tables' shape is noticed here."""
    examples = [Example(row.id, (Message("user", row.input),), row.target, Source("x.jsonl", 1)) for row in rows]
    parsed = [answer.parsed for answer in answers]
    if kind == "classification":
        known = tuple(labels)
        return Classification("t", "i", known, classification_metrics(known)).tables(examples, parsed)
    if kind == "extraction":
        return Extraction("t", "i", {"type": "object"}, extraction_metrics()).tables(examples, parsed)
    if kind == "tool_calling":
        return ToolCalling("t", "i", (), tool_calling_metrics()).tables(examples, parsed)
    if kind == "preference":
        return Preference("t", "i", preference_metrics()).tables(examples, parsed)
    return {}


def _history(metric: str) -> list[dict[str, Any]]:
    rng = random.Random(3)
    lines: list[dict[str, Any]] = []
    for step in range(1, 133):
        loss = 1.9 * 2.718 ** (-step / 22) + 0.09 + rng.random() * 0.05
        lines.append({"step": step, "loss": loss, "learning_rate": 1e-3, "tokens_per_second": 440.0})
        if step % 22 == 0:
            lines.append(
                {
                    "step": step,
                    "validation_loss": loss * 1.1 + 0.03,
                    "metric": metric,
                    "validation_metric": min(0.88, 0.2 + step / 160),
                }
            )
    return lines


def _dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def _dump_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def config(kind: str, instruction: str = "Turn the procedure shorthand into JSON.") -> dict[str, Any]:
    return {
        "name": {"extraction": "procedure-coding"}.get(kind, f"{kind}-demo"),
        "kind": kind,
        "instruction": instruction,
        "data": {"train": ["procedures.jsonl"]},
        "goal": {"metric": METRICS[kind][0], "target": 0.8, "margin": 0.05},
        "model": "smollm2-135m-instruct",
        "training": {"method": "lora", "lora_r": 16, "lora_alpha": 32, "learning_rate": 1e-3, "num_epochs": 2},
        "seed": 7,
    }


def _verdict(kind: str, decision: str) -> Verdict:
    metric = METRICS[kind][0]
    rival = "prompt" if kind == "preference" else "few_shot"
    if decision == "ship":
        reasons = (
            "tuned beats few_shot by 41.0 points, at least the margin of 5.0",
            "the 95% interval of the difference, 33.5 to 48.5 points, lies above zero",
            "tuned reaches 86.0%, at least the target of 80.0%",
        )
        return Verdict("ship", "tuned", rival, metric, reasons, (), 0.05, 0.8, 1)
    reasons = (
        "tuned reaches 61.0%, below the target of 80.0%",
        "the 95% interval of the difference, -2.0 to 9.5, holds zero",
    )
    advice = (
        "Add about 400 examples: the learning curve still rises.",
        "Look at the five labels that are confused most.",
    )
    return Verdict("hold", "tuned", rival, metric, reasons, advice, 0.05, 0.8, 3)


def _report(kind: str, labels: Sequence[str], rng: random.Random) -> DataReport:
    edges = list(range(0, 320, 20))
    counts = [int(400 * 2.7 ** (-(((low - 90) / 55) ** 2))) for low in edges[:-1]]
    tokens: dict[str, Any] = {"sample": 1400, "of": 1400, "max_length": 256, "p50": 92.0, "p99": 201.0, "max": 287.0}
    tokens |= {"truncated": 3, "histogram": {"counts": counts, "edges": edges}}
    stats: dict[str, Any] = {"rows": 1400, "tokens": tokens}
    if kind == "classification":
        stats["labels"] = {label: rng.randint(12, 180) for label in labels}
    if kind == "preference":
        stats["pairs"] = {"pairs": 1400, "chosen_longer": 900, "chosen_shorter": 480, "same_length": 20}
    findings = (
        Finding("imbalance", "info", 1, "the largest class has 15 times the rows of the smallest", "", ()),
        Finding(
            "duplicate",
            "warning",
            14,
            "14 rows are exact copies of others",
            "copies stay in one part of the split",
            tuple(Source("procedures.jsonl", 10 + i) for i in range(5)),
        ),
    )
    return DataReport(1400, findings, stats)


def _calibration(system: str, answers: Sequence[Prediction], metric: str) -> Calibration:
    """With a temperature of 2 from 100 validation answers; right is what scores more than a half."""
    sure = np.array([answer.confidence or 0.5 for answer in answers])
    right = np.array([float(answer.score[metric] > 0.5) for answer in answers])
    mended = calibration.scaled(sure, 2.0)
    curve = calibration.risk_coverage(mended, right)
    points = [replace(calibration.threshold_for(curve, at) or Coverage(1, 0, 0), wanted=at) for at in (0.8, 0.99)]
    parts = calibration.reliability(sure, right), calibration.reliability(mended, right)
    return Calibration(system, metric, parts[0], 2.0, 100, parts[1], 0.1, tuple(points))


def _slices(rival: str, metric: str, evil: bool) -> Slices:
    """50 slices, of which one got worse and one better; two are too small."""

    def one(name: str, gap: float, change: Any) -> Slice:
        low, high = gap - 0.2, gap + 0.2
        return Slice("class", name, 40, metric, 0.6 + gap, 0.6, gap, low, high, 0.999, 0.001, change)

    named = [one(EVIL if evil else "Knee", -0.25, "worse"), one("Liver", 0.3, "better")]
    rest = [one(f"Part {n}", 0.1, "unclear") for n in range(48)]
    return Slices("tuned", rival, (*named, *rest), 2, 10)


def _probes(root: Path, evil: bool) -> Forgetting:
    """100 general questions: 70 right before, 62 after, 12 lost and 4 gained."""
    choices = ("grass", "snow", "coal", EVIL if evil else "milk")
    right = {"before": set(range(70)), "after": set(range(12, 74))}
    for name, places in right.items():
        answers = [
            ProbeAnswer(
                f"{n:016x}", f"General question {n}?", choices, 1, 1 if n in places else 3, (-1.0, -1.1, -2.0, -1.2)
            )
            for n in range(100)
        ]
        _dump_lines(root / "probe" / f"{name}.jsonl", [asdict(answer) for answer in answers])
    before, after = Interval(0.70, 0.604, 0.781, "wilson"), Interval(0.62, 0.522, 0.709, "wilson")
    return Forgetting("built-in", 100, 0.25, before, after, -0.08, -0.159, -0.002, 0.077, 4, 12, 0.05)


def build(
    root: Path,
    kind: str = "extraction",
    *,
    decision: str = "ship",
    labels: Sequence[str] = INTENTS,
    count: int = 200,
    evil: bool = False,
    systems: Sequence[str] = ("majority", "prompt", "few_shot", "tuned"),
    overfit: str | None = None,
) -> Path:
    """A finished run. evil plants a script in inputs, labels, answers and the instruction."""
    rng = random.Random(7)
    metrics = METRICS[kind]
    labels = [*labels[:-1], EVIL] if evil else list(labels)
    rows = _rows(kind, count, labels, rng)
    if evil:
        rows = [Row(row.id, f"{EVIL} {row.input}", row.target, row.wrong) for row in rows]
        for row in rows if kind == "preference" else ():
            row.target["chosen"] = f"{EVIL} {row.target['chosen']}"
    answers, evaluations = {}, {}
    for name in systems:
        answers[name] = [_answer(kind, row, rng.random() < SKILL[name], rng, metrics) for row in rows]
        tables = _tables(kind, rows, answers[name], labels)
        evaluations[name] = _evaluation(name, answers[name], metrics, tables)
        _dump_lines(root / "predictions" / f"{name}.jsonl", [asdict(answer) for answer in answers[name]])
    paired = []
    for name in systems:
        if name == "tuned" or "tuned" not in systems:
            continue
        gaps = [
            a.score[metrics[0]] - b.score[metrics[0]] for a, b in zip(answers["tuned"], answers[name], strict=True)
        ]
        gap = sum(gaps) / count
        wins, losses = sum(g > 0 for g in gaps), sum(g < 0 for g in gaps)
        paired.append(Paired("tuned", name, metrics[0], gap, gap - 0.075, gap + 0.075, 1e-9, "mcnemar", wins, losses))
    calibrations = [_calibration(name, answers[name], metrics[0]) for name in systems if name == "tuned"]
    forgetting = _probes(root, evil) if "tuned" in systems else None
    _dump(
        root / "evaluation.json",
        {"systems": {n: asdict(e) for n, e in evaluations.items()}, "paired": [asdict(p) for p in paired],
         "forgetting": forgetting and asdict(forgetting), "calibration": [asdict(c) for c in calibrations],
         "slices": asdict(_slices(systems[-2], metrics[0], evil)) if "tuned" in systems else None},
    )  # fmt: skip
    _dump_lines(root / "test_examples.jsonl", [{"id": r.id, "input": r.input, "target": r.target} for r in rows])
    if "tuned" in systems:
        _dump(root / "verdict.json", asdict(_verdict(kind, decision)))
        _dump_lines(root / "metrics.jsonl", _history(metrics[0]))
    _dump(root / "data_report.json", asdict(_report(kind, labels, rng)))
    ids = [f"{index:08x}" for index in range(1400)]
    split = {"train": ids[:1050], "validation": ids[1050:1200], "test": ids[1200:], "sealed_hash": "3f" * 32}
    _dump(root / "split.json", split)
    result = TrainingResult(
        "adapter", 132, 110, 228_000, 61_000, 515.0, 3420.0, 4_884_480, 139_399_488, False, overfit, ()
    )
    _dump(
        root / "run.json",
        {
            "run_id": root.name,
            "status": "done",
            "created": "2026-11-22T18:30:05+00:00",
            "command": "burnish run examples/procedure-coding",
            "config": config(kind, f"{EVIL} Do it." if evil else "Turn the procedure shorthand into JSON."),
            "versions": {"burnish": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0"},
            "machine": {"cpu": "Xeon", "cores": 2, "memory_gb": 15.6, "platform": "Linux-6.1"},
            "judged_by": {"prompt": "average", "tuned": "implicit_reward"} if kind == "preference" else {},
            "seed": 7,
            "git_commit": "0123abcd" * 5,
            "data_fingerprint": "ab" * 32,
            "training": asdict(result) if "tuned" in systems else None,
            "mixture": [
                {
                    "name": EVIL if evil else "replay",
                    "rows": 64,
                    "weight": None,
                    "share": 0.1,
                    "answers": "base",
                    "fingerprint": "cd" * 32,
                    "per_epoch": 117,
                    "share_of_epoch": 0.1003,
                    "used": 60,
                }
            ],
            "timings": {"checking": 1.2, "splitting": 0.3, "baselines": 141.0, "training": 515.0, "evaluating": 44.0},
        },
    )
    return root
