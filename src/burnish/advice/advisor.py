"""From measured facts to one choice: a pure function, the same answer for the same facts.

The order of the rules, the first that applies decides:

1. Data with errors, or with many wrong labels, are mended first: nothing measured on them can be relied on.
2. The context rules systems out: hosted ones for private inputs, slow ones, those without citations, tuned ones when
   the answers change often and knowledge is what is missing.
3. Of what is left, a system counts unless another one is credibly better by the margin (difference at least the
   margin, interval above zero: the verdict's own rule; of a forecast, above zero with a probability of FORECAST_SURE,
   since a run will prove it). Of those that count and reach the target, the cheapest; a forecast reaches it where it
   is above with a probability of 1 - FORECAST_SURE, since the training that settles it comes before more labelling.
4. Where none reaches it, what is missing decides: knowledge (retrieval), behaviour (tuning), rows (more data).

Raising a system's value never makes it less recommended: who counts, who reaches the target and the order of cost
each depend on the value in that direction only. tests/advice/test_advisor.py checks it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import NamedTuple

from burnish.advice import rules
from burnish.advice.facts import CHOICE_OF, Choice, Facts, Reason, SystemFact
from burnish.advice.words import measured, percent, points, range_words

# The order in which the field tries things: each is more work to build and to keep than the one before.
LADDER = ("prompt", "few_shot", "probe", "rag", "tuned", "rag_tuned")
FORECAST_SURE = 0.8
CHEAP = 100.0  # USD a year below which costs count as equal; above it, within each doubling


_SHORTER = NormalDist().inv_cdf(FORECAST_SURE) / NormalDist().inv_cdf(0.975)


class Decision(NamedTuple):
    """What the rules say, without runner-up and changes."""

    choice: Choice
    system: SystemFact | None
    reasons: tuple[Reason, ...]
    left_out: tuple[Reason, ...] = ()


def decide(facts: Facts, without: frozenset[Choice] = frozenset()) -> Decision:
    """The rules in order. without: choices that may not be taken (to find the runner-up)."""
    if "fix_data" not in without and (bad := rules.bad_data(facts.data)):
        return Decision("fix_data", None, bad)
    kept, left_out = _admissible(facts, without)
    if not kept:
        return _nothing_left(facts, without, left_out)
    counting = [one for one in kept if not any(beats(facts, other, one) for other in kept)]
    bar = rules.bar(facts)
    reaching = [one for one in counting if bar is None or hopeful(one) >= bar]
    chosen = min(reaching or counting, key=lambda one: _order(facts, one, kept))
    if not reaching and (missing := _missing(facts, chosen, kept, without, left_out)):
        return missing
    reasons = [*_why(facts, chosen, kept, counting, bar)]
    if not reaching:
        reasons.append(
            measured(
                f"It stays below the {percent(bar or 0)} that are wanted, and so does everything measured.", chosen
            )
        )
    return Decision(CHOICE_OF[chosen.kind], chosen, tuple(reasons), left_out)


def _admissible(facts: Facts, without: frozenset[Choice]) -> tuple[list[SystemFact], tuple[Reason, ...]]:
    """Systems that may be recommended, and why others may not."""
    kept, out = [], []
    for system in facts.systems:
        if system.kind == "majority" or CHOICE_OF[system.kind] in without:
            continue
        reason = rules.ruled_out(facts, system)
        if reason is None:
            kept.append(system)
        else:
            out.append(reason)
    return kept, tuple(out)


def difference(facts: Facts, better: SystemFact, worse: SystemFact) -> tuple[float, float, bool]:
    """better minus worse, its lower bound, and whether it is paired. Without pairs: the two intervals' half-widths
    combined as for independent samples (Newcombe 1998, method 10). The bound of a forecast is not that of a 95%
    interval, but what it exceeds with a probability of FORECAST_SURE."""
    for pair in facts.differences:
        if (pair.candidate, pair.baseline) == (better.name, worse.name):
            return pair.difference, pair.low, True
        if (pair.candidate, pair.baseline) == (worse.name, better.name):
            return -pair.difference, -pair.high, True
    gap = better.value - worse.value
    below = math.hypot(better.value - better.low, worse.high - worse.value)
    return gap, gap - (_SHORTER if better.forecast else 1.0) * below, False


def hopeful(system: SystemFact) -> float:
    """Its value; of a forecast what it exceeds with a probability of 1 - FORECAST_SURE."""
    return system.value + (_SHORTER * (system.high - system.value) if system.forecast else 0.0)


def beats(facts: Facts, better: SystemFact, worse: SystemFact) -> bool:
    """Whether it is credibly better by the margin: the rule of the verdict (evaluation/gate.py)."""
    gap, low, _ = difference(facts, better, worse)
    return gap >= facts.margin - 1e-9 and low > 0


def yearly(facts: Facts, system: SystemFact) -> float | None:
    """USD in the first year at the context's volume, None where volume or cost are not known."""
    volume = facts.context.requests_per_day
    if volume is None or system.cost_per_1000 is None:
        return None
    if system.first_cost is None and system.kind in ("tuned", "rag_tuned"):
        return None
    return (system.first_cost or 0.0) + 365 * volume / 1000 * system.cost_per_1000


def _order(facts: Facts, system: SystemFact, kept: Iterable[SystemFact]) -> tuple[float, int, float, str]:
    """What comes first is cheaper: by cost where it is known of all, in steps of a doubling; then by the ladder."""
    costs = [yearly(facts, one) for one in kept]
    own = yearly(facts, system)
    step = 0.0
    if own is not None and None not in costs:
        step = math.floor(math.log2(max(own, CHEAP) / CHEAP) + 1e-9)
    return step, LADDER.index(system.kind), own or 0.0, system.name


def _why(
    facts: Facts, chosen: SystemFact, kept: list[SystemFact], counting: list[SystemFact], bar: float | None
) -> Iterable[Reason]:
    """Why this one: its value, the others', its cost."""
    what = "is forecast to reach" if chosen.forecast else "reaches"
    yield measured(f"{chosen.name} {what} {range_words(chosen)} {facts.metric}.", chosen)
    best = max(kept, key=lambda one: (one.value, one.name))
    if best.name != chosen.name:
        gap, low, paired = difference(facts, best, chosen)
        if best in counting and not beats(facts, best, chosen):
            yield Reason(
                f"{best.name} is {points(gap)} better, but not credibly by the margin of {points(facts.margin)}: the "
                f"interval of the difference begins at {points(low)}{_how_sure(best)}.",
                "measured",
                f"difference of {best.name} and {chosen.name}, {_how(paired)}",
            )
    for other in sorted(kept, key=lambda one: one.name):
        if other.name != chosen.name and beats(facts, chosen, other):
            gap, low, paired = difference(facts, chosen, other)
            yield Reason(
                f"It is {points(gap)} better than {other.name} (at least {points(low)}{_how_sure(chosen)}).",
                "measured",
                f"difference of {chosen.name} and {other.name}, {_how(paired)}",
            )
    if bar is not None and chosen.value >= bar:
        yield rules.bar_reason(facts, bar)
    elif bar is not None and hopeful(chosen) >= bar:
        yield rules.hope_reason(bar, 1 - FORECAST_SURE)
    own = yearly(facts, chosen)
    if own is not None and facts.context.requests_per_day is not None:
        yield Reason(
            f"It costs {own:,.0f} USD in the first year at {facts.context.requests_per_day:,.0f} requests a day.",
            "measured",
            "cost of 1,000 requests, and context.requests_per_day",
        )
    yield rules.ladder_reason()
    yield from rules.cautions(facts, chosen)


def _how_sure(system: SystemFact) -> str:
    return f" with a probability of {FORECAST_SURE:.0%}" if system.forecast else ""


def _how(paired: bool) -> str:
    return "paired" if paired else "the two intervals compared"


def _missing(
    facts: Facts,
    chosen: SystemFact,
    kept: list[SystemFact],
    without: frozenset[Choice],
    left_out: tuple[Reason, ...],
) -> Decision | None:
    """Nothing reaches the bar: what to try that was not measured, or to get. None: nothing is known to help."""
    kinds = {one.kind for one in kept}
    best = max(kept, key=lambda one: one.value)
    bar = rules.bar(facts) or 0.0
    short = measured(
        f"The best of what was measured, {best.name}, has {range_words(best)} {facts.metric}, below {percent(bar)}.",
        best,
    )

    def take(choice: Choice, *reasons: Reason, system: SystemFact | None = None) -> Decision:
        return Decision(choice, system, (short, *reasons), left_out)

    knowledge = rules.knowledge_missing(facts)
    if knowledge is not None and knowledge.missing:
        enough = facts.knowledge is not None and facts.knowledge.with_document >= bar
        if enough and "rag" not in without:
            tested = next((one for one in kept if one.kind == "rag"), None)
            return take("rag", knowledge.reason, rules.retrieval_reason(tested), system=tested)
        if (
            not enough
            and "rag_tuned" not in kinds
            and "rag_and_fine_tune" not in without
            and rules.enough_rows(facts)
        ):
            return take("rag_and_fine_tune", knowledge.reason, rules.both_reason(facts, bar))
        if "rag" not in kinds and "rag" not in without:
            return take("rag", knowledge.reason, rules.retrieval_reason(None))
    behaviour = () if knowledge is None else (knowledge.reason,)
    if not kinds & {"tuned", "rag_tuned"}:
        if rules.enough_rows(facts):
            if facts.context.needs_citations:
                if "rag_and_fine_tune" not in without:
                    return take("rag_and_fine_tune", rules.citations_reason(), rules.tuning_reason(facts))
            elif "fine_tune" not in without and rules.may_tune(facts):
                return take("fine_tune", *behaviour, rules.tuning_reason(facts))
        elif "more_data" not in without:
            return take("more_data", *behaviour, rules.few_rows_reason(facts))
    majority = next((one for one in facts.systems if one.kind == "majority"), None)
    if majority is not None and best.value <= majority.value and "fix_data" not in without:
        return take("fix_data", rules.nothing_learnt_reason(majority))
    if facts.curve is not None and "more_data" not in without and facts.curve.probability >= 0.5:
        return take("more_data", rules.curve_reason(facts.curve))
    return None


def _nothing_left(facts: Facts, without: frozenset[Choice], left_out: tuple[Reason, ...]) -> Decision:
    """The context leaves none of what was measured."""
    reasons = left_out or (Reason("No other system was measured.", "measured", "the list of systems"),)
    if facts.context.needs_citations and "rag" not in without:
        return Decision("rag", None, (rules.citations_reason(), *reasons), left_out)
    if rules.enough_rows(facts) and rules.may_tune(facts) and "fine_tune" not in without:
        return Decision("fine_tune", None, (*reasons, rules.small_model_reason()), left_out)
    if "more_data" not in without:
        return Decision("more_data", None, (*reasons, rules.few_rows_reason(facts)), left_out)
    return Decision("keep_prompt", None, reasons, left_out)
