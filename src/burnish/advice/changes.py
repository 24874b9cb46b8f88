"""What would change a recommendation: the rules run again on facts that differ in one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from burnish.advice.advisor import decide
from burnish.advice.facts import Change, Choice, Facts, KnowledgeFact, SystemFact
from burnish.advice.rules import FEW_ROWS
from burnish.advice.words import percent, points

_STEPS = 25  # places looked at between the fact and its end; the first that changes the choice is then narrowed down
_HALVINGS = 18
Vary = Callable[[float], Facts]


def changes(facts: Facts) -> tuple[Change, ...]:
    """Every single change of a fact that leads to another choice, with its threshold: systems, data, context."""
    now = decide(facts).choice
    found = [*_systems(facts, now), *_data(facts, now), *_volume(facts, now), *_context(facts, now)]
    return tuple(change for change in found if change.choice != now)


def shifted(facts: Facts, name: str, by: float) -> Facts:
    """The same facts with one system's value, its interval and its paired differences moved by `by`."""

    def move(system: SystemFact) -> SystemFact:
        value, low, high = (min(1.0, max(0.0, x + by)) for x in (system.value, system.low, system.high))
        return replace(system, value=value, low=min(low, value), high=max(high, value))

    systems = tuple(move(one) if one.name == name else one for one in facts.systems)
    pairs = []
    for pair in facts.differences:
        sign = (pair.candidate == name) - (pair.baseline == name)
        pairs.append(
            replace(
                pair, difference=pair.difference + sign * by, low=pair.low + sign * by, high=pair.high + sign * by
            )
        )
    return replace(facts, systems=systems, differences=tuple(pairs))


def _first(facts: Vary, now: Choice, start: float, places: Sequence[float]) -> tuple[float, Choice] | None:
    """The value nearest to `start` on the way over `places` that leads to another choice, and that choice."""
    before = start
    for place in places:
        if decide(facts(place)).choice != now:
            inside, outside = before, place
            for _ in range(_HALVINGS):
                middle = (inside + outside) / 2
                if decide(facts(middle)).choice != now:
                    outside = middle
                else:
                    inside = middle
            return outside, decide(facts(outside)).choice
        before = place
    return None


def _systems(facts: Facts, now: Choice) -> Iterator[Change]:
    for system in facts.systems:
        if system.kind == "majority":
            continue
        for end in (1.0 - system.value, -system.value):
            if abs(end) < 1e-9:
                continue
            places = [float(x) for x in np.linspace(0, end, _STEPS + 1)[1:]]
            found = _first(lambda by, name=system.name: shifted(facts, name, by), now, 0.0, places)  # type: ignore[misc]
            if found is not None:
                by, choice = found
                value = min(1.0, max(0.0, system.value + by))
                word = "rise to" if by > 0 else "fall to"
                what = f"{facts.metric} of {system.name}"
                then = f"{word} {percent(value)} ({points(abs(by))})"
                yield Change(what, percent(system.value), then, choice, value)


def _data(facts: Facts, now: Choice) -> Iterator[Change]:
    data = facts.data
    rows = [FEW_ROWS] if data.rows < FEW_ROWS else [FEW_ROWS - 1]
    for count in rows:
        choice = decide(replace(facts, data=replace(data, rows=count))).choice
        if choice != now:
            yield Change("rows to train on", f"{data.rows:,}", f"{count:,}", choice, float(count))
    if data.errors:
        choice = decide(replace(facts, data=replace(data, errors=0))).choice
        yield Change("errors that the data check found", f"{data.errors}", "0", choice, 0.0)

    def wrong(share: float) -> Facts:
        return replace(facts, data=replace(data, wrong=share))

    for end in (0.0, 1.0):
        places = [float(x) for x in np.linspace(data.wrong, end, _STEPS + 1)[1:]]
        found = _first(wrong, now, data.wrong, places)
        if found is not None:
            share, choice = found
            yield Change("share of wrong labels", percent(data.wrong), percent(share), choice, share)

    def margin(value: float) -> Facts:
        return replace(facts, margin=value)

    for end in (0.0, 0.3):
        places = [float(x) for x in np.linspace(facts.margin, end, _STEPS + 1)[1:]]
        found = _first(margin, now, facts.margin, places)
        if found is not None:
            value, choice = found
            yield Change("the margin", points(facts.margin), points(value), choice, value)


def _volume(facts: Facts, now: Choice) -> Iterator[Change]:
    volume = facts.context.requests_per_day

    def at(log: float) -> Facts:
        return replace(facts, context=facts.context.model_copy(update={"requests_per_day": 10**log}))

    start = 0.0 if volume is None else float(np.log10(max(volume, 1e-3)))
    if volume is None:  # not said: every volume may be
        ends = [(start, 8.0)]
    else:
        ends = [(start, 8.0), (start, -1.0)]
    for begin, end in ends:
        places = [float(x) for x in np.linspace(begin, end, 2 * _STEPS + 1)[0 if volume is None else 1 :]]
        found = _first(at, now, begin, places)
        if found is not None:
            log, choice = found
            value = 10**log
            shown = "not said" if volume is None else f"{volume:,.0f}"
            yield Change("requests a day", shown, f"{'from' if end > begin else 'below'} {value:,.3g}", choice, value)
            if volume is None:
                return


def _context(facts: Facts, now: Choice) -> Iterator[Change]:
    context = facts.context
    for name, words in (
        ("changes_often", "the right answers change often"),
        ("needs_citations", "answers must cite their source"),
        ("private", "inputs may not leave the own machines"),
    ):
        said = getattr(context, name)
        other = context.model_copy(update={name: not said})
        choice = decide(replace(facts, context=other)).choice
        if choice != now:
            yield Change(
                words, "yes" if said else "no" if said is False else "not said", "no" if said else "yes", choice
            )
    chosen = decide(facts).system
    if chosen is not None and chosen.seconds:
        limit = chosen.seconds * 0.999
        other = context.model_copy(update={"max_latency_seconds": limit})
        choice = decide(replace(facts, context=other)).choice
        if choice != now:
            shown = "not said" if context.max_latency_seconds is None else f"{context.max_latency_seconds:g} s"
            yield Change("time allowed for an answer", shown, f"below {chosen.seconds:.3g} s", choice, chosen.seconds)
    if facts.knowledge is None:
        yield from _knowledge(facts, now)


def _knowledge(facts: Facts, now: Choice) -> Iterator[Change]:
    """The test with the right document was not made: what either result would mean."""
    best = max((one for one in facts.systems if one.kind != "majority"), key=lambda one: one.value)
    for words, value in (("repairs the errors", 1.0), ("changes nothing", best.value)):
        gap = value - best.value
        test = KnowledgeFact(best.value, value, gap, gap / 2, gap, 0)
        choice = decide(replace(facts, knowledge=test)).choice
        if choice != now:
            yield Change("the right document in the prompt", "not tested", words, choice)
