"""Ship or hold: the rule, its reasons in words, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from burnish.errors import RunError
from burnish.evaluation.forgetting import Judgement, judge
from burnish.evaluation.looks import level_of, level_words, spent
from burnish.evaluation.power import examples_needed
from burnish.records import Evaluation, Forgetting, Interval, Paired, Verdict

_ROUNDING = 1e-9  # 0.85 - 0.80 must count as a margin of 0.05
_FEW = 100  # below this many test examples an interval of a rate spans up to ±10 points


class _Facts(NamedTuple):
    """What the reasons and the advice are made from. Differences are in the metric's own unit (0.05 = 5 points).

    pair: with the best baseline. others: with the other ones, the least certain first.
    """

    ours: Evaluation
    theirs: Evaluation
    value: Interval
    base: Interval
    pair: Paired
    others: tuple[Paired, ...]
    margin: float
    target: float | None
    looks: int

    @property
    def margin_met(self) -> bool:
        return self.pair.difference >= self.margin - _ROUNDING

    @property
    def above_zero(self) -> bool:
        return self.pair.low > 0

    @property
    def unbeaten(self) -> Paired | None:
        """A baseline, other than the best, that the candidate is not surely better than."""
        return next((pair for pair in self.others if pair.low <= 0), None)

    @property
    def target_met(self) -> bool:
        return self.target is None or self.value.value >= self.target - _ROUNDING


def decide(
    evaluations: Sequence[Evaluation],
    paired: Sequence[Paired],
    *,
    candidate: str,
    margin: float,
    target: float | None,
    looks: int,
    forgetting: Forgetting | None = None,
    slices: Judgement | None = None,
) -> Verdict:
    """Ship when the candidate beats the best baseline by at least `margin`, the intervals of its differences from all
    baselines lie above zero, `target` (if any) is reached, and not too much is forgotten (see forgetting.py:judge);
    otherwise hold.

    The best baseline is the one with the highest value on the metric of `paired`; among equals the one against which
    the candidate is least certain to be better. It alone would not do: the baseline that is truly best may come
    second by chance, behind one that the candidate surely beats. As every difference is asked for, none needs a
    correction (intersection-union test, Berger 1982): a candidate that is no better than some baseline ships with at
    most the chance that its one interval lies above zero.

    looks: which look at the sealed test this is. The intervals of `paired` must have its level (looks.py).
    slices: what slices of the test add (slices.py:judge_slices).

    RunError: the candidate or a paired baseline was not measured, or the pairs are on different metrics or at
    another level.
    """
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    if candidate not in by_name:
        raise RunError("the candidate was not evaluated", got=candidate, fix="evaluate it on the sealed test first")
    ours = [pair for pair in paired if pair.candidate == candidate]
    also = [one for one in (judge(forgetting) if forgetting else None, slices) if one is not None]
    more = tuple(one.reason for one in also)
    if not ours:
        return _without_baseline(by_name[candidate], margin, target, looks, more)
    metrics = {pair.metric for pair in ours}
    unmeasured = [pair.baseline for pair in ours if pair.baseline not in by_name]
    if len(metrics) > 1 or unmeasured:
        what = (
            "the baselines were compared on different metrics" if len(metrics) > 1 else "a baseline has no evaluation"
        )
        raise RunError(
            what, got=sorted(metrics) if len(metrics) > 1 else unmeasured, fix="evaluate all systems again"
        )
    if any(pair.level < level_of(looks) - _ROUNDING for pair in ours):
        raise RunError(
            f"the intervals are too narrow for look {looks} at the sealed test",
            got=sorted({pair.level for pair in ours}),
            fix=f"compare again at the level of this look, {level_of(looks):.6f}",
        )
    facts = _facts(by_name, ours, candidate, margin, target, looks)
    better = facts.margin_met and facts.above_zero and facts.unbeaten is None
    ship = better and facts.target_met and not any(one.blocks for one in also)
    return Verdict(
        decision="ship" if ship else "hold",
        candidate=candidate,
        baseline=facts.pair.baseline,
        metric=facts.pair.metric,
        reasons=(*_reasons(facts), *more),
        advice=() if ship else (*_advice(facts), *(line for one in also for line in one.advice)),
        margin=margin,
        target=target,
        looks=looks,
        level=facts.pair.level,
        error_spent=spent(looks),
    )


def _facts(
    by_name: dict[str, Evaluation],
    pairs: Sequence[Paired],
    candidate: str,
    margin: float,
    target: float | None,
    looks: int,
) -> _Facts:
    metric = pairs[0].metric
    if any(metric not in by_name[name].metrics for name in (candidate, *(pair.baseline for pair in pairs))):
        raise RunError("a system has no value of the compared metric", got=metric, fix="evaluate all systems again")
    by_certainty = sorted(pairs, key=lambda one: (one.low, one.difference, one.baseline))
    pair = _strongest(by_name, by_certainty, metric)
    others = [one for one in by_certainty if one is not pair]
    ours, theirs = by_name[candidate], by_name[pair.baseline]
    values = ours.metrics[metric], theirs.metrics[metric]
    return _Facts(ours, theirs, *values, pair, tuple(others), margin, target, looks)


def _strongest(by_name: Mapping[str, Evaluation], by_certainty: Sequence[Paired], metric: str) -> Paired:
    """The pair with the best baseline; among equals the least certain one."""
    # Ties to the last digit are common: two baselines that both answer nothing, or always the same label.
    best = max(by_name[pair.baseline].metrics[metric].value for pair in by_certainty)
    return next(one for one in by_certainty if by_name[one.baseline].metrics[metric].value >= best - _ROUNDING)


def best_baseline(evaluations: Sequence[Evaluation], paired: Sequence[Paired]) -> str | None:
    """The one that `decide` holds the candidate of `paired` against; None without any."""
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    by_certainty = sorted(paired, key=lambda one: (one.low, one.difference, one.baseline))
    return _strongest(by_name, by_certainty, paired[0].metric).baseline if paired else None


def _without_baseline(
    ours: Evaluation, margin: float, target: float | None, looks: int, more: tuple[str, ...]
) -> Verdict:
    metric, value = next(iter(ours.metrics.items()))
    reached = f"{ours.system} reaches {_percent(value.value)} {metric} ({_range(value.low, value.high)})"
    return Verdict(
        decision="hold",
        candidate=ours.system,
        baseline="",
        metric=metric,
        reasons=(f"{reached}, but no baseline was measured, so nothing shows that training was worth it.", *more),
        advice=("Add baselines to the task file, for example `baselines: [majority, prompt, few_shot]`.",),
        margin=margin,
        target=target,
        looks=looks,
        level=level_of(looks),
        error_spent=spent(looks),
    )


# --- reasons ---


def _reasons(facts: _Facts) -> list[str]:
    pair = facts.pair
    sizes = f"{_percent(facts.value.value)} against {_percent(facts.base.value)} {pair.metric}"
    gap = f"{pair.candidate} is {_distance(pair.difference)} {pair.baseline}, the best baseline ({sizes})"
    needed = f"the margin of {_points(facts.margin)}"
    p_value = f"p = {pair.p_value:.2g}" if pair.p_value >= 0.001 else "p < 0.001"
    wins = "1 win" if pair.wins == 1 else f"{pair.wins} wins"
    losses = "1 loss" if pair.losses == 1 else f"{pair.losses} losses"
    counts = f"{wins}, {losses} on {facts.ours.examples:,} examples; {pair.test}, {p_value}"
    reasons = [f"{gap}: {'at least' if facts.margin_met else 'less than'} {needed}."]
    if facts.above_zero:
        doubt = (
            "" if pair.p_value <= 0.05 else " The p-value is above 0.05, though: few examples tell the systems apart."
        )
        too = ", as it is from every other baseline" if facts.others and facts.unbeaten is None else ""
        reasons.append(f"The true difference lies {_between(pair)}: above zero{too} ({counts}).{doubt}")
    else:
        side = "below zero" if pair.high < 0 else "it may be zero or worse"
        reasons.append(f"The true difference lies {_between(pair)}: {side} ({counts}).")
    if other := facts.unbeaten:
        reasons.append(
            f"{pair.candidate} must surely beat every baseline, as the best one may be so by chance: from "
            f"{other.baseline} the true difference lies {_between(other)}, so it may be zero or worse."
        )
    if facts.target is not None:
        reasons.append(_target_reason(facts, facts.target))
    if facts.looks > 1:
        reasons.append(_looks_reason(facts))
    return reasons


def _target_reason(facts: _Facts, target: float) -> str:
    value = facts.value
    found = f"{facts.pair.metric} is {_percent(value.value)} ({_range(value.low, value.high)})"
    if not facts.target_met:
        return f"The target of {_percent(target)} is missed: {found}."
    doubt = ", but a true value below it is not ruled out" if value.low < target else ""
    return f"The target of {_percent(target)} is met: {found}{doubt}."


def _between(pair: Paired) -> str:
    return f"between {_signed(pair.low)} and {_signed(pair.high)} with {level_words(pair.level)} confidence"


def _looks_reason(facts: _Facts) -> str:
    return (
        f"This is look {facts.looks} at this sealed test, so the interval is taken at "
        f"{level_words(facts.pair.level)} instead of 95%: a test that is tried again and again ships a lucky "
        f"system in the end. All {facts.looks} looks together ship one that is no better than a baseline with a "
        f"chance of at most {100 * spent(facts.looks):.1f}%."
    )


# --- advice ---


def _advice(facts: _Facts) -> list[str]:
    pair = facts.pair
    advice: list[str] = []
    if pair.difference <= _ROUNDING:
        advice += _baseline_advice(facts)
    elif not facts.margin_met:
        advice.append(_margin_advice(facts))
    unsure = pair if not facts.above_zero else facts.unbeaten
    if pair.difference > _ROUNDING and unsure is not None and unsure.difference > _ROUNDING:
        advice.append(_power_advice(unsure, facts.ours.examples))
    elif facts.ours.examples < _FEW and not (facts.margin_met and facts.target_met):
        advice.append(
            f"The sealed test has only {facts.ours.examples} examples, so this is a rough measure: label more, "
            f"at least {_FEW} for the test."
        )
    if not facts.target_met:
        advice += _target_advice(facts)
    return advice


def _baseline_advice(facts: _Facts) -> list[str]:
    base, ours = facts.pair.baseline, facts.pair.candidate
    if facts.pair.difference < -_ROUNDING:
        first = f"Use {base}: it is {_points(-facts.pair.difference)} better than {ours} and needs no training."
    else:
        first = f"Use {base}: {ours} is no better, and {base} needs no training."
    if base == "majority":
        first = (
            f"Ship none: nothing beats majority, which does not look at what is asked. Look at the mistakes of "
            f"{ours}, check the labels with `burnish check`, and see with `burnish tokens` what is trained on."
        )
    return [first, f"To improve {ours}: more training examples, more training.num_epochs, or a larger model."]


def _margin_advice(facts: _Facts) -> str:
    pair = facts.pair
    saved = facts.theirs.prompt_tokens - facts.ours.prompt_tokens
    advice = (
        f"The gain of {_points(pair.difference)} is short of the margin: use {pair.baseline}, or train on more "
        f"examples, with more training.num_epochs, or a larger model."
    )
    if facts.above_zero and saved >= 0.2 * facts.theirs.prompt_tokens and saved > 0:
        advice += (
            f" {pair.candidate} is better and needs {saved / facts.theirs.prompt_tokens:.0%} fewer prompt tokens a "
            f"request ({facts.ours.prompt_tokens:,.0f} against {facts.theirs.prompt_tokens:,.0f}): if that is worth "
            f"it without the margin, lower goal.margin before the next fresh test."
        )
    return advice


def _power_advice(pair: Paired, n: int) -> str:
    needed = examples_needed(n, pair.difference, pair.low, pair.high, level=pair.level)
    if needed is None:  # pragma: no cover - the difference is above zero here
        return "Label more examples for the test."
    # Barely including zero means that the same difference would be clear with a little luck: never advise fewer.
    shown = _rounded(max(needed, n + 1))
    fresh = (
        ""
        if pair.level <= 0.95
        else " A test of newly labelled rows (data.test) is a first look again, and decides at 95%."
    )
    return (
        f"The test cannot tell a gain of {_points(pair.difference)} from chance: about {shown:,} test examples would "
        f"(80% power if the gain is really that large); it has {n:,}. Label more for the test, or enlarge the gain."
        f"{fresh}"
    )


def _target_advice(facts: _Facts) -> list[str]:
    missing = (facts.target or 0.0) - facts.value.value
    metric = facts.pair.metric
    if facts.margin_met and facts.above_zero:
        first = (
            f"Training works but falls {_points(missing)} short of the target: label more training examples (the "
            f"learning curve and the mistakes show which), raise training.num_epochs, or take a larger model."
        )
    else:
        first = f"{metric} is {_points(missing)} short of the target: more training examples or a larger model."
    if facts.base.value >= (facts.target or 0.0) - _ROUNDING:
        first = f"{facts.pair.baseline} reaches the target without training: use it."
    advice = [first]
    if facts.value.high >= (facts.target or 0.0):
        advice.append("The target lies inside the 95% interval, so the miss may be chance: a larger test would tell.")
    return advice


# --- words for numbers ---


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _range(low: float, high: float) -> str:
    return f"95% interval {_percent(low)} to {_percent(high)}"


def _points(difference: float) -> str:
    number = f"{100 * difference:.1f}".removesuffix(".0")
    return f"{number} point" if number == "1" else f"{number} points"


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _distance(difference: float) -> str:
    if abs(difference) <= _ROUNDING:
        return "level with"
    return f"{_points(abs(difference))} {'above' if difference > 0 else 'below'}"


def _rounded(number: int) -> int:
    """Rounded up to two digits: an estimate should not look like a count."""
    scale: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / scale) * scale
