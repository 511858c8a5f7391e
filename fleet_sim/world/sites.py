"""Places off the street that vehicles drive into: parking garages and fast-charging stations."""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.gnss import COVERED
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.world.districts import CENTRE, MIXED
from fleet_sim.world.roads import Roads

GARAGE, STATION = range(2)
_INNER_SHARE = 0.6
"""Garages are within this much of the way from the middle to the farthest street."""
_SHORTEST_M = 30.0
"""Of the edges with an entrance, which is in their middle."""
SETBACK_M, DEPTH_M = 14.0, 24.0
"""Vehicles inside are between the two right of the kerb lane (assumption)."""


@dataclass(frozen=True, slots=True)
class Sites:
    """K sites, [K]: garages first, then stations."""

    name: tuple[str, ...]
    kind: IntArray
    edge: IntArray
    """Where their entrance and exit is, at the kerb."""
    offset: FloatArray
    """Along the edge, m."""
    capacity: IntArray
    """Places of a garage, charging points of a station."""
    x: FloatArray
    """Of its middle, metres east and north."""
    y: FloatArray

    @property
    def n(self) -> int:
        return int(self.kind.size)

    def of(self, kind: int) -> IntArray:
        """Their numbers."""
        return np.flatnonzero(self.kind == kind)


def place(roads: Roads, character: IntArray, spec: CitySpec) -> Sites:
    """Garages spread over the centre and the mixed quarter, the first nearest to the middle;
    stations spread over the whole city, the first farthest from it. Fewer where the city has not as
    many streets of 30 m."""
    open_ = (roads.length >= _SHORTEST_M) & (roads.reception != COVERED)
    x, y = roads.middle()
    away = np.hypot(x - x.mean(), y - y.mean())
    inner = open_ & np.isin(character, (CENTRE, MIXED)) & (away < _INNER_SHARE * away.max())
    edges: list[int] = []
    kinds: list[int] = []
    for kind, count, among, first in (
        (GARAGE, spec.garages.count, inner if inner.any() else open_, -away),
        (STATION, spec.charging.stations, open_, away),
    ):
        chosen = _spread(x, y, among, first, count, edges)
        edges += chosen
        kinds += [kind] * len(chosen)
    edge, kind_of = np.array(edges, dtype=np.int64), np.array(kinds, dtype=np.int64)
    offset = roads.length[edge] / 2
    mid_x, mid_y = roads.point(edge, offset, SETBACK_M + DEPTH_M / 2)
    number = [kinds[: i + 1].count(kind) for i, kind in enumerate(kinds)]
    return Sites(
        name=tuple(
            f"{('garage', 'station')[kind]} {k}" for kind, k in zip(kinds, number, strict=True)
        ),
        kind=kind_of,
        edge=edge,
        offset=offset,
        capacity=np.where(kind_of == GARAGE, spec.garages.capacity, spec.charging.points),
        x=mid_x,
        y=mid_y,
    )


def _spread(
    x: FloatArray, y: FloatArray, among: BoolArray, first: FloatArray, count: int, taken: list[int]
) -> list[int]:
    """Up to `count` edges `among` all, each as far as can be from those before it, beginning with
    the greatest `first`; none that is `taken`."""
    free = among.copy()
    free[taken] = False
    chosen: list[int] = []
    nearest = np.full(x.size, np.inf)
    while len(chosen) < count and free.any():
        score = np.where(free, nearest if chosen else first, -np.inf)
        edge = int(score.argmax())
        chosen.append(edge)
        free[edge] = False
        nearest = np.minimum(nearest, np.hypot(x - x[edge], y - y[edge]))
    return chosen
