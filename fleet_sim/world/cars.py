"""Cars that are not of the fleet and drive: rows of its arrays that send nothing.

They are the part of the demand for stalls that uses the streets: an arrival of `Demand` is taken
over by one that is on the road, which then looks for a stall; a car that leaves its stall takes to
the road. What they do not take over appears in a stall, and vanishes from it, as before.
"""

import numpy as np

from fleet_sim.models.arrays import IntArray
from fleet_sim.world.demand import Demand
from fleet_sim.world.fleet import DRIVING, NONE, PARKED, Fleet
from fleet_sim.world.traffic import one_each
from fleet_sim.world.trips import Trips
from fleet_sim.world.truth import BACKGROUND, EVENT, Truth

_NONE = np.empty(0, dtype=np.int64)


class Cars:
    """Joins the demand of ordinary cars to those that drive."""

    def __init__(
        self,
        fleet: Fleet,
        trips: Trips,
        truth: Truth,
        demand: Demand,
        garages: Demand,
        rng: np.random.Generator,
    ) -> None:
        """`truth` of the stalls of `demand`; `garages` is the demand for theirs."""
        self._fleet, self._trips, self._rng = fleet, trips, rng
        self._truth, self._demand, self._garages = truth, demand, garages
        self._rows: IntArray = np.arange(fleet.n, fleet.rows)
        if self._rows.size:
            demand.dispatch, demand.pull_out = self._take_over, self._pull_out
            # As many as in equilibrium are on the way to a stall already.
            on_way = demand.arrival_rate_per_s * trips.trip_s
            self._take_over(int(rng.poisson(on_way)), BACKGROUND)

    def step(self, now_s: float) -> None:
        """What those did who parked in this step, or found no stall: their rows are idle now."""
        trips = self._trips
        if trips.car_stalls.size:
            holder = self._truth.holder[trips.car_stalls]
            # An event's cars stay until it ends.
            self._demand.stay(now_s, trips.car_stalls[holder == BACKGROUND])
            trips.car_stalls = _NONE
        if trips.car_places.size:
            self._garages.stay(now_s, trips.car_places)
            trips.car_places = _NONE
        self._demand.turned_away += trips.cars_lost
        trips.cars_lost = 0

    def _take_over(self, cars: int, by: int) -> int:
        """Give the errand to park to cars on the road that have none."""
        fleet, rows = self._fleet, self._rows
        free = rows[(fleet.mode[rows] == DRIVING) & ~fleet.parks[rows]]
        chosen = self._rng.choice(free, min(cars, free.size), replace=False)
        fleet.parks[chosen], fleet.by[chosen] = True, by
        if by == EVENT:
            self._trips.send_to_event(chosen)
        return int(chosen.size)

    def _pull_out(self, now_s: float, stalls: IntArray) -> IntArray:
        """Cars that leave `stalls` take to the road, as many as rows are idle, where the lane has a
        gap; those without a gap wait. Answers which stalls they leave."""
        fleet, rows = self._fleet, self._rows
        idle = rows[(fleet.mode[rows] == PARKED) & (fleet.site[rows] == NONE)]
        k = min(idle.size, stalls.size)
        if not k:
            return stalls
        idle, drives = idle[:k], stalls[:k]
        edge, x = fleet.city.stalls.edge[drives], fleet.city.stalls.offset[drives]
        gap = fleet.room_to_join(edge, x, fleet.half[idle])
        gap[gap] = one_each(idle[gap], edge[gap], x[gap])
        idle = idle[gap]
        fleet.edge[idle], fleet.x[idle], fleet.by[idle] = edge[gap], x[gap], BACKGROUND
        self._trips.set_out(idle, now_s)
        return np.append(drives[gap], stalls[k:])
