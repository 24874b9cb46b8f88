"""From measurements to the facts that the rules decide from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from burnish.advice.cost_report import HERE, CostInputs, SystemUse, cost_report
from burnish.advice.facts import CurveFact, DataFacts, Difference, Facts, KnowledgeFact, SystemFact, SystemKind
from burnish.advice.prices import price_list
from burnish.advice.result import Curve
from burnish.advising.curves import later, rows_seen
from burnish.advising.labels import WRONG_LABELS
from burnish.config import TaskConfig
from burnish.records import DataReport, Evaluation, Paired

KINDS: dict[str, SystemKind] = {
    "majority": "majority",
    "prompt": "prompt",
    "few_shot": "few_shot",
    "embedding_probe": "probe",
    "rag": "rag",
    "tuned": "tuned",
}


def data_facts(report: DataReport, rows: int) -> DataFacts:
    """What the check found, as shares of its rows. rows: to train on."""
    counts: dict[str, int] = {}
    for finding in report.findings:
        counts[finding.kind] = max(counts.get(finding.kind, 0), finding.count)
    labels = report.stats.get("labels") or {}
    total = max(report.rows, 1)
    return DataFacts(
        rows=rows,
        classes=len(labels) or None,
        smallest_class=min(labels.values(), default=None),
        errors=sum(finding.severity == "error" for finding in report.findings),
        wrong=float(str(report.stats.get(WRONG_LABELS, 0.0))),
        conflicting=min(1.0, counts.get("conflicting_answers", 0) / total),
        duplicates=min(1.0, counts.get("exact_duplicate", 0) / total),
    )


def facts_of(
    config: TaskConfig,
    report: DataReport,
    rows: int,
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Paired],
    curves: Sequence[Curve],
    knowledge: KnowledgeFact | None = None,
) -> Facts:
    """Everything the rules ask for. evaluations: of the systems, without the small trainings; rows: to train on."""
    goal, metric = config.goal, next(iter(evaluations[0].metrics)) if evaluations else config.goal.metric or ""
    examples = evaluations[0].examples if evaluations else 0
    tuned = next((curve for curve in curves if curve.system == "tuned"), None)
    costs = request_costs(config, evaluations, tuned)
    systems = [_measured(one, metric, costs) for one in evaluations]
    if tuned is not None:
        kind: SystemKind = "rag_tuned" if config.training.context == "retrieved" else "tuned"
        systems.append(_forecast(tuned, kind, costs))
    return Facts(
        metric=metric,
        systems=tuple(systems),
        data=data_facts(report, rows),
        margin=goal.margin,
        target=goal.target,
        differences=tuple(
            Difference(pair.candidate, pair.baseline, pair.difference, pair.low, pair.high) for pair in pairs
        ),
        knowledge=knowledge,
        curve=_curve_fact(curves, examples),
        context=config.context,
    )


def kind_of(name: str) -> SystemKind:
    """A system's kind by its name; hosted models are asked with a prompt."""
    return KINDS.get(name.partition(":")[0], "prompt")


def _measured(one: Evaluation, metric: str, costs: Mapping[str, float]) -> SystemFact:
    interval = one.metrics[metric]
    return SystemFact(
        one.system,
        kind_of(one.system),
        interval.value,
        min(interval.low, interval.value),
        max(interval.high, interval.value),
        cost_per_1000=costs.get(one.system),
        seconds=one.seconds_per_example,
        prompt_tokens=one.prompt_tokens,
        hosted=one.system not in KINDS,
    )


def _forecast(curve: Curve, kind: SystemKind, costs: Mapping[str, float]) -> SystemFact:
    """The tuned model with all rows, as its learning curve has it."""
    last = curve.points[-1]
    return SystemFact(
        "tuned",
        kind,
        curve.value,
        min(curve.low, curve.value),
        max(curve.high, curve.value),
        cost_per_1000=costs.get("tuned"),
        first_cost=costs.get("training"),
        seconds=last.seconds_per_example,
        prompt_tokens=last.prompt_tokens,
        forecast=not curve.measured,
    )


def _curve_fact(curves: Sequence[Curve], examples: int) -> CurveFact | None:
    """The best curve's answer about the target."""
    asked = [curve for curve in curves if curve.reach is not None]
    if not asked:
        return None
    curve = max(asked, key=lambda one: one.value)
    reach = curve.reach
    assert reach is not None
    rows_later, value, low, high = later(curve, examples)
    return CurveFact(
        rows=curve.points[-1].rows,
        target=reach.target,
        answer=reach.answer,
        probability=reach.probability,
        rows_needed=reach.rows,
        cost=reach.cost,
        value_now=curve.value,
        value_later=value,
        low_later=low,
        high_later=high,
        rows_later=rows_later,
    )


def request_costs(config: TaskConfig, evaluations: Sequence[Evaluation], tuned: Curve | None) -> dict[str, float]:
    """USD of 1,000 requests by system, and of the whole training ("training"), on this machine.

    Nothing where the task file says neither watts nor what an hour of the machine costs: 0 would be no measurement.
    """
    settings = config.costs
    if not settings.watts and not settings.machine_per_hour:
        return {}
    uses = [
        SystemUse(one.system, one.prompt_tokens, one.completion_tokens, HERE, one.seconds_per_example)
        for one in evaluations
        if one.system in KINDS and one.system != "majority"
    ]
    seconds: dict[str, float] = {}
    if tuned is not None:
        last = tuned.points[-1]
        uses.append(
            SystemUse("tuned", last.prompt_tokens, last.completion_tokens, HERE, last.seconds_per_example, tuned=True)
        )
        whole = rows_seen(config.training, tuned.rows, tuned.rows)
        seconds[HERE] = last.seconds * whole / rows_seen(config.training, last.rows, tuned.rows)
    wages = [] if settings.hourly_wage is None else [f"labour/labelling={settings.hourly_wage}"]
    today = datetime.now(UTC).date()
    inputs = CostInputs(
        name=config.name,
        rows=0 if tuned is None else tuned.rows,
        tokens=0,
        epochs=config.training.num_epochs,
        systems=tuple(uses),
        candidate="tuned",
        seconds=seconds,
        watts=settings.watts,
        per_hour=settings.machine_per_hour,
    )
    report = cost_report(inputs, price_list(settings.prices, wages, today), today)
    found = {one.system: one.per_1000.value for one in report.serving if one.per_1000 is not None}
    if report.training:
        found["training"] = report.training[0].cost.value
    return found
