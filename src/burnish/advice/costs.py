"""What training, data and requests cost, and when a tuned model has paid for itself: arithmetic on plain numbers.

Money is in USD, time in seconds unless a name says otherwise. Nothing here looks anything up: prices come as quotes
(prices.py), times from measurements or from the estimate of a training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from burnish.advice.prices import Quote

HOUR = 3600.0
MILLION = 1e6
BATCH = 16  # an assumption: requests that a busy server answers together


@dataclass(frozen=True, slots=True)
class Money:
    """An amount as priced by the source that is used, and by the cheapest and the dearest source."""

    value: float
    low: float
    high: float

    def __add__(self, other: Money) -> Money:
        return Money(self.value + other.value, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Money:
        """This amount, so many times."""
        return Money(self.value * factor, self.low * factor, self.high * factor)


NOTHING = Money(0.0, 0.0, 0.0)


def exact(value: float) -> Money:
    """An amount without a range."""
    return Money(value, value, value)


def priced(amount: float, quote: Quote) -> Money:
    """So many units at a quote's price."""
    return Money(amount * quote.price.value, amount * quote.low, amount * quote.high)


def training_by_tokens(tokens: float, epochs: float, quote: Quote) -> Money:
    """A hosted API's price of a training: every token of every epoch is charged, prompts too."""
    return priced(tokens * epochs / MILLION, quote)


def by_the_hour(seconds: float, quote: Quote) -> Money:
    """A rented machine for so long."""
    return priced(seconds / HOUR, quote)


def on_own_machine(seconds: float, *, watts: float | None, power: Quote, per_hour: float) -> Money:
    """One's own machine for so long: energy at `watts` throughout (None: not known, counted as none), and what an
    hour of it costs besides (wear, rent)."""
    energy = NOTHING if watts is None else priced(watts * seconds / 3.6e6, power)
    return energy + exact(per_hour * seconds / HOUR)


def preparation(rows: float, minutes_per_row: float, wage: Quote) -> Money:
    """People who label or check so many rows."""
    return priced(rows * minutes_per_row / 60, wage)


def request_by_tokens(
    prompt_tokens: float,
    completion_tokens: float,
    prompt: Quote,
    completion: Quote,
    *,
    cached: Quote | None = None,
    cached_share: float = 0.0,
) -> Money:
    """One request to a hosted model. cached_share: of the prompt's tokens, billed at `cached`."""
    share = cached_share if cached is not None else 0.0
    cost = priced(prompt_tokens * (1 - share) / MILLION, prompt) + priced(completion_tokens / MILLION, completion)
    return cost if cached is None else cost + priced(prompt_tokens * share / MILLION, cached)


def request_seconds(
    parameters: float,
    prompt_tokens: float,
    completion_tokens: float,
    *,
    flops: float,
    efficiency: float,
    bandwidth: float | None,
    weight_bytes: float,
    batch: int = BATCH,
) -> float:
    """A request's share of the time on a device that is kept busy, by arithmetic.

    Two operations a parameter and token (Kaplan et al. 2020, section 2.1); while writing, the weights are read once
    a token for all requests of a batch, which limits the speed (Pope et al. 2022, section 2.1). Attention, loading
    and waiting are not in it.
    """
    a_token = 2 * parameters / (flops * efficiency)
    reading = weight_bytes / bandwidth / batch if bandwidth else 0.0
    return prompt_tokens * a_token + completion_tokens * max(a_token, reading)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """When a system has paid for itself against a baseline.

    saving_per_1000: what 1,000 requests cost less (negative: more). saving_per_day: at requests_per_day, with what is
    paid by the day. requests: how many until the first cost is saved, None when never or when a system is paid by
    the day; days: until then, None when never or when requests_per_day is not known.
    retraining: cost of each, every retrain_days. lasts: whether the saving between two retrainings exceeds their
    cost. least_per_day: requests a day from which it does, None when none do.
    """

    baseline: str
    first_cost: float
    saving_per_1000: float
    saving_per_day: float | None
    requests: float | None
    days: float | None
    retraining: float
    retrain_days: float | None
    lasts: bool | None
    least_per_day: float | None


def break_even(
    baseline: str,
    *,
    first_cost: float,
    saving_per_1000: float,
    fixed_per_day: float = 0.0,
    requests_per_day: float | None = None,
    retraining: float = 0.0,
    retrain_days: float | None = None,
) -> BreakEven:
    """The least volume and time after which `first_cost` is saved.

    fixed_per_day: what the baseline costs a day, whatever the volume, minus what the system costs so (negative for a
    GPU that is always on). With retraining the cost goes up in steps every retrain_days; days is the first time the
    saving reaches it.
    """
    each = saving_per_1000 / 1000
    a_day = None if requests_per_day is None else requests_per_day * each + fixed_per_day
    requests = first_cost / each if each > 0 and fixed_per_day == 0 else None
    requests = 0.0 if first_cost == 0 and each >= 0 and fixed_per_day == 0 else requests
    burden = retraining / retrain_days if retrain_days else 0.0
    least = None
    if each > 0:
        least = max(0.0, (burden - fixed_per_day) / each)
    elif fixed_per_day > burden or (fixed_per_day == burden == 0 and each == 0):
        least = 0.0  # cheaper by the day, whatever each request costs more
    days = None if a_day is None else _first_day(first_cost, a_day, retraining, retrain_days)
    lasts = None if a_day is None else a_day > burden
    return BreakEven(
        baseline, first_cost, saving_per_1000, a_day, requests, days, retraining, retrain_days, lasts, least
    )


def _first_day(first: float, a_day: float, retraining: float, every: float | None) -> float | None:
    """The first day d with a_day · d at least first + retraining · floor(d / every)."""
    if first <= 0:
        return 0.0
    if a_day <= 0:
        return None
    if not every or retraining <= 0 or first < a_day * every:
        return first / a_day
    gain = a_day * every - retraining
    if gain <= 0:
        return None  # every period adds more than it saves
    periods = math.floor((first - a_day * every) / gain) + 1  # before the next one falls due
    return (first + periods * retraining) / a_day


def total_after(days: float, first: float, a_day: float, retraining: float, every: float | None) -> float:
    """What a system has cost after so many days."""
    steps = math.floor(days / every) if every else 0
    return first + days * a_day + steps * retraining
