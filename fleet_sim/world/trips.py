"""What vehicles want: destinations, and to park, for how long, and to charge."""

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.scenario.model import Scenario
from fleet_sim.world.districts import ATTRACTION
from fleet_sim.world.fleet import CHARGING, CRUISING, DRIVING, NONE, PARKED, Fleet
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.offstreet import OffStreet
from fleet_sim.world.search import Search
from fleet_sim.world.traffic import one_each

DWELL_MEDIAN_S, DWELL_LOG_SIGMA = 120.0, 0.8
"""Stops of taxis and deliveries are minutes long (assumption)."""
DWELL_MEAN_S = DWELL_MEDIAN_S * float(np.exp(DWELL_LOG_SIGMA**2 / 2))
MEAN_TRIP_MPS = 6.0
"""Door to door, with signals and turns (assumption; only sets how often vehicles park)."""
NO_GOAL_MPS = 80 / 3.6
"""No trip ends on a road as fast as this; on others as often as they are long (assumption)."""
SURGE_SHARE = 0.5
"""Of trips that go to an event while it fills (assumption)."""
SURGE_M = 250.0
LOW_SOC, FULL_SOC, EMPTY_SOC = 0.2, 0.8, 0.03


class Trips:
    """Gives the fleet its errands. `kerb` is where its stalls come from."""

    def __init__(
        self, scenario: Scenario, fleet: Fleet, kerb: Kerb, rng: np.random.Generator
    ) -> None:
        self._fleet, self._kerb, self._rng = fleet, kerb, rng
        self.search = Search(fleet, kerb)
        self.off = OffStreet(fleet, 1000.0 * float(scenario.city.charging.power_kw))
        self.wake_s: FloatArray = np.full(fleet.rows, np.inf)
        """[rows] when it leaves where it stands."""
        self._pull: FloatArray | None = None
        """Cumulative weight of the edges near the surge's venue, None without one."""
        self.given_up = 0
        """Searches of the fleet's vehicles that ended neither in a stall nor in a garage."""
        self.car_stalls = self.car_places = np.empty(0, dtype=np.int64)
        self.cars_lost = 0
        """Stalls and places of garages that cars outside the fleet took in this step, and how many
        of them went away; who reads it takes it."""
        roads = fleet.city.roads
        slow = roads.limit_mps < NO_GOAL_MPS
        self._goals: FloatArray = np.cumsum(
            roads.length * (slow | ~slow.any()) * ATTRACTION[fleet.city.character]
        )
        """Cumulative weight of the edges as destinations."""
        cols_rows = np.ptp(roads.node_x) + np.ptp(roads.node_y)
        self.trip_s = max(float(cols_rows) / 3, float(roads.length[0])) / MEAN_TRIP_MPS
        """About how long a trip takes."""
        share = np.array([float(g.parked) for g in scenario.fleet])
        # Parking as often as this keeps the share that is parked where it begins.
        odds = share / np.maximum(1.0 - share, 1e-9)
        chance = np.minimum(odds * self.trip_s / DWELL_MEAN_S, 1.0)[fleet.groups]
        # Of other cars, the demand for stalls decides.
        self._park_chance: FloatArray = np.append(chance, np.zeros(fleet.rows - fleet.n))
        self._begin(scenario)

    def _begin(self, scenario: Scenario) -> None:
        fleet, stalls = self._fleet, self._kerb.stalls
        quota = [round(float(g.parked) * g.count) for g in scenario.fleet]
        if sum(quota) > stalls.n:
            raise ValueError(
                f"fleet: {sum(quota)} vehicles begin parked, but the city has {stalls.n} stalls "
                "(allowed: fewer vehicles, a smaller `parked`, or a larger city)"
            )
        start = np.cumsum([0, *(g.count for g in scenario.fleet)])
        parked = np.concatenate([np.arange(s, s + q) for s, q in zip(start, quota, strict=False)])
        chosen = self._rng.choice(stalls.n, parked.size, replace=False)
        self._kerb.fill(chosen, parked, 2 * fleet.half[parked])
        fleet.mode[parked] = PARKED
        fleet.stall[parked], fleet.edge[parked] = chosen, stalls.edge[chosen]
        fleet.lane[parked] = fleet.lanes.first[stalls.edge[chosen]]
        fleet.x[parked] = stalls.offset[chosen]
        # The remaining dwell of a vehicle met at a random time is length-biased.
        dwell = self._draw_dwell_s(parked.size) * np.exp(DWELL_LOG_SIGMA**2)
        self.wake_s[parked] = dwell * self._rng.random(parked.size)
        moving = np.flatnonzero(fleet.mode == DRIVING)
        fleet.put_on_road(moving)
        self._send(moving)

    def surge(self, x: float | None, y: float | None) -> None:
        """Send half of all new trips to edges near (x, y); None ends it."""
        if x is None or y is None:
            self._pull = None
            return
        mx, my = self._fleet.city.roads.middle()
        self._pull = np.cumsum(np.exp(-np.hypot(mx - x, my - y) / SURGE_M))

    def step(self, dt_s: float, now_s: float) -> None:
        """Arrivals, searches, parking and leaving at the end of a step."""
        fleet, off = self._fleet, self.off
        mode = fleet.mode
        arrived = np.flatnonzero(
            (mode == DRIVING) & (fleet.edge == fleet.goal_edge) & (fleet.x >= fleet.goal_x)
        )
        if off.sites.n:
            self._drive_in(now_s)
            arrived = arrived[(mode[arrived] == DRIVING) & (off.bound[arrived] < 0)]
        if arrived.size:
            self._arrive(arrived, now_s)
        there, tired = self.search.step(off.bound >= 0, now_s)
        if there.size:
            self._park(there, now_s)
        if tired.size:
            self._give_up(tired)
        charging = np.flatnonzero(mode == CHARGING)
        if charging.size:
            self._charge(charging, dt_s, now_s)
        leaving = np.flatnonzero(self.wake_s <= now_s)
        if leaving.size:
            self._leave(leaving, now_s)
        empty = np.flatnonzero((fleet.soc < EMPTY_SOC) & (mode <= CRUISING))
        if empty.size:
            self._strand(empty)

    def _destinations(self, k: int) -> tuple[IntArray, FloatArray]:
        roads = self._fleet.city.roads
        drawn = self._goals.searchsorted(self._rng.random(k) * self._goals[-1], side="right")
        edge: IntArray = drawn
        if self._pull is not None:
            pulled = self._pull.searchsorted(self._rng.random(k) * self._pull[-1], side="right")
            edge = np.where(self._rng.random(k) < SURGE_SHARE, pulled, edge)
        return edge, self._rng.uniform(0.2, 0.8, k) * roads.length[edge]

    def _draw_dwell_s(self, k: int) -> FloatArray:
        return DWELL_MEDIAN_S * np.exp(DWELL_LOG_SIGMA * self._rng.standard_normal(k))

    def _send(self, idx: IntArray) -> None:
        """On the next errand, which may be one to park for, or to charge when that is due."""
        fleet = self._fleet
        low = fleet.soc[idx] < LOW_SOC
        fleet.mode[idx] = DRIVING
        fleet.v_cap[idx] = fleet.v_max[idx]
        if low.any():
            low[low] = self.off.to_station(idx[low])
            idx = idx[~low]
        park = self._rng.random(idx.size) < self._park_chance[idx]
        # Without a station it charges where it parks.
        park |= fleet.soc[idx] < LOW_SOC
        fleet.parks[idx] = park & (self._kerb.stalls.n > 0)
        fleet.head_for(idx, *self._destinations(idx.size))

    def send_to_event(self, idx: IntArray) -> None:
        """To the place of the present surge; nowhere else when there is none."""
        if self._pull is not None:
            roads = self._fleet.city.roads
            drawn = self._rng.random(idx.size) * self._pull[-1]
            edge = self._pull.searchsorted(drawn, side="right")
            x = self._rng.uniform(0.2, 0.8, idx.size) * roads.length[edge]
            self._fleet.head_for(idx, edge, x)

    def _arrive(self, idx: IntArray, now_s: float) -> None:
        looks = self._fleet.parks[idx]
        if looks.any():
            self.search.begin(idx[looks], now_s)
        if not looks.all():
            self._send(idx[~looks])

    def _park(self, idx: IntArray, now_s: float) -> None:
        fleet, kerb = self._fleet, self._kerb
        stalls = self.search.parked(idx)
        kerb.take(now_s, stalls, fleet.by[idx], 2 * fleet.half[idx])
        fleet.x[idx] = kerb.stalls.offset[stalls]
        fleet.v[idx] = fleet.accel[idx] = 0.0
        low = fleet.soc[idx] < LOW_SOC
        fleet.mode[idx] = np.where(low, CHARGING, PARKED)
        self.wake_s[idx] = np.where(low, np.inf, now_s + self._draw_dwell_s(idx.size))
        car = idx >= fleet.n
        if car.any():
            self.car_stalls = stalls[car]
            fleet.stall[idx[car]] = NONE
            self.wake_s[idx[car]] = np.inf

    def _give_up(self, idx: IntArray) -> None:
        """To the nearest garage with room; without one, away."""
        fleet = self._fleet
        self.search.end(idx)
        fleet.mode[idx] = DRIVING
        self._go_away(idx[~self.off.to_garage(idx)])

    def _go_away(self, idx: IntArray) -> None:
        """They leave without having parked."""
        self.given_up += int(np.count_nonzero(idx < self._fleet.n))
        self.cars_lost += int(np.count_nonzero(idx >= self._fleet.n))
        self._send(idx)

    def _drive_in(self, now_s: float) -> None:
        fleet = self._fleet
        parked, full = self.off.arrive(now_s)
        if parked.size:
            car = parked >= fleet.n
            self.wake_s[parked] = now_s + self._draw_dwell_s(parked.size)
            if car.any():
                self.wake_s[parked[car]] = np.inf
                self.car_places = self.off.hand_over(parked[car])
        if full.size:
            self._go_away(full)

    def _charge(self, idx: IntArray, dt_s: float, now_s: float) -> None:
        self.off.charge(idx, dt_s)
        full = idx[self._fleet.soc[idx] >= FULL_SOC]
        self.wake_s[full] = np.minimum(self.wake_s[full], now_s)

    def _leave(self, idx: IntArray, now_s: float) -> None:
        """Pull out where the lane has a gap, one vehicle an edge and step; others wait."""
        fleet = self._fleet
        idx = idx[fleet.room_to_join(fleet.edge[idx], fleet.x[idx], fleet.half[idx])]
        if not idx.size:
            return
        idx = idx[one_each(idx, fleet.edge[idx], self.wake_s[idx])]
        stalls = fleet.stall[idx]
        self._kerb.free(now_s, stalls[stalls >= 0])
        self.off.leave(idx, now_s)
        self.set_out(idx, now_s)

    def set_out(self, idx: IntArray, now_s: float) -> None:
        """From the kerb at (`edge`, `x`) of each, standing, on a new errand."""
        fleet = self._fleet
        fleet.stall[idx] = NONE
        fleet.v[idx] = fleet.accel[idx] = 0.0
        fleet.prev_edge[idx] = NONE
        fleet.lane[idx] = fleet.lanes.first[fleet.edge[idx]]
        fleet.on_road_since_s[idx] = now_s
        self.wake_s[idx] = np.inf
        self._send(idx)

    def _strand(self, idx: IntArray) -> None:
        """An all but empty vehicle leaves the road where it is and charges off the street."""
        fleet = self._fleet
        self.search.end(idx)
        self.off.bound[idx] = NONE
        fleet.mode[idx] = CHARGING
        fleet.v[idx] = fleet.accel[idx] = 0.0
        self.wake_s[idx] = np.inf
