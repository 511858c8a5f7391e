"""A vehicle's way along one street: the bursts of sonar samples that wait to be judged together.

Where a burst was is known to some metres only, and half a stall decides; a street's worth of bursts
can be laid onto the stalls (`matching`). So a vehicle's bursts wait in its item until it has left
the street or driven far enough along it. Pure: no clock, no environment, no I/O.

Records are taken one by one in the order of their sequence numbers, so a street is judged the same
however the stream cuts it into batches. A record that comes after its street was judged is judged
with those that came with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from fleet_sim.contract import RuleRecord

MIN_SPEED_MPS = 1.0
"""Below it the samples' spacing is within the speed's own error."""
MAX_TURN_DEG = 15.0
"""From the street's first burst: a street is taken for straight. Headings scatter by 1°, and
bends of a street are several times that."""
MAX_GAP_M = 40
"""Driven without a burst (lost messages, beyond 55 km/h): farther on it is another street."""
MAX_WAIT_MS = 30_000
"""A vehicle that stands so long is judged up to where it stands."""
LONG_M, LONG_BURSTS = 240, 48
"""A street is judged as it is driven after so much of it, bounding the map's delay and the item."""
AHEAD_M = 50
"""Of a long street, judged later: what comes next tells where it was."""
KEPT_M = 160
"""Of a long street, kept to lay the rest onto the stalls with."""


class Burst(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message's samples, in the whole numbers that the item holds."""

    seq: int
    ts: int
    lat_e6: int
    lon_e6: int
    heading_ddeg: int
    """0.1°."""
    speed_cmps: int
    odo_m: int
    acc_dm: int
    rate_hz: int
    count: int
    near: int
    """Bits of the samples that may be a parked car's, bit 0 the oldest."""
    heard: int
    """Bits of the samples with any echo."""


class FixError(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far off a vehicle's fixes were on the last streets that it was matched to, on average."""

    ts: int
    east_cm: int
    """The fixes were so far east of the vehicle."""
    north_cm: int


class Track(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a vehicle's item keeps between batches."""

    run: str = ""
    judged_m: int = -1
    """By the odometer: up to here this street's stalls were judged; -1: none."""
    bursts: tuple[Burst, ...] = ()
    """Of one street, in the order of their sequence numbers."""
    error: FixError | None = None


class Stretch(NamedTuple):
    """Bursts to lay onto the stalls, and which of those to judge: after `from_m`, up to `to_m`."""

    bursts: tuple[Burst, ...]
    from_m: float
    to_m: float


def advance(
    track: Track, run: str, records: Iterable[RuleRecord], near_cm: int
) -> tuple[Track, list[Stretch]]:
    """Take the vehicle's records of `run`, each for the first time, in any order.

    `near_cm`: an echo up to this distance may be a parked car's.
    """
    street = _Street(track if track.run == run else Track(run))
    stretches: list[Stretch] = []
    late: list[RuleRecord] = []
    for record in sorted(records, key=lambda item: item.seq):
        if street.bursts and record.seq < street.bursts[-1].seq:
            late.append(record)
        else:
            stretches += street.take(record, near_cm)
    other = _Street(Track(run))
    for record in late:
        if street.insert(record, near_cm):
            continue
        stretches += other.take(record, near_cm)
    stretches += other.end()
    return Track(run, street.judged_m, tuple(street.bursts), street.error), stretches


def _burst(record: RuleRecord, near_cm: int) -> Burst | None:
    """None for what cannot be placed, or did not listen to the kerb (stalls are registered by their
    right-hand lane)."""
    sonar = record.sonar
    if sonar is None or sonar.side != "right":
        return None
    if record.speed_mps < MIN_SPEED_MPS or record.fix == 0:
        return None
    near = heard = 0
    bit = 1
    for distance in sonar.range_cm:
        if distance:
            heard |= bit
            if distance <= near_cm:
                near |= bit
        bit <<= 1
    return Burst(
        record.seq,
        record.ts,
        round(record.lat * 1e6),
        round(record.lon * 1e6),
        round(record.heading_deg * 10),
        round(record.speed_mps * 100),
        round(record.odo_km * 1000),
        round(record.acc_m * 10),
        sonar.rate_hz,
        len(sonar.range_cm),
        near,
        heard,
    )


class _Street:
    def __init__(self, track: Track) -> None:
        self.bursts = list(track.bursts)
        self.judged_m = track.judged_m
        self.error = track.error

    def take(self, record: RuleRecord, near_cm: int) -> list[Stretch]:
        """The next record; answers what it makes ready to be judged."""
        ready: list[Stretch] = []
        if self.bursts and self._leaves(record):
            ready += self.end()
        burst = _burst(record, near_cm)
        if burst is None:
            return ready
        self.bursts.append(burst)
        if burst.odo_m - self.bursts[0].odo_m >= LONG_M or len(self.bursts) >= LONG_BURSTS:
            ready.append(self._judge(burst.odo_m - AHEAD_M))
            kept = [item for item in self.bursts if item.odo_m >= burst.odo_m - KEPT_M]
            # A vehicle that creeps drives no KEPT_M in all its bursts.
            self.bursts = kept[-LONG_BURSTS * 2 // 3 :]
        return ready

    def insert(self, record: RuleRecord, near_cm: int) -> bool:
        """A late record in its place among the bursts; False when it is of another street."""
        first = self.bursts[0]
        if record.seq < first.seq or not _same_way(first, record):
            return False
        burst = _burst(record, near_cm)
        if burst is not None:
            self.bursts.append(burst)
            self.bursts.sort(key=lambda item: item.seq)
        return True

    def end(self) -> list[Stretch]:
        """The street is left: everything is judged."""
        ready = [self._judge(float("inf"))] if self.bursts else []
        self.bursts, self.judged_m = [], -1
        return ready

    def _judge(self, to_m: float) -> Stretch:
        stretch = Stretch(tuple(self.bursts), self.judged_m, to_m)
        self.judged_m = max(self.judged_m, int(min(to_m, 2**53)))
        return stretch

    def _leaves(self, record: RuleRecord) -> bool:
        last = self.bursts[-1]
        if record.mode != "driving" or record.ts - last.ts > MAX_WAIT_MS:
            return True
        if not -1 <= record.odo_km * 1000 - last.odo_m <= MAX_GAP_M:
            return True
        return record.speed_mps >= MIN_SPEED_MPS and not _same_way(self.bursts[0], record)


def _same_way(burst: Burst, record: RuleRecord) -> bool:
    turned = record.heading_deg - burst.heading_ddeg / 10
    return abs((turned + 180.0) % 360.0 - 180.0) <= MAX_TURN_DEG
