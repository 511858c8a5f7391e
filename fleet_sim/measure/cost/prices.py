"""What AWS asks for: a dated table of list prices by region, with where each figure is from."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

MONTH_H = 730.0
"""Hours of a month, as AWS's own calculator has it."""

Tiers = tuple[tuple[float, float], ...]
"""Units up to which a price holds (the last: infinity), and USD a unit."""


class Figure(NamedTuple):
    """One price of one region."""

    name: str
    unit: str
    tiers: Tiers
    source: str
    seen: bool
    """Compared with a quotation of its source when the table was made."""

    def usd(self, units: float) -> float:
        """For so many units in one month, tier by tier."""
        paid, begin = 0.0, 0.0
        for end, usd in self.tiers:
            if units <= begin:
                break
            paid += (min(units, end) - begin) * usd
            begin = end
        return paid


class Prices(NamedTuple):
    """All figures of one region."""

    region: str
    dated: dt.date
    figures: Mapping[str, Figure]

    def usd(self, name: str, units: float, hours: float) -> float:
        """For `units` spread over `hours`; tiers begin anew with each month."""
        months = max(1.0, hours / MONTH_H)
        return months * self.figures[name].usd(units / months)


class RegionError(ValueError):
    """A region of which the table knows nothing."""


def regions() -> tuple[str, ...]:
    """Those that have every figure."""
    figures = list(_table()["figures"].values())
    return tuple(name for name in figures[0] if all(name in f for f in figures) and "-" in name)


@cache
def prices(region: str) -> Prices:
    """`RegionError` names the regions that the table has."""
    if region not in regions():
        raise RegionError(f"{region!r} is not in the price table (allowed: {', '.join(regions())})")
    table = _table()
    return Prices(
        region,
        table["dated"],
        {name: _figure(name, entry, region) for name, entry in table["figures"].items()},
    )


def _figure(name: str, entry: Mapping[str, Any], region: str) -> Figure:
    asked, per = entry[region], float(entry["per"])
    listed = asked if isinstance(asked, list) else [[None, asked]]
    tiers = tuple(
        (float("inf") if end is None else float(end), float(usd) / per) for end, usd in listed
    )
    return Figure(name, entry["unit"], tiers, entry["source"], region in entry["seen"])


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())
    return table
