"""Watches a fleet that looks for stalls, as a study of GPS traces would."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity, Parking, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import City, World
from fleet_sim.world.fleet import CRUISING, PARKED
from fleet_sim.world.roads import Roads

BUFFER_M, EXCESS_M = 400.0, 200.0
"""Millard-Ball, Weinberger, Hampshire (Findings, 2021): from the first entry into 400 m around the
final stall, a trip cruises when its way is more than 200 m longer than the shortest."""
_ROUNDING_M = 0.5
CARS = 100
"""Of others on the road: about as many as the arrivals of ordinary cars need."""
_STEP_S, _EVERY_S, _TRIP_S = 0.25, 1.0, 1800.0


class Search(NamedTuple):
    """What happened to vehicles that looked for a stall, by how full it was where they looked: the
    share of stalls taken within 400 m of their destination, at that time."""

    excess_m: FloatArray
    """[trips that ended in a stall] way from the buffer's edge beyond the shortest one."""
    around: FloatArray
    """[trips] share taken around the destination when they parked."""
    looking_s: FloatArray
    """[100] time spent looking, by percent taken; searches that go on count too."""
    found: IntArray
    """[100] searches that ended in a stall or a garage, by percent taken."""
    occupancy: float
    """Mean share of the city's stalls that was taken, the fleet's own vehicles included."""

    def cruised(self, low: float, high: float) -> FloatArray:
        """Excess of the trips that parked where `low` to below `high` was taken, m."""
        return self.excess_m[(self.around >= low) & (self.around < high)]

    def mean_s(self, low: float, high: float) -> float:
        """Time of a search where `low` to below `high` was taken; NaN when none ended."""
        found = self.ended(low, high)
        looking_s = float(self.looking_s[round(100 * low) : round(100 * high)].sum())
        return looking_s / found if found else float("nan")

    def ended(self, low: float, high: float) -> int:
        """Searches that ended where `low` to below `high` was taken."""
        return int(self.found[round(100 * low) : round(100 * high)].sum())


def cruising(excess_m: FloatArray) -> float:
    """Share of trips that cruised."""
    return float(np.mean(excess_m > EXCESS_M + _ROUNDING_M)) if excess_m.size else float("nan")


def pooled(runs: Sequence[Search]) -> Search:
    """Several runs as one."""
    return Search(
        np.concatenate([run.excess_m for run in runs]),
        np.concatenate([run.around for run in runs]),
        np.sum([run.looking_s for run in runs], axis=0),
        np.sum([run.found for run in runs], axis=0),
        float(np.mean([run.occupancy for run in runs])),
    )


class _Around:
    """How full it is around edges."""

    def __init__(self, city: City) -> None:
        x, y = city.roads.middle()
        stalls = cKDTree(np.stack((city.stalls.x, city.stalls.y), axis=1))
        near = stalls.query_ball_point(np.stack((x, y), axis=1), BUFFER_M)
        sizes = [len(n) for n in near]
        # Rows of a mean: each stall near an edge has the same weight.
        row = np.repeat(np.arange(x.size), sizes)
        weight = np.repeat(1.0 / np.maximum(sizes, 1), sizes)
        column = np.concatenate([np.array(n, dtype=np.int64) for n in near])
        self._mean = csr_array((weight, (row, column)), shape=(x.size, city.stalls.n))

    def __call__(self, taken: BoolArray) -> FloatArray:
        """[E] share of the stalls within 400 m of each edge's middle."""
        return np.asarray(self._mean @ taken.astype(np.float64))


def watch(occupancy: float, seconds: float, seed: int = 0, vehicles: int = 250) -> Search:
    """A fleet of which a fifth stands parked, in 12 x 9 blocks, after 5 min of settling."""
    world = World(
        Scenario(
            name="search",
            seed=seed,
            city=CitySpec(generate=GeneratedCity(blocks=(12, 9)), cars=CARS),
            fleet=(VehicleGroup(group="a", count=vehicles, parked=Fraction(0.2)),),
            phases=(
                Phase(
                    name="a",
                    duration_s=Duration(seconds),
                    parking=Parking(occupancy=Fraction(occupancy)),
                ),
            ),
        )
    )
    fleet, roads = world.fleet, world.city.roads
    shortest = dijkstra(csr_array((roads.length, (roads.tail, roads.head))))
    rows = round(_TRIP_S / _EVERY_S)
    edge, x, odo, goal = (np.zeros((rows, fleet.rows)) for _ in range(4))
    excess: list[float] = []
    around: list[float] = []
    near = _Around(world.city)
    full = near(world.truth.occupied)
    looking = np.zeros(100)
    found = np.zeros(100, dtype=np.int64)
    taken = []
    settle = round(300 / _STEP_S)
    every = round(_EVERY_S / _STEP_S)
    for k in range(settle + round(seconds / _STEP_S)):
        before, lost = fleet.mode <= CRUISING, fleet.mode[: world.n] == CRUISING
        world.step(_STEP_S)
        row = k // every % rows
        if k % every == 0:
            edge[row], x[row], odo[row] = fleet.edge, fleet.x, fleet.odo
            goal[row] = fleet.goal_edge * 4096.0 + fleet.goal_x
        if k < settle:
            continue
        if k % every == 0:
            full = np.minimum(near(world.truth.occupied), 0.9999)
            percent = (100.0 * full[fleet.goal_edge[: world.n][lost]]).astype(np.int64)
            looking += np.bincount(percent, minlength=100) * _EVERY_S
        taken.append(world.truth.occupied.mean())
        own = np.arange(fleet.rows) < world.n
        stopped = before & (fleet.mode == PARKED) & own
        percent = (100.0 * full[fleet.goal_edge[stopped]]).astype(np.int64)
        found += np.bincount(percent, minlength=100)
        for i in np.flatnonzero(stopped & (fleet.stall >= 0)).tolist():
            past = np.arange(k // every, max(k // every - rows, -1), -1) % rows
            aim = fleet.goal_edge[i] * 4096.0 + fleet.goal_x[i]
            same = goal[past, i] == aim
            trip = past[: int(np.argmin(same)) if not same.all() else past.size][::-1]
            if trip.size:
                here = (int(fleet.edge[i]), float(fleet.x[i]), float(fleet.odo[i]))
                then = edge[trip, i].astype(np.int64), x[trip, i], odo[trip, i]
                excess.append(_excess_m(roads, shortest, here, *then))
                around.append(float(full[fleet.goal_edge[i]]))
    return Search(np.array(excess), np.array(around), looking, found, float(np.mean(taken)))


def _excess_m(
    roads: Roads,
    shortest: FloatArray,
    here: tuple[int, float, float],
    edge: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    x: FloatArray,
    odo: FloatArray,
) -> float:
    at, along, way = here
    px, py = roads.point(edge, x)
    end_x, end_y = roads.point(np.array([at]), np.array([along]))
    first = int(np.argmax(np.hypot(px - end_x, py - end_y) < BUFFER_M))
    start, from_x = edge[first], x[first]
    if start == at and from_x <= along:
        least = along - from_x
    else:
        least = roads.length[start] - from_x + shortest[roads.head[start], roads.tail[at]] + along
    return float(way - odo[first] - least)
