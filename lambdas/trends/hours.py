"""Counting looks by street and hour, hours by hour of week; names of objects. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

from fleet_sim.contract.trends import (
    HOURLY_PREFIX,
    HOURS_A_WEEK,
    HourlyOccupancy,
    HourTrend,
    StreetTrend,
    TrendIndex,
)
from trends.looks import Look

HOUR_MS = 3_600_000
ARCHIVE_PREFIX = "telemetry/"
_PARTITION = re.compile(r"(dt=\d{4}-\d{2}-\d{2}/hour=\d{2}/)([^/]+)$")


class Tally:
    """Looks by street and hour of event time."""

    def __init__(self, city: str) -> None:
        self._city = city
        self._count: dict[tuple[str, int], list[int]] = {}

    def add(self, looks: Iterable[Look]) -> None:
        for look in looks:
            cell = self._count.setdefault((look.street, look.ts // HOUR_MS), [0, 0])
            cell[0] += 1
            cell[1] += look.taken

    def lines(self) -> list[HourlyOccupancy]:
        """By street and hour."""
        return [
            HourlyOccupancy(self._city, street, hour * HOUR_MS, looks, taken)
            for (street, hour), (looks, taken) in sorted(self._count.items())
        ]


class Weeks:
    """Hours of many partitions, folded by hour of week."""

    def __init__(self, city: str, timezone: str) -> None:
        self.city, self.timezone = city, timezone
        self._zone = ZoneInfo(timezone)
        self._slots: dict[str, list[list[int]]] = {}
        self._whole = [[0, 0] for _ in range(HOURS_A_WEEK)]
        self._slot_of: dict[int, int] = {}
        self._hours_ms: set[int] = set()
        self.looks = 0

    def add(self, lines: Iterable[HourlyOccupancy]) -> None:
        """Those of another city are of streets that are no more: they are left out."""
        for line in lines:
            if line.city != self.city:
                continue
            slots = self._slots.get(line.street)
            if slots is None:
                slots = self._slots[line.street] = [[0, 0] for _ in range(HOURS_A_WEEK)]
            at = self._slot(line.hour_ms)
            for slot in (slots[at], self._whole[at]):
                slot[0] += line.looks
                slot[1] += line.taken
            self.looks += line.looks
            self._hours_ms.add(line.hour_ms)

    def _slot(self, hour_ms: int) -> int:
        found = self._slot_of.get(hour_ms)
        if found is None:
            local = dt.datetime.fromtimestamp(hour_ms / 1e3, self._zone)
            found = self._slot_of[hour_ms] = local.weekday() * 24 + local.hour
        return found

    def streets(self) -> Iterator[StreetTrend]:
        for street, slots in sorted(self._slots.items()):
            yield StreetTrend(street, self.timezone, _shares(slots))

    def index(self, now_ms: int) -> TrendIndex:
        return TrendIndex(
            city=self.city,
            timezone=self.timezone,
            streets=sorted(self._slots),
            looks=self.looks,
            first_ms=min(self._hours_ms, default=None),
            last_ms=max(self._hours_ms, default=None),
            as_of_ms=now_ms,
            hours=_shares(self._whole),
        )


def _shares(slots: Iterable[Sequence[int]]) -> list[HourTrend]:
    return [HourTrend(looks, round(taken / looks, 4) if looks else None) for looks, taken in slots]


# --- objects --------------------------------------------------------------------------------------


def partition_of(key: str) -> str | None:
    """`dt=…/hour=…/` of an object's key; None when it has none."""
    found = _PARTITION.search(key)
    return found[1] if found else None


def partition_at(ms: float) -> str:
    at = dt.datetime.fromtimestamp(ms / 1e3, dt.UTC)
    return f"dt={at:%Y-%m-%d}/hour={at:%H}/"


def earlier(partition: str, hours: int) -> str:
    """The partition so many hours before."""
    at = dt.datetime.strptime(partition, "dt=%Y-%m-%d/hour=%H/").replace(tzinfo=dt.UTC)
    return partition_at((at - dt.timedelta(hours=hours)).timestamp() * 1e3)


def hourly_key(partition: str, city: str, keys: Iterable[str], sample_percent: int) -> str:
    """Name of what is made of these archive objects: another when anything of it is another."""
    made_of = "\n".join([city, str(sample_percent), *sorted(keys)])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:24]
    return f"{HOURLY_PREFIX}{partition}{digest}.jsonl.gz"


def replay_order(key: str) -> tuple[str, int]:
    """Objects of a shard in the order of the stream: `{shard}-{first}-{last}.jsonl.gz`."""
    shard, first, _ = key.rsplit("/", 1)[1].rsplit("-", 2)
    return shard, int(first) if first.isdigit() else 0
