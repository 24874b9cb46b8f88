"""Prices with their sources and dates: prices.yaml, a user's own file, and single values given.

Sources that disagree are all kept. Which one is used: what the user gave, then a source's report before what was
remembered before an assumption, then the newest, then the higher one; the range of all stands beside it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Day
from pathlib import Path
from typing import Any

from burnish.config.yaml_tree import Key, Tree, dotted, read_yaml
from burnish.errors import ConfigError, Problem, shorten

BUILT_IN = Path(__file__).with_name("prices.yaml")
STALE_DAYS = 180
UNITS = ("USD/GPU-hour", "USD/million tokens", "USD/kWh", "USD/hour")
READ = ("given", "provider", "report", "remembered", "assumption")  # the more trusted first
_UNIT_OF = {"gpu": "USD/GPU-hour", "api": "USD/million tokens", "power": "USD/kWh", "labour": "USD/hour"}
_KEYS = ("item", "provider", "value", "unit", "source", "date", "read", "ends", "note")
_NEEDED = ("item", "value", "unit", "source", "date")


@dataclass(frozen=True, slots=True)
class Price:
    """One source's price of one item. date: the day for which the source gives it, ISO; ends: the last day on which
    the service can be bought. read: how it came here, one of READ."""

    item: str
    value: float
    unit: str
    source: str
    date: str
    provider: str = ""
    read: str = "provider"
    ends: str | None = None
    note: str | None = None

    def age(self, today: Day) -> int:
        """Days since the price's date."""
        return (today - Day.fromisoformat(self.date)).days


@dataclass(frozen=True, slots=True)
class Quote:
    """The price that is used, and what all sources of the item span."""

    price: Price
    low: float
    high: float
    sources: tuple[Price, ...]

    @property
    def disagree(self) -> bool:
        """Whether two sources give the same provider's price differently."""
        return any(a.provider == b.provider and a.value != b.value for a in self.sources for b in self.sources)

    def warnings(self, today: Day, stale_days: int = STALE_DAYS) -> list[str]:
        """What a reader should know of the price: old, ending or ended, disputed, assumed."""
        price, found = self.price, []
        name = f"{price.item} ({price.provider})" if price.provider else price.item
        age = price.age(today)
        if age > stale_days and price.read != "given":
            found.append(f"{name}: the price is {age} days old ({price.date}, {price.source}): look again")
        if price.ends is not None:
            days = (Day.fromisoformat(price.ends) - today).days
            words = f"ends in {days} days" if days >= 0 else "has ended"
            found.append(f"{name}: {words} ({price.ends})")
        if self.disagree:
            same = [one for one in self.sources if one.provider == price.provider and one.value != price.value]
            if same:
                others = ", ".join(f"{one.value:g} ({one.source}, {one.date})" for one in same)
                found.append(f"{name}: sources disagree: {price.value:g} is used, others say {others}")
        if price.read == "assumption":
            found.append(f"{name}: {price.value:g} {price.unit} is an assumption: {price.source}")
        if price.read == "remembered":
            found.append(f"{name}: from memory, not read again since {price.date}")
        return found


class PriceList:
    """All prices by item. Raises ConfigError when an item is not there."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_item: dict[str, list[Price]] = {}
        for price in prices:
            self._by_item.setdefault(price.item, []).append(price)

    def items(self) -> tuple[str, ...]:
        """The names of all items."""
        return tuple(self._by_item)

    def has(self, item: str) -> bool:
        """Whether there is a price of it."""
        return item in self._by_item

    def quote(self, item: str, where: str = "--prices") -> Quote:
        """The price to use of an item."""
        found = self._by_item.get(item)
        if not found:
            kind = item.partition("/")[0]
            near = difflib.get_close_matches(item, self._by_item, n=3, cutoff=0.5)
            known = near or [name for name in self._by_item if name.startswith(f"{kind}/")][:8]
            hint = f"there are {', '.join(known)}; " if known else ""
            fix = f"{hint}give one: --price {item}=1.5, or a file with --prices"
            raise ConfigError("there is no price of this", got=item, where=where, fix=fix)
        best = min(
            found, key=lambda one: (READ.index(one.read), -Day.fromisoformat(one.date).toordinal(), -one.value)
        )
        values = [one.value for one in found]
        return Quote(best, min(values), max(values), tuple(found))

    def over(self, others: Iterable[Price]) -> PriceList:
        """These prices, with all sources of an item replaced where `others` have it."""
        other = PriceList(others)
        kept = [one for item, found in self._by_item.items() if not other.has(item) for one in found]
        return PriceList([*kept, *(one for found in other._by_item.values() for one in found)])


def _rank(price: Price) -> tuple[int, int, float]:
    """The most trusted, then the newest, then the higher one comes first."""
    return READ.index(price.read), -Day.fromisoformat(price.date).toordinal(), -price.value


def built_in() -> PriceList:
    """prices.yaml."""
    return PriceList(read_prices(BUILT_IN))


def price_list(file: Path | None, values: Sequence[str], today: Day) -> PriceList:
    """The built-in prices, overridden by a user's file and by single values ("gpu/l4=0.7"). Raises ConfigError."""
    prices = built_in()
    if file is not None:
        prices = prices.over(replace(price, read="given") for price in read_prices(file))
    return prices.over(given(text, today) for text in values)


def given(text: str, today: Day) -> Price:
    """A price from the command line: ITEM=VALUE. Raises ConfigError."""
    item, equals, number = text.partition("=")
    item = item.strip()
    fix = "write it like gpu/l4=0.7, api/gpt-4o-mini/input=0.15, power/mine=0.3 or labour/labelling=25"
    kind = item.partition("/")[0]
    if not equals or kind not in _UNIT_OF or not item.partition("/")[2]:
        raise ConfigError("is no price", got=text, where="--price", fix=fix)
    value = _number(number)
    if value is None:
        raise ConfigError("is no price: the value must be a number of at least 0", got=text, where="--price", fix=fix)
    return Price(item, value, _UNIT_OF[kind], "given on the command line", today.isoformat(), read="given")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def read_prices(file: Path) -> list[Price]:
    """A file in the shape of prices.yaml. Raises ConfigError with every mistake in it."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = "name a YAML file with a list under `prices`"
        raise ConfigError(f"the price file cannot be read: {error}", where=str(file), fix=fix) from None
    tree = _tree(text, str(file))
    rows = tree.values.get("prices")
    if not isinstance(rows, list):
        raise _no_list(str(file))
    if (currency := tree.values.get("currency", "USD")) != "USD":
        fix = "turn the prices into USD: Burnish does not change money"
        raise ConfigError("prices must be in USD", got=currency, where=f"{file}:currency", fix=fix)
    problems = list(tree.problems)
    found = [_price(row, ("prices", number), tree, str(file), problems) for number, row in enumerate(rows)]
    if problems:
        raise ConfigError("", problems=problems)
    return [price for price in found if price is not None]


def _tree(text: str, file: str) -> Tree:
    try:
        return read_yaml(text, file)
    except ConfigError as error:
        if error.problems and error.problems[0].what.startswith(("a task file", "the file is empty")):
            raise _no_list(file) from None
        raise


def _no_list(file: str) -> ConfigError:
    fix = "begin it with `prices:` and a list of {item, value, unit, source, date}"
    return ConfigError("holds no list of prices", where=file, fix=fix)


def _price(row: Any, key: Key, tree: Tree, file: str, problems: list[Problem]) -> Price | None:
    """One price; what is wrong with it is added to the problems."""

    def wrong(field: str, what: str, got: object, fix: str) -> None:
        place = (*key, field) if field else key
        at = tree.places.get(place) or tree.places.get(key)
        problems.append(Problem(file, at.line if at else 0, dotted(place), what, shorten(got), fix))

    if not isinstance(row, Mapping):
        wrong("", "is no mapping", row, "write {item: gpu/l4, value: 0.7, unit: USD/GPU-hour, source: …, date: …}")
        return None
    before = len(problems)
    for name in row:
        if name not in _KEYS:
            near = difflib.get_close_matches(str(name), _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_KEYS)}"
            wrong(str(name), "there is no such key", name, hint)
    for name in _NEEDED:
        if row.get(name) in (None, ""):
            wrong(name, "is missing", None, "every price needs item, value, unit, source and date")
    if len(problems) > before:
        return None
    value = _number(row["value"])
    if value is None:
        wrong("value", "must be a number of at least 0", row["value"], "give the price as a number")
    kind = str(row["item"]).partition("/")[0]
    unit = _UNIT_OF.get(kind)
    if unit is None:
        wrong(
            "item", "is of no known kind", row["item"], f"begin it with {', '.join(f'{name}/' for name in _UNIT_OF)}"
        )
    elif row["unit"] != unit:
        wrong("unit", "does not fit the item", row["unit"], f"prices of {kind}/… are in {unit}")
    days = {name: _day(row.get(name)) for name in ("date", "ends")}
    for name, day in days.items():
        if day is None and row.get(name) is not None:
            wrong(name, "is no date", row[name], "write it as 2026-11-24")
    read = str(row.get("read", "provider"))
    if read not in READ:
        wrong("read", "is none of the known ways", read, f"one of {', '.join(READ)}")
    if len(problems) > before or value is None:
        return None
    note = row.get("note")
    return Price(
        item=str(row["item"]),
        value=value,
        unit=str(row["unit"]),
        source=str(row["source"]),
        date=str(days["date"]),
        provider=str(row.get("provider", "")),
        read=read,
        ends=days["ends"],
        note=None if note is None else str(note),
    )


def _day(value: object) -> str | None:
    try:
        return Day.fromisoformat(str(value)).isoformat()
    except ValueError:
        return None
