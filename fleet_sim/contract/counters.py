"""Counts of vehicles and spots that the processor keeps as it writes, so that a summary reads some
tens of items and not the tables from end to end.

Everything counted has an end by which it must have been confirmed, or is over: a vehicle is online
for a minute after it was heard of and counted for a day, a spot is called free or taken until what
was seen has faded. An item of the counters table holds the counts of one kind, one end and one
shard of the stream; a summary sums those whose end is to come. A vehicle that is heard of again, or
a spot that is looked at again, moves from one item to another. What a process that died has not
moved ends by itself.

`counters`: key `kind` and `at` (`end#shard`, seconds); the counts; `gone_s`, when DynamoDB may
delete it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fleet_sim.contract.api import FleetSummary, VehicleView
from fleet_sim.contract.fading import FORGOTTEN, UNKNOWN_WITHIN
from fleet_sim.contract.tables import AttributeMap, SpotBelief

ONLINE, FLEET, CALLS, SPOTS = "online", "fleet", "calls", "spots"
"""Kinds: vehicles heard of in the last minute, vehicles heard of in the last day, calls of spots,
and one item with the number of spots."""
KINDS = (ONLINE, FLEET, CALLS, SPOTS)
TOTAL = "total"
"""`at` of that item."""
_LASTS_S = {ONLINE: 60, FLEET: 86_400}
_STEP_S = {ONLINE: 10, FLEET: 3_600, CALLS: 300}
"""Ends are rounded up to these."""
_KEPT_S = 86_400
"""How long an item stays after its end."""

Counts = dict[str, float]


class Slot(NamedTuple):
    kind: str
    end_s: int


def vehicle_counts(view: VehicleView) -> dict[Slot, Counts]:
    """What a vehicle in this state counts for."""
    heard_s = view.processed_ms / 1e3
    return {
        _slot(ONLINE, heard_s + _LASTS_S[ONLINE]): {"vehicles": 1},
        _slot(FLEET, heard_s + _LASTS_S[FLEET]): {"vehicles": 1, view.mode: 1, "soc": view.soc},
    }


def spot_counts(belief: SpotBelief) -> dict[Slot, Counts]:
    """What a spot of this belief counts for; nothing when it is unknown."""
    if belief.state == "unknown" or not belief.last_seen_ms:
        return {}
    seen_s = (belief.last_seen_ms - belief.ahead_ms) / 1e3
    return {_slot(CALLS, seen_s + holds_s(belief)): {belief.state: 1}}


def holds_s(belief: SpotBelief) -> float:
    """How long after its newest look a call holds: until `fading.as_of` answers unknown."""
    if belief.state == "occupied":
        limit, crossed = 0.5 + UNKNOWN_WITHIN, belief.usual < 0.5 + UNKNOWN_WITHIN
    else:
        limit, crossed = 0.5 - UNKNOWN_WITHIN, belief.usual > 0.5 - UNKNOWN_WITHIN
    left = FORGOTTEN
    if crossed and belief.p_occupied != belief.usual:
        left = (limit - belief.usual) / (belief.p_occupied - belief.usual)
    left = min(max(left, FORGOTTEN), 1.0)
    return -belief.relax_s * math.log(left)


def _end_s(kind: str, end_s: float) -> int:
    step = _STEP_S[kind]
    return math.ceil(end_s / step) * step


def _slot(kind: str, end_s: float) -> Slot:
    return Slot(kind, _end_s(kind, end_s))


class Moves:
    """Changes of counts, summed up."""

    def __init__(self) -> None:
        self._by: dict[Slot, Counts] = {}

    def add(self, before: dict[Slot, Counts], after: dict[Slot, Counts]) -> None:
        for sign, counts in ((-1, before), (1, after)):
            for slot, values in counts.items():
                held = self._by.setdefault(slot, {})
                for name, value in values.items():
                    held[name] = held.get(name, 0.0) + sign * value

    def add_vehicle(self, before: VehicleView | None, after: VehicleView) -> None:
        """As `add` of what both count for; most messages only change the state of charge."""
        if before is not None and before.mode == after.mode:
            fleet = _slot(FLEET, after.processed_ms / 1e3 + _LASTS_S[FLEET])
            if fleet.end_s == _end_s(FLEET, before.processed_ms / 1e3 + _LASTS_S[FLEET]):
                held = self._by.setdefault(fleet, {})
                held["soc"] = held.get("soc", 0.0) + after.soc - before.soc
                ends = [
                    _end_s(ONLINE, view.processed_ms / 1e3 + _LASTS_S[ONLINE])
                    for view in (before, after)
                ]
                if ends[0] != ends[1]:
                    for end_s, change in zip(ends, (-1.0, 1.0), strict=True):
                        held = self._by.setdefault(Slot(ONLINE, end_s), {})
                        held["vehicles"] = held.get("vehicles", 0.0) + change
                return
        self.add(vehicle_counts(before) if before is not None else {}, vehicle_counts(after))

    def items(self, now_ms: float) -> Iterator[tuple[Slot, Counts]]:
        """What is not nothing, and not over already."""
        for slot, values in sorted(self._by.items()):
            moved = {name: round(value, 4) for name, value in values.items() if abs(value) > 5e-5}
            if moved and slot.end_s * 1e3 > now_ms:
                yield slot, moved


def update_of(table: str, slot: Slot, shard: str, counts: Counts) -> AttributeMap:
    """An `Update` that adds to an item, as DynamoDB's requests hold it."""
    names = {f"#{i}": name for i, name in enumerate(counts)}
    values: AttributeMap = {
        f":{i}": {"N": f"{value:.4f}"} for i, value in enumerate(counts.values())
    }
    values[":gone"] = {"N": str(slot.end_s + _KEPT_S)}
    return {
        "TableName": table,
        "Key": {"kind": {"S": slot.kind}, "at": {"S": f"{slot.end_s:012d}#{shard}"}},
        "UpdateExpression": "ADD "
        + ", ".join(f"#{i} :{i}" for i in range(len(counts)))
        + " SET gone_s = :gone",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def since(now_ms: float) -> str:
    """`at` after which ends are to come."""
    return f"{math.floor(now_ms / 1e3):012d}$"  # `$` sorts after `#`


def spots_item(spots: int) -> AttributeMap:
    return {"kind": {"S": SPOTS}, "at": {"S": TOTAL}, "spots": {"N": str(spots)}}


def summary(items: Iterable[AttributeMap], now_ms: int) -> FleetSummary:
    """The fleet, from all items of the four kinds whose end is to come."""
    sums: dict[tuple[str, str], float] = {}
    for item in items:
        kind = item["kind"]["S"]
        for name, value in item.items():
            if "N" in value:
                sums[kind, name] = sums.get((kind, name), 0.0) + float(value["N"])

    def count(kind: str, name: str) -> int:
        return max(0, round(sums.get((kind, name), 0.0)))

    vehicles, spots = count(FLEET, "vehicles"), count(SPOTS, "spots")
    occupied, free = count(CALLS, "occupied"), count(CALLS, "free")
    return FleetSummary(
        vehicles=vehicles,
        online=count(ONLINE, "vehicles"),
        driving=count(FLEET, "driving"),
        parked=count(FLEET, "parked"),
        charging=count(FLEET, "charging"),
        mean_soc=round(sums.get((FLEET, "soc"), 0.0) / vehicles, 4) if vehicles else None,
        spots=spots,
        occupied=occupied,
        free=free,
        unknown=max(0, spots - occupied - free),
        as_of_ms=now_ms,
    )
