"""The price list: every price dated and sourced, disagreement kept, overrides, ages, mistakes of a user's file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from burnish.advice.prices import BUILT_IN, Price, PriceList, built_in, given, price_list, read_prices
from burnish.errors import ConfigError
from burnish.training.devices import named_gpu

TODAY = date(2026, 11, 24)


def test_every_built_in_price_is_whole() -> None:
    prices = read_prices(BUILT_IN)
    assert len(prices) > 50
    for price in prices:
        assert price.provider
        assert price.source
        assert price.value > 0
        assert date(2024, 1, 1) < date.fromisoformat(price.date) <= TODAY
        assert price.read != "provider", "nobody read a provider's page"


def test_gpus_are_those_of_the_catalogue() -> None:
    for item in built_in().items():
        if item.startswith("gpu/"):
            assert f"gpu/{named_gpu(item.removeprefix('gpu/')).name}" == item


def test_a_model_that_can_be_called_has_both_prices() -> None:
    items = set(built_in().items())
    for item in items:
        if item.endswith("/input"):
            assert item.removesuffix("input") + "output" in items, item


def test_disagreeing_sources_are_kept_and_told() -> None:
    found = built_in().quote("api/gpt-4o-mini/training")
    assert (found.price.value, found.low, found.high) == (3.0, 1.0, 3.0)
    assert len(found.sources) == 3
    assert found.disagree
    text = " ".join(found.warnings(TODAY))
    assert "sources disagree" in text
    assert "theluckystrike" in text
    assert "ends in 43 days (2027-01-06)" in text
    assert "has ended" in " ".join(found.warnings(date(2027, 2, 1)))


def test_every_openai_fine_tuning_price_has_its_end() -> None:
    for price in read_prices(BUILT_IN):
        if price.provider == "OpenAI" and price.item.split("/")[1].startswith(("gpt-4o", "gpt-4.1")):
            assert price.ends == ("2027-01-06" if price.item.endswith("/training") else "2027-01-14")


@pytest.mark.parametrize(("days", "stale"), [(180, False), (181, True)])
def test_old_prices_are_flagged_by_age(days: int, stale: bool) -> None:
    day = date.fromordinal(TODAY.toordinal() - days).isoformat()
    found = PriceList([Price("gpu/l4", 1, "USD/GPU-hour", "s", day)]).quote("gpu/l4")
    assert any(f"{days} days old" in text for text in found.warnings(TODAY)) == stale
    assert any("days old" in text for text in found.warnings(TODAY, stale_days=100))


def test_the_newest_of_the_most_trusted_is_used() -> None:
    prices = PriceList(
        [
            Price("gpu/l4", 1, "USD/GPU-hour", "old", "2026-01-01", "A", "report"),
            Price("gpu/l4", 2, "USD/GPU-hour", "new", "2026-05-01", "A", "report"),
            Price("gpu/l4", 9, "USD/GPU-hour", "memory", "2026-11-01", "A", "remembered"),
        ]
    )
    assert prices.quote("gpu/l4").price.source == "new"


def test_a_users_file_and_single_values_come_first(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    rows = [
        {"item": "gpu/l4", "value": 0.5, "unit": "USD/GPU-hour", "source": "our contract", "date": "2020-01-01"},
        {"item": "gpu/own", "value": 0.1, "unit": "USD/GPU-hour", "source": "our cellar", "date": "2026-11-01"},
    ]
    file.write_text(yaml.safe_dump({"prices": rows}), encoding="utf-8")
    prices = price_list(file, ["labour/labelling=50", "gpu/l4=0.4"], TODAY)
    assert prices.quote("gpu/l4").price.value == 0.4
    assert prices.quote("gpu/own").price.source == "our cellar"
    assert prices.quote("labour/labelling").price.value == 50
    assert prices.quote("gpu/a10").price.provider == "Lambda"
    only_file = price_list(file, [], TODAY).quote("gpu/l4")
    assert (only_file.low, only_file.high, only_file.price.read) == (0.5, 0.5, "given")
    assert only_file.warnings(TODAY) == []  # an age of one's own price is one's own business


@pytest.mark.parametrize("text", ["gpu/l4", "gpu/l4=-1", "gpu/l4=x", "gpu/l4=inf", "l4=1", "gpu/=1", "gpu/l4=nan"])
def test_a_single_value_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        given(text, TODAY)
    assert "--price" in str(error.value)
    assert "gpu/l4=0.7" in str(error.value)


def test_a_missing_item_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        built_in().quote("gpu/h100-80g")
    assert "gpu/h100-80gb" in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1", "holds no list"),
        ("prices: {a: 1}", "holds no list"),
        ("prices: [1, 2", "not closed"),
        ("currency: EUR\nprices: []", "must be in USD"),
        ("prices: [1]", "prices[0]: is no mapping"),
        ("prices: [{item: gpu/l4}]", "prices[0].value: is missing"),
        ("prices: [{item: gpu/l4, vale: 1}]", "did you mean value?"),
        ("prices: [{item: gpu/l4, value: yes, unit: USD/GPU-hour, source: x, date: 2026-01-01}]", "a number"),
        ("prices: [{item: gpu/l4, value: 1, unit: USD/hour, source: x, date: 2026-01-01}]", "USD/GPU-hour"),
        ("prices: [{item: tpu/v5, value: 1, unit: USD/hour, source: x, date: 2026-01-01}]", "no known kind"),
        ("prices: [{item: gpu/l4, value: 1, unit: USD/GPU-hour, source: x, date: 2026-13-01}]", "is no date"),
        (
            "prices: [{item: gpu/l4, value: 1, unit: USD/GPU-hour, source: x, date: 2026-01-01, read: web}]",
            "known ways",
        ),
    ],
)
def test_mistakes_of_a_file_are_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_prices(file)
    assert expected in str(error.value)
    assert "p.yaml" in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prices(tmp_path / "none.yaml")
