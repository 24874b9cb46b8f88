"""Costs: the field's worked numbers, break-even against a slow and obvious simulation, totals that add up."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.advice.cost_report import HERE, CostInputs, SystemUse, cost_report
from burnish.advice.costs import (
    break_even,
    by_the_hour,
    on_own_machine,
    preparation,
    request_by_tokens,
    request_seconds,
    total_after,
    training_by_tokens,
)
from burnish.advice.prices import Price, PriceList, Quote, built_in

TODAY = date(2026, 11, 24)
MONEY = st.floats(0.01, 1e5)


def quote(value: float, unit: str = "USD/hour") -> Quote:
    price = Price("x", value, unit, "test", "2026-11-24")
    return Quote(price, value, value, (price,))


def test_100k_tokens_for_3_epochs_at_3_dollars_a_million_cost_90_cents() -> None:
    built = built_in().quote("api/gpt-4o-mini/training")
    assert built.price.value == 3.0
    assert training_by_tokens(100_000, 3, built).value == pytest.approx(0.90)


def test_paid_back_within_a_day_when_a_long_system_prompt_goes_away() -> None:
    """gpt-4o-mini, 10,000 requests a day: 2,000 tokens of prompt become 200, 50 tokens of answer stay."""
    systems = (
        SystemUse("prompt", 2000, 50, "api/gpt-4o-mini"),
        SystemUse("tuned", 200, 50, "api/gpt-4o-mini", tuned=True),
    )
    inputs = CostInputs(
        "worked", 1000, 100_000, 3, systems, "tuned", apis=("api/gpt-4o-mini",), requests_per_day=10_000
    )
    report = cost_report(inputs, built_in(), TODAY)
    assert report.train_at == "api/gpt-4o-mini"
    assert report.training[0].cost.value == pytest.approx(0.90)
    prompt, tuned = report.serving
    assert prompt.per_1000 is not None
    assert tuned.per_1000 is not None
    assert prompt.per_1000.value == pytest.approx(0.33)  # 0.30 for the prompt, 0.03 for the answer
    assert tuned.per_1000.value == pytest.approx(0.12)  # at the dearer prices of a tuned model
    (alone,) = report.break_even_without_data
    assert alone.requests == pytest.approx(0.90 / 0.21 * 1000)
    assert alone.days == pytest.approx(0.4286, abs=1e-3)
    assert alone.days < 1
    (whole,) = report.break_even  # labelling 1,000 rows is what really costs
    assert whole.first_cost == pytest.approx(0.90 + 1000 / 60 * 30)
    assert whole.days is not None
    assert whole.days > 200


def test_with_the_prompt_cached_the_saving_shrinks() -> None:
    systems = (
        SystemUse("prompt", 2000, 50, "api/gpt-4o-mini"),
        SystemUse("tuned", 200, 50, "api/gpt-4o-mini", tuned=True),
    )
    inputs = CostInputs("x", 10, 100_000, 3, systems, "tuned", apis=("api/gpt-4o-mini",), cached_share=0.9)
    prompt = cost_report(inputs, built_in(), TODAY).serving[0]
    assert prompt.per_1000 is not None
    assert prompt.per_1000.value == pytest.approx(2 * (0.1 * 0.15 + 0.9 * 0.075) + 0.03)


def test_hours_energy_and_wages() -> None:
    assert by_the_hour(1800, quote(3.78)).value == pytest.approx(1.89)
    assert on_own_machine(3600, watts=500, power=quote(0.2), per_hour=0.1).value == pytest.approx(0.2)
    assert on_own_machine(3600, watts=None, power=quote(0.2), per_hour=0.0).value == 0
    assert preparation(500, 2, quote(30)).value == pytest.approx(500)
    got = request_by_tokens(1000, 100, quote(0.15), quote(0.6))
    assert got.value * 1000 == pytest.approx(0.15 + 0.06)


def test_seconds_of_a_request_by_hand() -> None:
    # 8 billion parameters in bfloat16 on an H100: 1,000 tokens read, 100 written, 16 requests together
    got = request_seconds(
        8e9, 1000, 100, flops=989e12, efficiency=0.35, bandwidth=3.35e12, weight_bytes=16e9, batch=16
    )
    assert got == pytest.approx(1000 * 16e9 / (989e12 * 0.35) + 100 * 16e9 / 3.35e12 / 16)


@given(first=MONEY, saving=MONEY, volume=st.floats(1, 1e6))
def test_break_even_pays_exactly_the_first_cost(first: float, saving: float, volume: float) -> None:
    found = break_even("b", first_cost=first, saving_per_1000=saving, requests_per_day=volume)
    assert found.requests is not None
    assert found.days is not None
    assert found.requests * saving / 1000 == pytest.approx(first)
    assert found.days * volume == pytest.approx(found.requests)
    assert found.lasts is True


@given(first=MONEY, saving=st.floats(-100, 0), volume=st.floats(1, 1e6))
def test_what_saves_nothing_never_pays(first: float, saving: float, volume: float) -> None:
    found = break_even("b", first_cost=first, saving_per_1000=saving, requests_per_day=volume)
    assert (found.requests, found.days, found.lasts) == (None, None, False)


@given(
    first=st.floats(1, 500),
    a_day=st.floats(0.5, 50),
    again=st.floats(0, 300),
    every=st.sampled_from([7.0, 30.0, 90.0]),
)
def test_break_even_with_retraining_is_the_first_day_of_a_simulation(
    first: float, a_day: float, again: float, every: float
) -> None:
    found = break_even(
        "b", first_cost=first, saving_per_1000=a_day, requests_per_day=1000, retraining=again, retrain_days=every
    )
    step = 0.05
    horizon = 2000.0
    days = next(
        (
            n * step
            for n in range(int(horizon / step))
            if n * step * a_day >= total_after(n * step, first, 0, again, every)
        ),
        None,
    )
    if found.days is None or found.days > horizon - 1:
        assert days is None or days > horizon - 2
    else:
        assert days is not None
        # on the day of a retraining itself, rounding decides whether it is due yet
        assert found.days - 2 * step <= days <= found.days + 2 * step + again / a_day
    assert found.lasts == (a_day > again / every)
    assert found.least_per_day == pytest.approx(again / every / (a_day / 1000), abs=1e-6)


def test_a_gpu_that_is_always_on_needs_volume() -> None:
    prices = PriceList([Price("gpu/l4", 0.8, "USD/GPU-hour", "t", "2026-11-24"), *_api("api/m", 1, 1), _wage()])
    systems = (SystemUse("prompt", 1000, 0, "api/m"), SystemUse("tuned", 100, 0, "gpu/l4", 0.01, tuned=True))

    def at(volume: float) -> float | None:
        inputs = CostInputs(
            "x", 0, 0, 1, systems, "tuned", seconds={"gpu/l4": 3600.0}, requests_per_day=volume, always_on=True
        )
        return cost_report(inputs, prices, TODAY).break_even[0].days

    assert at(19_000) is None  # 19.00 a day for the API, 19.20 for the GPU
    assert at(19_300) == pytest.approx(0.8 / 0.1, rel=1e-6)


def test_what_is_not_known_is_said() -> None:
    systems = (SystemUse("prompt", 100, 5, HERE, None), SystemUse("tuned", 50, 5, HERE, 0.1, tuned=True))
    inputs = CostInputs("x", 100, 1000, 1, systems, "tuned", seconds={HERE: 60.0}, measured=frozenset({HERE}))
    report = cost_report(inputs, built_in(), TODAY)
    text = " ".join(report.warnings)
    assert "--watts" in text
    assert "--machine-price" in text
    assert "prompt: its time at here is not known" in text
    assert report.break_even == ()
    assert report.training[0].how == "measured"


@settings(max_examples=20)
@given(rows=st.integers(0, 10_000), minutes=st.floats(0, 30), epochs=st.floats(0.1, 10), tokens=st.floats(0, 1e8))
def test_the_range_holds_the_value(rows: int, minutes: float, epochs: float, tokens: float) -> None:
    inputs = CostInputs("x", rows, tokens, epochs, (), "tuned", apis=("api/gpt-4o-mini",), minutes_per_row=minutes)
    report = cost_report(inputs, built_in(), TODAY)
    for money in (report.preparation, *(one.cost for one in report.training)):
        assert money.low <= money.value <= money.high


def _api(name: str, prompt: float, completion: float) -> list[Price]:
    unit = "USD/million tokens"
    return [
        Price(f"{name}/input", prompt, unit, "t", "2026-11-24"),
        Price(f"{name}/output", completion, unit, "t", "2026-11-24"),
    ]


def _wage() -> Price:
    return Price("labour/labelling", 0, "USD/hour", "t", "2026-11-24")
