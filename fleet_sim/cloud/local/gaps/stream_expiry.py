"""Kinesis: storage of a shard's records.

AWS: a record stays readable for the stream's retention period; a shard iterator keeps its place
whatever expires meanwhile.

Stock MiniStack: every put rebuilds the list of every shard of the stream (31 ms a put at 200,000
records), and iterators are positions in that list, so expiry makes them skip records.

Closed by: a log whose positions are absolute and never reused. Expiry advances its start, and
moves memory only when half of what is held is dead, so a put costs amortised constant time.

One difference from AWS is deliberate: beyond `MAX_RECORDS` a shard forgets its oldest records
early, but only those that every event source mapping of the stream has processed. A long run would
otherwise hold a day's traffic in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, overload

from fleet_sim.cloud.local.gaps import _seam

Record = dict[str, Any]

MAX_RECORDS = 200_000
_EXPIRY_EVERY = 1024
log = logging.getLogger("fleet_sim.local.kinesis")


class ShardLog:
    """A shard's records, oldest first, read by absolute position.

    Behaves like the list it replaces (`append`, `len`, slices, iteration) except that positions of
    expired records stay taken: `len` is the position after the newest record ever appended.
    """

    __slots__ = ("_dead", "_first", "_items", "readers", "wakers")

    def __init__(self) -> None:
        self._items: list[Record] = []
        self._first = 0  # position of _items[0]
        self._dead = 0  # how many at the start of _items are expired
        self.wakers: set[Callable[[], None]] = set()
        """Called after each append; must not block."""
        self.readers: dict[object, Callable[[], int]] = {}
        """Positions up to which each consumer has processed the shard."""

    @property
    def start(self) -> int:
        """Position of the oldest record that can be read (TRIM_HORIZON)."""
        return self._first + self._dead

    def append(self, record: Record) -> None:
        self._items.append(record)
        for wake in tuple(self.wakers):
            wake()

    def __len__(self) -> int:
        return self._first + len(self._items)

    def __bool__(self) -> bool:
        return len(self._items) > self._dead

    def __iter__(self) -> Iterator[Record]:
        return islice(iter(self._items), self._dead, None)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            start = max(start, self.start)
            return self._items[start - self._first : max(stop - self._first, 0)]
        position = index if index >= 0 else len(self) + index
        if not self.start <= position < len(self):
            raise IndexError(f"no record at position {index}")
        return self._items[position - self._first]

    def expire(self, before_s: float) -> None:
        """Drops the records that arrived before `before_s` (epoch seconds), and the surplus."""
        items, dead = self._items, self._dead
        while dead < len(items) and items[dead]["ApproximateArrivalTimestamp"] < before_s:
            dead += 1
        surplus = len(items) - MAX_RECORDS
        if surplus > dead and self.readers:
            processed = min(position() for position in self.readers.values()) - self._first
            dead = max(dead, min(surplus, processed))
        self._dead = dead
        if dead > _EXPIRY_EVERY and dead * 2 > len(items):
            del items[:dead]
            self._first += dead
            self._dead = 0

    def find(self, wanted: Callable[[Record], bool]) -> int:
        """Position of the first record that is `wanted`, or the end."""
        for offset, record in enumerate(self):
            if wanted(record):
                return self.start + offset
        return len(self)


def expire(stream: dict[str, Any]) -> None:
    """Drops what is older than the stream's retention period."""
    cutoff = time.time() - stream["RetentionPeriodHours"] * 3600
    for shard in stream["shards"].values():
        shard["records"].expire(cutoff)


def _start_position(
    records: ShardLog, iterator_type: str, sequence: str, timestamp: object
) -> int | None:
    """Where a shard iterator starts; None for a type that does not exist."""
    if iterator_type == "TRIM_HORIZON":
        return records.start
    if iterator_type == "LATEST":
        return len(records)
    if iterator_type == "AT_SEQUENCE_NUMBER":
        return records.find(lambda record: record["SequenceNumber"] >= sequence)
    if iterator_type == "AFTER_SEQUENCE_NUMBER":
        return records.find(lambda record: record["SequenceNumber"] > sequence)
    if iterator_type == "AT_TIMESTAMP":
        since = float(str(timestamp))
        return records.find(lambda record: record["ApproximateArrivalTimestamp"] >= since)
    return None


def apply() -> None:
    kinesis = _seam.service("kinesis")
    _seam.expect(kinesis, "_streams", "_merge_shards", "_split_shard")
    _seam.expect_parameters(kinesis._expire_records, "stream")
    _seam.expect_parameters(kinesis._build_shards, "shard_count", "start_index")
    _seam.expect_parameters(kinesis._start_position, "records", "it_type", "seq", "at_ts")
    stock_build = kinesis._build_shards

    def build_shards(shard_count: int, start_index: int = 0) -> Any:
        shards = stock_build(shard_count, start_index)
        for shard in shards.values():
            if shard["records"] != []:
                raise _seam.GapError("new shards are expected to be empty lists")
            shard["records"] = ShardLog()
        return shards

    def expire_records(stream: dict[str, Any]) -> None:
        # Splitting and merging make shards of their own.
        for shard in stream["shards"].values():
            if isinstance(shard["records"], list):
                fresh = ShardLog()
                for record in shard["records"]:
                    fresh.append(record)
                shard["records"] = fresh
        expire(stream)

    kinesis._build_shards = build_shards
    kinesis._expire_records = expire_records
    kinesis._start_position = _start_position
