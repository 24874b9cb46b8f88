"""The field's rules, each with its threshold and where it is from. docs/advice.md lists them."""

from __future__ import annotations

from typing import NamedTuple

from burnish.advice.facts import CurveFact, DataFacts, Facts, Reason, SystemFact
from burnish.advice.words import percent, points

FIELD = "the field's glossaries of fine-tuning"
FEW_ROWS = 100  # "fewer than 100 examples rarely pays"
PER_CLASS = 50  # "50 to 200 examples a class"
GOOD_PROMPT = 0.90  # "keep a prompt that is above 90%"
# Northcutt et al. 2021 ("Pervasive label errors in test sets destabilize machine learning benchmarks") find
# 3.3% wrong labels on average in ten public test sets, and rankings of models that turn round at 6%.
WRONG = 0.06


def bad_data(data: DataFacts) -> tuple[Reason, ...]:
    """Why the data must be mended first; empty when they need not."""
    found = []
    if data.errors:
        word = "finding" if data.errors == 1 else "findings"
        found.append(
            Reason(
                f"The data check has {data.errors} {word} of severity error: nothing measured on such data can be "
                "relied on.",
                "measured",
                "burnish check",
            )
        )
    share = max(data.wrong, data.conflicting)
    if share >= WRONG:
        what = (
            f"At least {percent(share)} of the labels are wrong, by the rows that an embedding probe is surest of"
            if data.wrong >= data.conflicting
            else f"{percent(share)} of the rows have answers that contradict each other"
        )
        found.append(
            Reason(
                f"{what}; from about 6% on, label errors turn the ranking of systems round.",
                "measured",
                "burnish check; Northcutt et al. 2021",
            )
        )
    return tuple(found)


def bar(facts: Facts) -> float | None:
    """What a system has to reach: the target; without one, 90% as long as no tuned system is known; else nothing."""
    if facts.target is not None:
        return facts.target
    known = any(system.kind in ("tuned", "rag_tuned") for system in facts.systems)
    return None if known else GOOD_PROMPT


def bar_reason(facts: Facts, wanted: float) -> Reason:
    """Why reaching the bar is enough."""
    if facts.target is not None:
        return Reason(f"It reaches the target of {percent(wanted)}.", "measured", "goal.target")
    return Reason("What is above 90% already seldom gains from training: keep it.", "rule", FIELD)


def hope_reason(wanted: float, probability: float) -> Reason:
    """Why a forecast below the bar is followed."""
    return Reason(
        f"It reaches the {percent(wanted)} that are wanted with a probability of {probability:.0%} or more, and a "
        "training that settles it costs less than labelling more rows.",
        "measured",
        "learning curve, and goal.target",
    )


def ladder_reason() -> Reason:
    """Why the cheaper one is preferred."""
    return Reason(
        "Of systems that are not credibly apart, the cheapest is taken: prompt first, then examples in the "
        "prompt, an embedding probe, retrieval, and tuning last.",
        "rule",
        FIELD,
    )


def ruled_out(facts: Facts, system: SystemFact) -> Reason | None:
    """Why the context rules a system out, None when it does not."""
    context = facts.context
    if context.private and system.hosted:
        return Reason(
            f"{system.name} is hosted, and inputs may not leave the own machines.", "context", "context.private"
        )
    limit = context.max_latency_seconds
    if limit is not None and system.seconds is not None and system.seconds > limit:
        return Reason(
            f"{system.name} takes {system.seconds:.3g} s an example; {limit:.3g} s are allowed.",
            "context",
            "context.max_latency_seconds",
        )
    cost = context.max_cost_per_thousand
    if cost is not None and system.cost_per_1000 is not None and system.cost_per_1000 > cost:
        return Reason(
            f"{system.name} costs {system.cost_per_1000:.3g} USD for 1,000 requests; {cost:.3g} are allowed.",
            "context",
            "context.max_cost_per_thousand",
        )
    if context.needs_citations and system.kind not in ("rag", "rag_tuned"):
        return Reason(f"{system.name} cannot cite where an answer is from.", "context", "context.needs_citations")
    if system.kind == "tuned" and not may_tune(facts):
        return Reason(
            f"The right answers change often, and {system.name} would hold old ones until it is trained again.",
            "context",
            "context.changes_often",
        )
    return None


class Knowledge(NamedTuple):
    """Whether missing knowledge is what makes the errors."""

    missing: bool
    reason: Reason


def knowledge_missing(facts: Facts) -> Knowledge | None:
    """What the test with the right document says, None where it was not made.

    Knowledge is missing when the document credibly repairs at least as much as the margin; otherwise the model has
    what it needs before it and still answers wrongly: its behaviour is wrong.
    """
    test = facts.knowledge
    if test is None:
        return None
    source = f"the right document in the prompt, {test.examples:,} examples, paired"
    missing = test.difference >= facts.margin - 1e-9 and test.low > 0
    if missing:
        text = (
            f"The right document in the prompt lifts the value from {percent(test.without)} to "
            f"{percent(test.with_document)} (at least {points(test.low)}): knowledge is missing."
        )
    else:
        text = (
            f"The right document in the prompt changes little ({percent(test.without)} without, "
            f"{percent(test.with_document)} with it): the behaviour is wrong, not the knowledge."
        )
    return Knowledge(missing, Reason(text, "measured", source))


def may_tune(facts: Facts) -> bool:
    """Not where answers change often, unless the test with the right document says that behaviour is wrong."""
    known = knowledge_missing(facts)
    return not facts.context.changes_often or (known is not None and not known.missing)


def enough_rows(facts: Facts) -> bool:
    """Whether there are enough rows for a first training."""
    return facts.data.rows >= FEW_ROWS


def few_rows_reason(facts: Facts) -> Reason:
    """Why training does not pay yet."""
    return Reason(
        f"There are {facts.data.rows:,} rows; fewer than {FEW_ROWS} rarely pay for a training.",
        "rule",
        f"{FIELD}; the rows counted",
    )


def tuning_reason(facts: Facts) -> Reason:
    """Why training is worth a try."""
    return Reason(
        f"{facts.data.rows:,} rows are enough for a first training, which is what teaches behaviour and format.",
        "rule",
        f"{FIELD}; the rows counted",
    )


def retrieval_reason(tested: SystemFact | None) -> Reason:
    """Why retrieval, and what of it."""
    if tested is None:
        return Reason("Missing knowledge is what retrieval brings; it was not measured yet.", "rule", FIELD)
    return Reason(
        f"With the right document the answers would do; {tested.name} has {percent(tested.value)}, so it is the "
        "retrieval that has to find it more often.",
        "measured",
        f"evaluation of {tested.name}, and the test with the right document",
    )


def both_reason(facts: Facts, wanted: float) -> Reason:
    """Why retrieval alone is not enough."""
    value = 0.0 if facts.knowledge is None else facts.knowledge.with_document
    return Reason(
        f"Even with the right document it stays at {percent(value)}, below {percent(wanted)}: the behaviour has to "
        "be trained as well.",
        "measured",
        "the right document in the prompt",
    )


def citations_reason() -> Reason:
    """Why citations mean retrieval."""
    return Reason(
        "Answers must cite their source, which only retrieval can.", "rule", f"{FIELD}; context.needs_citations"
    )


def nothing_learnt_reason(majority: SystemFact) -> Reason:
    """Why labels that nothing learns are suspect."""
    return Reason(
        f"Nothing beats always giving the most frequent answer ({percent(majority.value)}), trained systems "
        "included: the inputs do not tell the answers, or the labels are wrong.",
        "measured",
        f"evaluation of {majority.name}",
    )


def small_model_reason() -> Reason:
    """Why a small tuned model is what is left."""
    return Reason(
        "A small tuned model with a short prompt runs on the own machine, quickly and for little.", "rule", FIELD
    )


def curve_reason(curve: CurveFact) -> Reason:
    """What more rows are likely to bring."""
    needed = "" if curve.rows_needed is None else f" with about {curve.rows_needed:,} rows in all"
    cost = "" if curve.cost is None else f", {curve.cost:,.0f} USD of labelling"
    return Reason(
        f"The learning curve reaches {percent(curve.target)}{needed}{cost}; probability {percent(curve.probability)} "
        f"by {curve.rows_later:,} rows ({percent(curve.value_later)}, {100 * curve.low_later:.1f} to "
        f"{100 * curve.high_later:.1f}).",
        "measured",
        f"learning curve up to {curve.rows:,} rows",
    )


def cautions(facts: Facts, chosen: SystemFact) -> list[Reason]:
    """Rules of thumb that the measurement outweighs, but which a reader should know."""
    found = []
    if chosen.kind in ("tuned", "rag_tuned"):
        if facts.data.rows < FEW_ROWS:
            text = f"Fewer than {FEW_ROWS} rows rarely pay for a training; here the measurement says otherwise."
            found.append(Reason(text, "rule", f"{FIELD}; {facts.data.rows:,} rows counted"))
        if facts.data.smallest_class is not None and facts.data.smallest_class < PER_CLASS:
            text = (
                f"The rarest class has {facts.data.smallest_class:,} rows; {PER_CLASS} to 200 a class are usual, so "
                "look at that class by itself."
            )
            found.append(Reason(text, "rule", FIELD))
    if chosen.forecast:
        text = "The value is a forecast from small trainings: a full run has to confirm it."
        found.append(Reason(text, "measured", "learning curve"))
    if facts.data.duplicates >= 0.05:
        text = f"{percent(facts.data.duplicates)} of the rows are duplicates: fewer rows are new than it seems."
        found.append(Reason(text, "measured", "burnish check"))
    return found
