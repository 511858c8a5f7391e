"""From sonar bursts to occupancy beliefs. Pure: no clock, no environment, no I/O.

A stall counts as seen when samples cover at least half of it. What was seen becomes a
log-likelihood ratio; the belief is the fold of the newest observations in event-time order, decayed
towards "unknown" between them. As the fold's input is a set, neither repetition nor the order of
arrival changes a belief.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fleet_sim.contract import RegistrySpot, RuleRecord, SpotRegistry
from fleet_sim.contract.tables import Observation, SpotBelief

MIN_SPEED_MPS = 1.0
"""Below it the samples' spacing is within the speed's own error."""
MAX_BEARING_DEG = 30.0
MIN_COVERED = 0.5
CORE = 0.7
"""Share of a stall whose samples are judged. The beam's footprint (about 1 m at 2 m range) lets a
car next door reach into a stall's ends."""
ECHO_SLACK_M = 0.5
"""A car's side is nearer than the stall's centre line by half its width, what lies behind the
stall is farther: an echo nearer than `lane_offset_m - ECHO_SLACK_M` is a car's."""
MIN_SLACK_M = 4.0
MAX_SLACK_M = 12.0
"""Bounds of the across-track tolerance: wider than lane keeping, narrower than a block."""

P_TRUE = 0.88
"""Probability that a pass tells a stall's state rightly, its position given: the single-pass error
of a slotted detector is 12.4 % (ParkNet, MobiSys 2010)."""
DECAY_MS = 20 * 60_000.0
"""Time in which an observation loses 1 - 1/e of its weight (assumption: of the order of the time a
car stays)."""
MAX_LOG_ODDS = 5.0
"""Two or three contrary looks must be able to turn a belief, however often it was confirmed."""
RECENT = 12
"""Observations a belief rests on. More would hardly weigh: each is bounded by `MAX_LOG_ODDS`."""
OCCUPIED_AT, FREE_AT = 0.7, 0.3
UNKNOWN_WITHIN = 0.1
"""Hysteresis: a state holds until the belief reaches the other one, or `0.5 ± UNKNOWN_WITHIN`."""

_GRID_M = 32.0
_M_PER_DEG = 111_195.0
"""Mean Earth radius 6,371,009 m (IUGG) times π/180."""


class _Placed(NamedTuple):
    x: float
    y: float
    bearing_x: float
    bearing_y: float
    half_m: float
    offset_m: float
    spot: RegistrySpot


class SpotIndex:
    """The registry's stalls in local metres (x east, y north), in a grid of 32 m cells.

    Equirectangular about the stalls' mean: over a city of 20 km the error of the few metres between
    a vehicle and its stalls stays below 0.2 %.
    """

    def __init__(self, registry: SpotRegistry) -> None:
        spots = registry.spots
        self.city = registry.city
        self.by_id = {spot.id: spot for spot in spots}
        self._lat0 = sum(spot.lat for spot in spots) / len(spots) if spots else 0.0
        self._lon0 = sum(spot.lon for spot in spots) / len(spots) if spots else 0.0
        self._kx = _M_PER_DEG * math.cos(math.radians(self._lat0))
        # Bounds over all stalls: how far from a track they can be.
        self.half_m = max((spot.length_m for spot in spots), default=0.0) / 2
        self.nearest_m = min((spot.lane_offset_m for spot in spots), default=0.0)
        self.farthest_m = max((spot.lane_offset_m for spot in spots), default=0.0)
        self._grid: dict[tuple[int, int], list[_Placed]] = {}
        for spot in spots:
            x, y = self.metres(spot.lat, spot.lon)
            bearing = math.radians(spot.bearing_deg)
            placed = _Placed(
                x,
                y,
                math.sin(bearing),
                math.cos(bearing),
                spot.length_m / 2,
                spot.lane_offset_m,
                spot,
            )
            cell = int(x // _GRID_M), int(y // _GRID_M)
            self._grid.setdefault(cell, []).append(placed)

    def metres(self, lat: float, lon: float) -> tuple[float, float]:
        return (lon - self._lon0) * self._kx, (lat - self._lat0) * _M_PER_DEG

    def within(self, west: float, south: float, east: float, north: float) -> Iterator[_Placed]:
        """Stalls of the grid cells that a box in metres touches."""
        for column in range(int(west // _GRID_M), int(east // _GRID_M) + 1):
            for row in range(int(south // _GRID_M), int(north // _GRID_M) + 1):
                yield from self._grid.get((column, row), ())


_MIN_COS = math.cos(math.radians(MAX_BEARING_DEG))


def observe(index: SpotIndex, record: RuleRecord) -> list[tuple[str, Observation]]:
    """What this record says of which stalls: `(spot id, observation)`.

    The last sample was taken at the record's position, those before it along a straight line
    behind, `speed / rate` apart.
    """
    sonar = record.sonar
    if sonar is None or sonar.side != "right":  # stalls are registered by their right-hand lane
        return []
    if record.speed_mps < MIN_SPEED_MPS or record.fix == 0:
        return []
    heading = math.radians(record.heading_deg)
    ux, uy = math.sin(heading), math.cos(heading)
    x, y = index.metres(record.lat, record.lon)
    ranges = sonar.range_cm
    spacing = record.speed_mps / sonar.rate_hz
    behind = (len(ranges) - 1) * spacing
    slack = min(max(MIN_SLACK_M, 2 * record.acc_m), MAX_SLACK_M)
    llr = _llr(record.acc_m)
    # Axis-parallel box around all places where a stall of this burst can be.
    margin = index.half_m + spacing / 2
    near, far = index.nearest_m - slack, index.farthest_m + slack
    ends, sides = (-behind - margin, margin), (near, far)
    xs = [x + along * ux + across * uy for along in ends for across in sides]
    ys = [y + along * uy - across * ux for along in ends for across in sides]
    found = []
    for placed in index.within(min(xs), min(ys), max(xs), max(ys)):
        px, py, bx, by, half, offset, spot = placed
        if ux * bx + uy * by < _MIN_COS:
            continue
        dx, dy = px - x, py - y
        along = dx * ux + dy * uy  # the stall's centre; 0 is the last sample, ahead is positive
        if along > half or along < -behind - half:
            continue
        if abs(dx * uy - dy * ux - offset) > slack:
            continue
        # Each sample stands for half a spacing before and after it.
        seen = min(along + half, spacing / 2) - max(along - half, -behind - spacing / 2)
        if seen < MIN_COVERED * 2 * half:
            continue
        last = len(ranges) - 1
        core = half * CORE
        begin = max(0, math.ceil(last + (along - core) / spacing))
        end = min(last, math.floor(last + (along + core) / spacing))
        if begin > end:
            continue  # so fast that no sample fell into the stall's core
        limit = (offset - ECHO_SLACK_M) * 100
        echoes = sum(0 < r <= limit for r in ranges[begin : end + 1])
        sign = 1 if 2 * echoes >= end - begin + 1 else -1
        found.append((spot.id, Observation(record.ts, record.vin, record.seq, sign * llr)))
    return found


_TYPICAL_HALF_M = 2.75


def _llr(acc_m: float) -> float:
    """Weight of a look, by the receiver's own error estimate (drms, m).

    With probability `e` the error along the track exceeds half a stall; then the look was at a
    neighbour and says nothing: `P = P_TRUE (1 - e) + e / 2`. Per axis σ = drms/√2, so
    `e = erfc(half / (√2 σ)) = erfc(half / drms)`.
    """
    elsewhere = math.erfc(_TYPICAL_HALF_M / acc_m) if acc_m > 0 else 0.0
    p = P_TRUE * (1 - elsewhere) + 0.5 * elsewhere
    return round(math.log(p / (1 - p)), 3)


class SpotState(NamedTuple):
    """A spot's item as the processor works with it."""

    run: str
    recent: tuple[Observation, ...]
    """Sorted by event time, newest last."""


def merge(current: SpotState, seen: Iterable[tuple[str, Observation]]) -> SpotState | None:
    """Add observations, given with their runs; None when nothing changes.

    A newer run's observations replace an older run's: its clock and its truth are others.
    """
    looks = list(seen)
    run = max([current.run, *(run for run, _ in looks)])
    kept = set(current.recent) if run == current.run else set()
    named = {(look.vin, look.seq) for look in kept}
    kept.update(look for of, look in looks if of == run and (look.vin, look.seq) not in named)
    merged = SpotState(run, tuple(sorted(kept)[-RECENT:]))
    return None if merged == current else merged


def belief(state: SpotState) -> SpotBelief:
    """Fold a spot's observations in event-time order."""
    if not state.recent:
        return SpotBelief(run=state.run)
    log_odds, p, verdict = 0.0, 0.5, "unknown"
    then = state.recent[0].ts
    for look in state.recent:
        log_odds = log_odds * math.exp((then - look.ts) / DECAY_MS) + look.llr
        log_odds = min(max(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)
        then = look.ts
        p = 1 / (1 + math.exp(-log_odds))
        if p >= OCCUPIED_AT:
            verdict = "occupied"
        elif p <= FREE_AT:
            verdict = "free"
        elif abs(p - 0.5) < UNKNOWN_WITHIN:
            verdict = "unknown"
    return SpotBelief(
        run=state.run,
        state=verdict,  # type: ignore[arg-type]
        p_occupied=round(p, 4),
        observations=len(state.recent),
        last_seen_ms=then,
    )
