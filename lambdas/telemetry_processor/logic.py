"""Decoding, the archive's lines, the vehicles' states. Pure: no clock, no environment, no I/O."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from fleet_sim.contract import MAX_TELEMETRY_BYTES, ArchivedRecord, RuleRecord, VehicleView
from fleet_sim.contract.failures import RefusedRecord

MAX_GAPS = 4_000
"""Runs of sequence numbers an item may hold (about 60 KB; DynamoDB refuses an item of 400 KB, and a
refused write would block its shard)."""
MAX_REPORTED_BYTES = 96 * 1024
"""Of a refused record, in its report: ten reports in base64 stay below SQS's limit of a request."""
MAX_AHEAD_MS = 366 * 86_400_000.0
"""Scenarios have clocks of their own, which begin in any season and may run faster than ours. With
real vehicles some minutes are enough: the template's `MaxAheadSeconds`."""


class Incoming(NamedTuple):
    """A stream record as Lambda hands it over."""

    shard: str
    sequence: str
    arrival_ms: float
    data: bytes


class Accepted(NamedTuple):
    incoming: Incoming
    record: RuleRecord


class Refused(NamedTuple):
    incoming: Incoming
    reason: str


_decoder = msgspec.json.Decoder(RuleRecord)
_any_json = msgspec.json.Decoder()


def incoming(event_record: dict) -> Incoming:  # type: ignore[type-arg]
    """One element of a Kinesis event's `Records`."""
    kinesis = event_record["kinesis"]
    return Incoming(
        shard=event_record["eventID"].partition(":")[0],
        sequence=kinesis["sequenceNumber"],
        arrival_ms=kinesis["approximateArrivalTimestamp"] * 1e3,
        data=base64.b64decode(kinesis["data"]),
    )


def decode(record: Incoming, max_ahead_ms: float = MAX_AHEAD_MS) -> Accepted | Refused:
    """Validate one record; a refusal says which rule was broken.

    `max_ahead_ms`: how far an event time may lie after the arrival in the stream. A belief is
    folded in event-time order, so a look from the future would outlast all those before it.
    """
    if len(record.data) > MAX_TELEMETRY_BYTES:
        return Refused(
            record, f"record has {len(record.data)} bytes (allowed: {MAX_TELEMETRY_BYTES})"
        )
    try:
        telemetry = _decoder.decode(record.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Refused(record, f"not telemetry: {error}")
    if telemetry.thing != telemetry.vin:
        return Refused(record, f"vin {telemetry.vin!r} was published by thing {telemetry.thing!r}")
    if telemetry.ts - record.arrival_ms > max_ahead_ms:
        return Refused(
            record,
            f"ts {telemetry.ts} is {(telemetry.ts - record.arrival_ms) / 1e3:.0f} s after its "
            f"arrival (allowed: {max_ahead_ms / 1e3:.0f} s)",
        )
    return Accepted(record, telemetry)


def refusal(refused: Refused) -> RefusedRecord:
    data = refused.incoming.data
    return RefusedRecord(
        reason=refused.reason,
        shard=refused.incoming.shard,
        sequence=refused.incoming.sequence,
        arrival_ms=refused.incoming.arrival_ms,
        size=len(data),
        record=base64.b64encode(data[:MAX_REPORTED_BYTES]).decode(),
    )


# --- archive --------------------------------------------------------------------------------------


def archive_key(records: Sequence[Incoming]) -> str:
    """Object of this batch: the same batch, tried again, has the same key."""
    first, last = records[0], records[-1]
    arrived = dt.datetime.fromtimestamp(first.arrival_ms / 1e3, dt.UTC)
    return (
        f"telemetry/dt={arrived:%Y-%m-%d}/hour={arrived:%H}/"
        f"{first.shard}-{first.sequence}-{last.sequence}.jsonl.gz"
    )


def archive_body(records: Iterable[Incoming], processed_ms: float) -> bytes:
    """All records as gzip JSON lines, refused ones too."""
    lines = [
        msgspec.json.encode(
            ArchivedRecord(
                shard=record.shard,
                sequence=record.sequence,
                arrival_ms=record.arrival_ms,
                processed_ms=processed_ms,
                record=_json_of(record.data),
            )
        )
        for record in records
    ]
    # Level 1: half the CPU of level 6 for a tenth more bytes. No time stamp: equal batches are
    # equal bytes.
    return gzip.compress(b"\n".join(lines) + b"\n", compresslevel=1, mtime=0)


def _json_of(data: bytes) -> msgspec.Raw:
    """The record as one line of JSON; what is not JSON becomes a string, in base64."""
    try:
        _any_json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(base64.b64encode(data).decode()))
    if b"\n" in data or b"\r" in data:
        return msgspec.Raw(msgspec.json.format(data, indent=-1))
    return msgspec.Raw(data)


# --- intervals ------------------------------------------------------------------------------------


def parse_intervals(text: str) -> list[tuple[int, int]]:
    """`1-118,120` → `[(1, 118), (120, 120)]`; the empty text is the empty set."""
    intervals = []
    for part in text.split(",") if text else ():
        low, _, high = part.partition("-")
        intervals.append((int(low), int(high or low)))
    return intervals


def format_intervals(intervals: Iterable[tuple[int, int]]) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in intervals)


def add_to_intervals(intervals: list[tuple[int, int]], number: int) -> bool:
    """Add in place; False when it was there. Intervals are sorted, disjoint, not adjacent."""
    at = bisect_left(intervals, (number + 1,))  # the first interval that begins after the number
    if at and intervals[at - 1][1] >= number:
        return False
    joins_left = at > 0 and intervals[at - 1][1] == number - 1
    joins_right = at < len(intervals) and intervals[at][0] == number + 1
    low = intervals[at - 1][0] if joins_left else number
    high = intervals[at][1] if joins_right else number
    intervals[at - joins_left : at + joins_right] = [(low, high)]
    return True


# --- vehicles -------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """What a batch makes of one vehicle."""

    view: VehicleView | None
    """The new state; None when nothing changes."""
    refused: list[Refused]
    fresh: tuple[Accepted, ...] = ()
    """The records that were applied for the first time."""


def fold_vehicle(
    current: VehicleView | None, records: Iterable[Accepted], processed_ms: float
) -> Fold:
    """Apply records of one vehicle, in any order.

    The newest sequence number decides the state; a late record only fills its gap, and one that
    was applied already changes nothing. A newer run replaces the state, an older one is ignored.
    """
    refused: list[Refused] = []
    by_run: dict[str, list[Accepted]] = {}
    for item in records:
        by_run.setdefault(item.record.run, []).append(item)
    if not by_run:
        return Fold(None, refused)
    run = max(by_run)
    if current is not None and run < current.run:
        return Fold(None, refused)
    if current is not None and current.run != run:
        current = None
    applied = parse_intervals(current.applied) if current else []
    newest = None
    fresh: list[Accepted] = []
    for item in by_run[run]:
        if len(applied) >= MAX_GAPS:
            refused.append(Refused(item.incoming, f"more than {MAX_GAPS} gaps in its sequence"))
        elif add_to_intervals(applied, item.record.seq):
            fresh.append(item)
            if newest is None or item.record.seq > newest.record.seq:
                newest = item
    if newest is None:
        return Fold(None, refused)
    text = format_intervals(applied)
    if current is not None and newest.record.seq < current.seq:
        late = msgspec.structs.replace(current, applied=text)
        return Fold(late, refused, tuple(fresh))
    return Fold(_view(newest, text, processed_ms), refused, tuple(fresh))


def _view(item: Accepted, applied: str, processed_ms: float) -> VehicleView:
    record = item.record
    return VehicleView(
        vin=record.vin,
        run=record.run,
        seq=record.seq,
        applied=applied,
        ts=record.ts,
        lat=record.lat,
        lon=record.lon,
        speed_mps=record.speed_mps,
        heading_deg=record.heading_deg,
        soc=record.soc,
        mode=record.mode,
        fw=record.fw,
        arrival_ms=item.incoming.arrival_ms,
        processed_ms=processed_ms,
        stored_ms=0.0,
    )
