"""What archived telemetry says of the fleet. Pure: no clock, no environment, no I/O."""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from fleet_sim.contract import ArchivedRecord, RuleRecord
from fleet_sim.contract.campaigns import version_key
from fleet_sim.contract.health import (
    BATTERY_AVERAGE,
    DATA_POINTS,
    INVALID_RECORDS,
    LATENCY,
    VEHICLES_LOST,
    VEHICLES_ONLINE,
    Metric,
    UpdateFlag,
)

_STEP = math.log(1.1)
"""Latencies are counted in classes of 10 %: some hundred from 1 ms to an hour, where CloudWatch
takes 150 values a datum."""
_MAX_VALUES = 150

_line = msgspec.json.Decoder(ArchivedRecord)
_record = msgspec.json.Decoder(RuleRecord)


class NotAnArchiveError(ValueError):
    """An object that is not gzip JSON lines of `ArchivedRecord`."""


class Seen(NamedTuple):
    """The newest of a vehicle in what was read."""

    ts: int
    soc: float
    fw: str


class Summary:
    """What some objects of the archive hold."""

    def __init__(self) -> None:
        self.points = 0
        self.invalid = 0
        self.latencies_ms: Counter[float] = Counter()
        """Class of latency → messages."""
        self.vehicles: dict[str, Seen] = {}

    def add(self, body: bytes) -> None:
        """Takes an object in, whole or not at all. Raises `NotAnArchiveError`."""
        lines = list(_lines(body))
        for line in lines:
            record = _valid(line)
            if record is None:
                self.invalid += 1
                continue
            self.points += 1
            if record.iot_ms:
                self.latencies_ms[latency_class(line.processed_ms - record.iot_ms)] += 1
            known = self.vehicles.get(record.vin)
            if known is None or record.ts >= known.ts:
                self.vehicles[record.vin] = Seen(record.ts, record.soc, record.fw)


def _lines(body: bytes) -> Iterator[ArchivedRecord]:
    try:
        for line in gzip.decompress(body).splitlines():
            yield _line.decode(line)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise NotAnArchiveError(str(error)) from error


def _valid(line: ArchivedRecord) -> RuleRecord | None:
    """The record if the processor took it: valid, and the thing's own."""
    try:
        record = _record.decode(line.record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if record.thing == record.vin else None


def latency_class(latency_ms: float) -> float:
    """The middle of its class of 10 %; at least 1 ms (clocks of two machines may disagree)."""
    steps = round(math.log(max(latency_ms, 1.0)) / _STEP)
    return round(math.exp(steps * _STEP), 3)


# --- metrics --------------------------------------------------------------------------------------


def archive_metrics(summary: Summary) -> list[tuple[str, dict[str, Any]]]:
    """Namespace and `MetricDatum` of each metric that the summary has data of."""
    data = [
        _datum(DATA_POINTS, "Count", Value=float(summary.points)),
        _datum(INVALID_RECORDS, "Count", Value=float(summary.invalid)),
    ]
    charges = [100 * seen.soc for seen in summary.vehicles.values()]
    if charges:
        statistics = {
            "SampleCount": float(len(charges)),
            "Sum": math.fsum(charges),
            "Minimum": min(charges),
            "Maximum": max(charges),
        }
        data.append(_datum(BATTERY_AVERAGE, "Percent", StatisticValues=statistics))
    classes = sorted(summary.latencies_ms.items())
    for start in range(0, len(classes), _MAX_VALUES):
        part = classes[start : start + _MAX_VALUES]
        values, counts = [value for value, _ in part], [float(count) for _, count in part]
        data.append(_datum(LATENCY, "Milliseconds", Values=values, Counts=counts))
    return data


def presence_metrics(online: int, lost: int) -> list[tuple[str, dict[str, Any]]]:
    return [
        _datum(VEHICLES_ONLINE, "Count", Value=float(online)),
        _datum(VEHICLES_LOST, "Count", Value=float(lost)),
    ]


def _datum(metric: Metric, unit: str, **content: Any) -> tuple[str, dict[str, Any]]:
    return metric.namespace, {"MetricName": metric.name, "Unit": unit, **content}


# --- updates --------------------------------------------------------------------------------------


def needs_update(fw: str, soc: float, wanted: str, min_soc: float) -> bool:
    """Whether to flag it. A vehicle that does not say a version is not flagged: what would be older
    than nothing?"""
    return soc >= min_soc and is_older(fw, wanted)


def is_older(fw: str, wanted: str) -> bool:
    try:
        return version_key(fw) < version_key(wanted)
    except ValueError:
        return False


def is_current(fw: str, wanted: str) -> bool:
    """Not the opposite of `is_older`: of a vehicle that says no version neither is known."""
    try:
        return version_key(fw) >= version_key(wanted)
    except ValueError:
        return False


def flags(
    vehicles: Iterable[tuple[str, Seen]], wanted: str, min_soc: float, now_ms: int
) -> list[UpdateFlag]:
    """Those of the vehicles that need an update; none when no firmware is `wanted`."""
    if not wanted:
        return []
    return [
        UpdateFlag(vin, wanted, seen.fw, seen.soc, now_ms)
        for vin, seen in vehicles
        if needs_update(seen.fw, seen.soc, wanted, min_soc)
    ]
