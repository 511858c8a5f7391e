"""Watches a fleet that looks for stalls, as a study of GPS traces would."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from fleet_sim.models.arrays import FloatArray
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City, GeneratedCity, Parking, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import World
from fleet_sim.world.fleet import CRUISING, PARKED
from fleet_sim.world.roads import Roads

BUFFER_M, EXCESS_M = 400.0, 200.0
"""Millard-Ball, Weinberger, Hampshire (Findings, 2021): from the first entry into 400 m around the
final stall, a trip cruises when its way is more than 200 m longer than the shortest."""
_ROUNDING_M = 0.5
_STEP_S, _EVERY_S, _TRIP_S = 0.25, 1.0, 1800.0


class Search(NamedTuple):
    """What happened to trips that ended in a stall."""

    excess_m: FloatArray
    """[trips] way from the buffer's edge beyond the shortest one."""
    mean_s: float
    """Time that vehicles spent looking, by stall that they found: open searches count too."""
    occupancy: float
    """Mean share of stalls that was taken, the fleet's own vehicles included."""

    @property
    def cruising(self) -> float:
        """Share of trips that cruised."""
        return (
            float(np.mean(self.excess_m > EXCESS_M + _ROUNDING_M))
            if self.excess_m.size
            else float("nan")
        )


def watch(occupancy: float, seconds: float, seed: int = 0, vehicles: int = 250) -> Search:
    """A fleet of which a fifth stands parked, in 12 x 9 blocks, after 5 min of settling."""
    world = World(
        Scenario(
            name="search",
            seed=seed,
            city=City(generate=GeneratedCity(blocks=(12, 9))),
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
    edge, x, odo, goal = (np.zeros((rows, world.n)) for _ in range(4))
    excess: list[float] = []
    looking = 0.0
    found = 0
    taken = []
    settle = round(300 / _STEP_S)
    every = round(_EVERY_S / _STEP_S)
    for k in range(settle + round(seconds / _STEP_S)):
        before, lost = fleet.mode <= CRUISING, fleet.mode == CRUISING
        world.step(_STEP_S)
        row = k // every % rows
        if k % every == 0:
            edge[row], x[row], odo[row] = fleet.edge, fleet.x, fleet.odo
            goal[row] = fleet.goal_edge * 4096.0 + fleet.goal_x
        if k < settle:
            continue
        looking += _STEP_S * lost.sum()
        taken.append(world.truth.occupied.mean())
        parks = np.flatnonzero(before & (fleet.mode >= PARKED) & (fleet.stall >= 0))
        found += parks.size
        for i in parks.tolist():
            past = np.arange(k // every, max(k // every - rows, -1), -1) % rows
            aim = fleet.goal_edge[i] * 4096.0 + fleet.goal_x[i]
            same = goal[past, i] == aim
            trip = past[: int(np.argmin(same)) if not same.all() else past.size][::-1]
            if trip.size:
                here = (int(fleet.edge[i]), float(fleet.x[i]), float(fleet.odo[i]))
                then = edge[trip, i].astype(np.int64), x[trip, i], odo[trip, i]
                excess.append(_excess_m(roads, shortest, here, *then))
    return Search(np.array(excess), looking / max(found, 1), float(np.mean(taken)))


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
