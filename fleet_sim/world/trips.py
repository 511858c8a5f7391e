"""What vehicles want: destinations, stalls, dwell, charging."""

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.scenario.model import Scenario
from fleet_sim.world.fleet import CHARGING, CRUISING, DRIVING, NONE, PARKED, Fleet
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.traffic import NOWHERE_M, one_each

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
WALK_M = 200.0
"""Drivers take a stall this near their destination before they are there (assumption)."""
TAKES_SHARE = 0.43
"""Of the free stalls that it passes, a driver sees in time and finds long enough for its car
(assumption, chosen so that the shares of trips that cruise are those of GPS traces)."""
_HASH = (7.13, 0.7548776662466927, 0.5698402909980532)
LOW_SOC, FULL_SOC, EMPTY_SOC = 0.2, 0.8, 0.03
_SEEN_AHEAD_BRAKE_MPS2 = 2.0
_PARK_WITHIN_M, _PARK_BELOW_MPS = 0.6, 0.5


class Trips:
    """Gives the fleet its errands. `kerb` is where its stalls come from."""

    def __init__(
        self, scenario: Scenario, fleet: Fleet, kerb: Kerb, rng: np.random.Generator
    ) -> None:
        self._fleet, self._kerb, self._rng = fleet, kerb, rng
        self._claimed: BoolArray = np.zeros(kerb.stalls.n, dtype=np.bool_)
        self.wake_s: FloatArray = np.full(fleet.n, np.inf)
        self._pull: FloatArray | None = None
        """Cumulative weight of the edges near the surge's venue, None without one."""
        self._stall_key = kerb.stalls.edge * 4096.0 + kerb.stalls.offset
        roads = fleet.city.roads
        slow = roads.limit_mps < NO_GOAL_MPS
        self._goals: FloatArray = np.cumsum(roads.length * (slow | ~slow.any()))
        """Cumulative weight of the edges as destinations."""
        cols_rows = np.ptp(roads.node_x) + np.ptp(roads.node_y)
        trip_s = max(float(cols_rows) / 3, float(roads.length[0])) / MEAN_TRIP_MPS
        share = np.array([float(g.parked) for g in scenario.fleet])
        # Parking as often as this keeps the share that is parked where it begins.
        odds = share / np.maximum(1.0 - share, 1e-9)
        self._park_chance: FloatArray = np.minimum(odds * trip_s / DWELL_MEAN_S, 1.0)[fleet.groups]
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
        fleet = self._fleet
        mode = fleet.mode
        arrived = np.flatnonzero(
            (mode == DRIVING) & (fleet.edge == fleet.goal_edge) & (fleet.x >= fleet.goal_x)
        )
        if arrived.size:
            self._arrive(arrived)
        looking = np.flatnonzero((mode == CRUISING) | self._approaching())
        if looking.size:
            self._search(looking, now_s)
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
        """On the next errand, which may be one to park for."""
        fleet = self._fleet
        low = fleet.soc[idx] < LOW_SOC
        park = (self._rng.random(idx.size) < self._park_chance[idx]) | low
        fleet.parks[idx] = park & (self._kerb.stalls.n > 0)
        fleet.head_for(idx, *self._destinations(idx.size))

    def _approaching(self) -> BoolArray:
        """[n] who will park at its destination and is near enough to take a stall on the way."""
        fleet = self._fleet
        near = fleet.parks & (fleet.mode == DRIVING)
        idx = np.flatnonzero(near)
        if idx.size:
            roads = fleet.city.roads
            x, y = roads.point(fleet.edge[idx], fleet.x[idx])
            goal_x, goal_y = roads.point(fleet.goal_edge[idx], fleet.goal_x[idx])
            near[idx] = (x - goal_x) ** 2 + (y - goal_y) ** 2 < WALK_M**2
            # Who claimed a stall may leave the circle on the way to it.
            near[idx] |= fleet.stall[idx] >= 0
        return np.asarray(near)

    def _arrive(self, idx: IntArray) -> None:
        fleet = self._fleet
        looks = fleet.parks[idx]
        fleet.mode[idx[looks]] = CRUISING
        if looks.any():
            fleet.reconsider(idx[looks])
        if not looks.all():
            self._send(idx[~looks])

    def _search(self, idx: IntArray, now_s: float) -> None:
        fleet, kerb = self._fleet, self._kerb
        target = fleet.stall[idx]
        # Someone else was quicker, or it could not stop in time.
        lost = (target >= 0) & (
            kerb.truth.occupied[target] | (fleet.x[idx] > fleet.stop_x[idx] + _PARK_WITHIN_M)
        )
        lost |= (target >= 0) & (fleet.edge[idx] != kerb.stalls.edge[target])
        self._unclaim(idx[lost])
        there = (fleet.stall[idx] >= 0) & (fleet.v[idx] < _PARK_BELOW_MPS)
        there &= np.abs(fleet.stop_x[idx] - fleet.x[idx]) < _PARK_WITHIN_M
        if there.any():
            self._park(idx[there], now_s)
        self._claim(idx[fleet.stall[idx] < 0])

    def _claim(self, idx: IntArray) -> None:
        """The nearest free stall ahead on the right for each, if it can stop for it."""
        if not idx.size:
            return
        fleet, kerb = self._fleet, self._kerb
        open_ = np.flatnonzero(~(kerb.truth.occupied | self._claimed))
        if not open_.size:
            return
        way = motion.stopping_m(fleet.v[idx], fleet.accel[idx], _SEEN_AHEAD_BRAKE_MPS2) + 1.0
        at = np.searchsorted(self._stall_key[open_], fleet.edge[idx] * 4096.0 + fleet.x[idx] + way)
        stall = open_[np.minimum(at, open_.size - 1)]
        found = (at < open_.size) & (kerb.stalls.edge[stall] == fleet.edge[idx])
        found &= fleet.lane[idx] == fleet.lanes.first[fleet.edge[idx]]
        # Each driver makes up its mind once about each stall, so the draw is a hash.
        mind = (fleet.goal_x[idx] * _HASH[0] + idx * _HASH[1] + stall * _HASH[2]) % 1.0
        found &= mind < TAKES_SHARE
        idx, stall = idx[found], stall[found]
        nearest = one_each(idx, stall, kerb.stalls.offset[stall] - fleet.x[idx])
        idx, stall = idx[nearest], stall[nearest]
        self._claimed[stall] = True
        fleet.stall[idx], fleet.stop_x[idx] = stall, kerb.stalls.offset[stall]

    def _unclaim(self, idx: IntArray) -> None:
        held = idx[self._fleet.stall[idx] >= 0]
        self._claimed[self._fleet.stall[held]] = False
        self._fleet.stall[idx] = NONE
        self._fleet.stop_x[idx] = NOWHERE_M

    def _park(self, idx: IntArray, now_s: float) -> None:
        fleet, kerb = self._fleet, self._kerb
        stalls = fleet.stall[idx]
        kerb.take(now_s, stalls, idx, 2 * fleet.half[idx])
        self._claimed[stalls] = False
        fleet.x[idx] = kerb.stalls.offset[stalls]
        fleet.v[idx] = fleet.accel[idx] = 0.0
        fleet.stop_x[idx] = NOWHERE_M
        low = fleet.soc[idx] < LOW_SOC
        fleet.mode[idx] = np.where(low, CHARGING, PARKED)
        self.wake_s[idx] = np.where(low, np.inf, now_s + self._draw_dwell_s(idx.size))

    def _charge(self, idx: IntArray, dt_s: float, now_s: float) -> None:
        fleet = self._fleet
        fleet.charge(idx, dt_s)
        full = idx[fleet.soc[idx] >= FULL_SOC]
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
        fleet.stall[idx] = NONE
        fleet.mode[idx] = DRIVING
        fleet.prev_edge[idx] = NONE
        fleet.lane[idx] = fleet.lanes.first[fleet.edge[idx]]
        fleet.on_road_since_s[idx] = now_s
        self.wake_s[idx] = np.inf
        self._send(idx)

    def _strand(self, idx: IntArray) -> None:
        """An all but empty vehicle leaves the road where it is and charges off the street."""
        fleet = self._fleet
        self._unclaim(idx)
        fleet.mode[idx] = CHARGING
        fleet.v[idx] = fleet.accel[idx] = 0.0
        self.wake_s[idx] = np.inf
