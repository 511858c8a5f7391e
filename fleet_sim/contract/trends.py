"""How full streets usually are: hour by hour from the archive, and by hour of week."""

import msgspec

from fleet_sim.contract.tables import AttributeMap, text_attribute

HOURLY_PREFIX = "trends/"
"""Of the objects in the data bucket, one for each hour's partition of the archive:
`trends/dt=YYYY-MM-DD/hour=HH/{of}.jsonl.gz`, gzip JSON lines of `HourlyOccupancy`; `of` names what
it was made of, so that an hour that has not changed is not counted again."""
HOURS_A_WEEK = 168
ALL_STREETS = "*"
"""Key of the trends table's item that holds the `TrendIndex`; no street is called so."""


class HourlyOccupancy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What vehicles saw of one street in one hour of event time."""

    city: str
    """Of the registry by which they were placed."""
    street: str
    hour_ms: int
    """When the hour began, ms since the epoch."""
    looks: int
    """Observations of the street's spots."""
    taken: int
    """How many of them spoke for occupied."""


class HourTrend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hour of the week, over all weeks."""

    looks: int
    taken: float | None
    """Share of the looks that found the spot occupied, 0-1; null without looks."""


class StreetTrend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A street's week."""

    street: str
    timezone: str
    hours: list[HourTrend]
    """168, from Monday 00:00 local time on."""


class TrendIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All streets together, which streets have a trend of their own, and what it rests on."""

    city: str
    timezone: str
    """IANA's name of the zone that hours of the week are of."""
    streets: list[str]
    looks: int
    first_ms: int | None
    """The first hour that was counted; null without any."""
    last_ms: int | None
    as_of_ms: int
    """When it was counted."""
    hours: list[HourTrend]
    """All streets together: 168, from Monday 00:00 local time on."""


def trend_item(key: str, document: StreetTrend | TrendIndex) -> AttributeMap:
    """Item of the trends table: `street`, the key, and `trend`, a document as JSON."""
    return {"street": {"S": key}, "trend": text_attribute(document)}
