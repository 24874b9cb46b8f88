"""From what a task or a run needs to a table of costs: training by place, data, requests by system, break-even.

Pure: the times on devices, the tokens and the prices are given. `burnish cost` gathers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from burnish.advice.costs import (
    NOTHING,
    BreakEven,
    Money,
    break_even,
    by_the_hour,
    exact,
    on_own_machine,
    preparation,
    request_by_tokens,
    training_by_tokens,
)
from burnish.advice.prices import STALE_DAYS, PriceList, Quote

HOSTED = "hosted"  # a model behind an endpoint of the task file, whose answers were priced when they were paid
HERE = "here"  # one's own machine; other places are items of the price list: gpu/l4, api/gpt-4o-mini


@dataclass(frozen=True, slots=True)
class SystemUse:
    """What a request to a system takes. tokens: means; where: HERE, HOSTED, gpu/NAME or api/NAME; seconds: of the
    device for a request, None when not known. tuned: what is served is a model fine-tuned there. cost: USD of a
    request as it was paid, where it was."""

    name: str
    prompt_tokens: float
    completion_tokens: float
    where: str = HERE
    seconds: float | None = None
    tuned: bool = False
    measured: bool = True
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class CostInputs:
    """Everything that a table of costs is made from.

    rows: to train on; labelled_rows: all that had to be labelled (test too). tokens: of one epoch, every row in full.
    seconds: of the training, by place (HERE and gpu/NAME); measured: the places whose time was measured.
    apis: hosted models to train at (api/NAME). train_at: the training that break-even counts (None: chosen).
    retrain_share: of labelled_rows, labelled anew for each retraining. watts: of HERE. cached_share: of prompts.
    """

    name: str
    rows: int
    tokens: float
    epochs: float
    systems: tuple[SystemUse, ...]
    candidate: str
    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    measured: frozenset[str] = frozenset()
    labelled_rows: int | None = None
    apis: tuple[str, ...] = ()
    train_at: str | None = None
    requests_per_day: float | None = None
    retrain_days: float | None = None
    retrain_share: float = 0.2
    minutes_per_row: float = 1.0
    watts: float | None = None
    per_hour: float = 0.0
    power: str = "power/us-commercial"
    cached_share: float = 0.0
    always_on: bool = False


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """A training at one place. seconds: None where it is charged by the token; how: measured, estimated, by token."""

    where: str
    cost: Money
    how: str
    seconds: float | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True)
class ServingCost:
    """1,000 requests to a system, and what is paid by the day whatever their number."""

    system: str
    where: str
    prompt_tokens: float
    completion_tokens: float
    measured: bool
    per_1000: Money | None
    per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class CostReport:
    """The table. train_at: whose training the break-even counts; prices: every price that was used, with its range;
    warnings: one sentence each."""

    name: str
    date: str
    rows: int
    tokens: float
    epochs: float
    training: tuple[TrainingCost, ...]
    train_at: str | None
    preparation: Money
    labelled_rows: int
    minutes_per_row: float
    serving: tuple[ServingCost, ...]
    candidate: str
    requests_per_day: float | None
    break_even: tuple[BreakEven, ...]
    break_even_without_data: tuple[BreakEven, ...]
    prices: tuple[Quote, ...]
    warnings: tuple[str, ...]


class _Book:
    """Looks prices up and remembers which were used."""

    def __init__(self, prices: PriceList) -> None:
        self.prices, self.used = prices, dict[str, Quote]()

    def quote(self, item: str) -> Quote:
        self.used[item] = self.prices.quote(item)
        return self.used[item]

    def has(self, item: str) -> bool:
        return self.prices.has(item)


def cost_report(inputs: CostInputs, prices: PriceList, today: date, *, stale_days: int = STALE_DAYS) -> CostReport:
    """The table of costs. Raises ConfigError for a place without a price."""
    book = _Book(prices)
    remarks: list[str] = []
    training = tuple(_trainings(inputs, book, remarks))
    labelled = inputs.rows if inputs.labelled_rows is None else inputs.labelled_rows
    people = preparation(labelled, inputs.minutes_per_row, book.quote("labour/labelling"))
    serving = tuple(_serving(inputs, system, book, remarks) for system in inputs.systems)
    chosen = _train_at(inputs, training)
    again = NOTHING if chosen is None else chosen.cost + people.times(inputs.retrain_share)
    first = NOTHING if chosen is None else chosen.cost
    with_data = _break_evens(inputs, serving, (first + people).value, again.value)
    without = _break_evens(inputs, serving, first.value, first.value)
    if chosen is None:
        remarks.append("the cost of training is not known, so break-even counts the data alone")
    for quote in book.used.values():
        remarks += quote.warnings(today, stale_days)
    return CostReport(
        name=inputs.name,
        date=today.isoformat(),
        rows=inputs.rows,
        tokens=inputs.tokens,
        epochs=inputs.epochs,
        training=training,
        train_at=None if chosen is None else chosen.where,
        preparation=people,
        labelled_rows=labelled,
        minutes_per_row=inputs.minutes_per_row,
        serving=serving,
        candidate=inputs.candidate,
        requests_per_day=inputs.requests_per_day,
        break_even=with_data,
        break_even_without_data=without,
        prices=tuple(book.used.values()),
        warnings=tuple(dict.fromkeys(remarks)),
    )


def _trainings(inputs: CostInputs, book: _Book, remarks: list[str]) -> Iterable[TrainingCost]:
    for where, seconds in inputs.seconds.items():
        how = "measured" if where in inputs.measured else "estimated"
        if where == HERE:
            yield TrainingCost(HERE, _own(inputs, seconds, book, remarks), how, seconds)
        else:
            yield TrainingCost(where, by_the_hour(seconds, book.quote(where)), how, seconds, where)
    for where in inputs.apis:
        item = f"{where}/training"
        cost = training_by_tokens(inputs.tokens, inputs.epochs, book.quote(item))
        yield TrainingCost(where, cost, "by token", None, item)


def _own(inputs: CostInputs, seconds: float, book: _Book, remarks: list[str]) -> Money:
    if inputs.watts is None:
        remarks.append("the power of this machine is not known, so its energy is not counted: say --watts")
    if inputs.per_hour == 0:
        remarks.append("this machine itself is not counted: --machine-price says what an hour of it costs")
    return on_own_machine(seconds, watts=inputs.watts, power=book.quote(inputs.power), per_hour=inputs.per_hour)


def _train_at(inputs: CostInputs, training: Sequence[TrainingCost]) -> TrainingCost | None:
    """The one that was asked for, else where the candidate is served, else here, else the cheapest."""
    served = next((one.where for one in inputs.systems if one.name == inputs.candidate), None)
    by_place = {one.where: one for one in training}
    for where in (inputs.train_at, served, HERE):
        if where in by_place:
            return by_place[where]
    return min(training, key=lambda one: one.cost.value, default=None)


def _serving(inputs: CostInputs, system: SystemUse, book: _Book, remarks: list[str]) -> ServingCost:
    request, per_day = _request(inputs, system, book, remarks)
    return ServingCost(
        system.name,
        system.where,
        system.prompt_tokens,
        system.completion_tokens,
        system.measured,
        None if request is None else request.times(1000),
        per_day,
    )


def _request(inputs: CostInputs, system: SystemUse, book: _Book, remarks: list[str]) -> tuple[Money | None, float]:
    """One request, and what is paid by the day."""
    where = system.where
    if system.cost is not None:
        return exact(system.cost), 0.0
    if where == HOSTED:
        remarks.append(f"{system.name}: no price was known when it was asked, so its requests have none")
        return None, 0.0
    if where.startswith("api/"):
        kind = "tuned_" if system.tuned else ""
        cached = f"{where}/cached_input"
        price = request_by_tokens(
            system.prompt_tokens,
            system.completion_tokens,
            book.quote(f"{where}/{kind}input"),
            book.quote(f"{where}/{kind}output"),
            cached=book.quote(cached) if inputs.cached_share > 0 and not system.tuned and book.has(cached) else None,
            cached_share=inputs.cached_share,
        )
        return price, 0.0
    if where != HERE and inputs.always_on:
        return exact(0.0), 24 * book.quote(where).price.value
    if system.seconds is None:
        remarks.append(f"{system.name}: its time at {where} is not known, so its requests have no price")
        return None, 0.0
    if where == HERE:
        if inputs.watts is None and inputs.per_hour == 0:
            remarks.append("requests here have no price: --watts or --machine-price says what this machine costs")
            return None, 0.0
        return _own(inputs, system.seconds, book, remarks), 0.0
    remarks.append(f"{where}: only the seconds in use are counted; a GPU that waits costs as much: --always-on")
    return by_the_hour(system.seconds, book.quote(where)), 0.0


def _break_evens(
    inputs: CostInputs, serving: Sequence[ServingCost], first: float, again: float
) -> tuple[BreakEven, ...]:
    """The candidate against every other system whose requests have a price."""
    own = next((one for one in serving if one.system == inputs.candidate), None)
    if own is None or own.per_1000 is None:
        return ()
    return tuple(
        break_even(
            other.system,
            first_cost=first,
            saving_per_1000=other.per_1000.value - own.per_1000.value,
            fixed_per_day=other.per_day - own.per_day,
            requests_per_day=inputs.requests_per_day,
            retraining=again if inputs.retrain_days else 0.0,
            retrain_days=inputs.retrain_days,
        )
        for other in serving
        if other.system != own.system and other.per_1000 is not None
    )
