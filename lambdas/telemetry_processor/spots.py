"""Stalls in metres, and the beliefs that observations of them make. Pure: no clock, no I/O.

The belief is the fold of the newest observations in event-time order, decayed towards the usual
occupancy between them. As the fold's input is a set, neither repetition nor the order of arrival
changes a belief.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fleet_sim.contract import RegistrySpot, SpotRegistry
from fleet_sim.contract.api import SpotState as SpotCall
from fleet_sim.contract.fading import held, remaining
from fleet_sim.contract.tables import RELAX_S, USUAL, Observation, SpotBelief

MIN_SLACK_M = 4.0
MAX_SLACK_M = 12.0
"""Bounds of the across-track tolerance: wider than lane keeping, narrower than a block."""

MAX_LOG_ODDS = 5.0
"""Two or three contrary looks must be able to turn a belief, however often it was confirmed."""
_MAX_ODDS = math.exp(MAX_LOG_ODDS)
_MIN_P, _MAX_P = 1 / (1 + _MAX_ODDS), _MAX_ODDS / (1 + _MAX_ODDS)
RECENT = 12
"""Observations a belief rests on. More would hardly weigh: each is bounded by `MAX_LOG_ODDS`."""
NEAR_SLACK_M = 0.72
"""Three metres from lane to stall, and ParkNet's threshold of 2.28 m (89.7 in) between parked cars
and what lies behind them."""
_GRID_M = 32.0
_M_PER_DEG = 111_195.0
"""Mean Earth radius 6,371,009 m (IUGG) times π/180."""


class Placed(NamedTuple):
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
        self.near_cm = round((self.nearest_m - NEAR_SLACK_M) * 100)
        """An echo up to this distance from the sensor may be a parked car's."""
        self._grid: dict[tuple[int, int], list[Placed]] = {}
        for spot in spots:
            x, y = self.metres(spot.lat, spot.lon)
            bearing = math.radians(spot.bearing_deg)
            placed = Placed(
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

    def within(self, west: float, south: float, east: float, north: float) -> Iterator[Placed]:
        """Stalls of the grid cells that a box in metres touches."""
        for column in range(int(west // _GRID_M), int(east // _GRID_M) + 1):
            for row in range(int(south // _GRID_M), int(north // _GRID_M) + 1):
                yield from self._grid.get((column, row), ())


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


def belief(state: SpotState, *, relax_s: float = RELAX_S) -> SpotBelief:
    """Fold a spot's observations in event-time order; what they told fades within `relax_s`."""
    if not state.recent:
        return SpotBelief(run=state.run)
    p = USUAL
    call: SpotCall = "unknown"
    then = state.recent[0].ts
    for look in state.recent:
        if look.ts > then:
            left = remaining(look.ts - then, relax_s)
            p = USUAL + (p - USUAL) * left
            if call != "unknown":  # fading only ever ends calls
                call = held(call, p, left)
        # Bounded, so p is never 0 or 1.
        odds = math.exp(look.llr) * p / (1 - p)
        p = _MAX_P if odds > _MAX_ODDS else _MIN_P if odds < 1 / _MAX_ODDS else odds / (1 + odds)
        call = held(call, p)
        then = look.ts
    return SpotBelief(
        run=state.run,
        state=call,
        p_occupied=round(p, 4),
        observations=len(state.recent),
        last_seen_ms=then,
        relax_s=relax_s,
    )
