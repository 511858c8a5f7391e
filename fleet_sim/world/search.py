"""How drivers look for a stall: what they see, what they take, and when they give up."""

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.world.fleet import CRUISING, DRIVING, NONE, Fleet
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.traffic import NOWHERE_M, one_each

SEARCH_MPS = 12 / 3.6
"""Of a driver that looks for a stall (PARKAGENT: Benenson, Martens, Birfir, 2008)."""
APPROACH_MPS = 25 / 3.6
"""Of one that is near its destination and would take a stall already (assumption)."""
WALK_M = 400.0
"""Drivers take a stall this near their destination before they are there (assumption)."""
SEEN_M = 30.0
"""So far ahead a gap between parked cars is seen (assumption)."""
BARE_KERB = 1.0
"""How much less (by `e^-1`) drivers who look for a stall turn into streets that have none
(assumption)."""
GIVE_UP_S = 600.0
"""After so much searching drivers go elsewhere (PARKAGENT)."""
TAKES_SHARE = 0.55
"""Of the free stalls that it passes at its destination, a driver sees in time and finds long enough
for its car; half of that at `WALK_M` from there, and no less farther away (assumption, chosen so
that the shares of trips that cruise are those of GPS traces)."""
_HASH = (7.13, 0.7548776662466927, 0.5698402909980532)
_BRAKE_MPS2 = 2.0
_PARK_WITHIN_M, _PARK_BELOW_MPS = 0.6, 0.5


class Search:
    """Claims stalls for drivers of `fleet` along `kerb`."""

    def __init__(self, fleet: Fleet, kerb: Kerb) -> None:
        self._fleet, self._kerb = fleet, kerb
        bare = np.diff(kerb.stalls.first) == 0
        fleet.kerb_appeal = np.where(bare, -BARE_KERB, 0.0)
        self._claimed: BoolArray = np.zeros(kerb.stalls.n, dtype=np.bool_)
        self._stall_key = kerb.stalls.edge * 4096.0 + kerb.stalls.offset
        self._since_s: FloatArray = np.full(fleet.rows, np.inf)
        """[rows] since when it looks; `inf` before it has been at its destination."""

    def begin(self, idx: IntArray, now_s: float) -> None:
        """They are at their destination and have no stall yet."""
        fleet = self._fleet
        fleet.mode[idx] = CRUISING
        fleet.v_cap[idx] = np.minimum(fleet.v_max[idx], SEARCH_MPS)
        self._since_s[idx] = now_s
        fleet.reconsider(idx)

    def end(self, idx: IntArray) -> None:
        """They look no more, for whatever reason."""
        self._unclaim(idx)
        self._since_s[idx] = np.inf
        self._fleet.v_cap[idx] = self._fleet.v_max[idx]

    def step(self, others: BoolArray, now_s: float) -> tuple[IntArray, IntArray]:
        """Who stands in its stall now, and who gives up. `others` [rows] park elsewhere."""
        fleet = self._fleet
        idx = np.flatnonzero((fleet.mode == CRUISING) | self._approaching(others))
        if not idx.size:
            return idx, idx
        self._let_go(idx)
        there = (fleet.stall[idx] >= 0) & (fleet.v[idx] < _PARK_BELOW_MPS)
        there &= np.abs(fleet.stop_x[idx] - fleet.x[idx]) < _PARK_WITHIN_M
        seeks = ~there & (fleet.stall[idx] < 0)
        tired = seeks & (now_s - self._since_s[idx] > GIVE_UP_S)
        self._claim(idx[seeks & ~tired])
        return idx[there], idx[tired]

    def parked(self, idx: IntArray) -> IntArray:
        """The stalls in which `idx` stand: claimed no more, but theirs."""
        stalls = self._fleet.stall[idx]
        self._claimed[stalls] = False
        self._since_s[idx] = np.inf
        self._fleet.v_cap[idx] = self._fleet.v_max[idx]
        self._fleet.stop_x[idx] = NOWHERE_M
        return stalls

    def _approaching(self, others: BoolArray) -> BoolArray:
        """[rows] who will park at its destination and is near enough to take a stall on the way."""
        fleet = self._fleet
        near = fleet.parks & (fleet.mode == DRIVING) & ~others
        idx = np.flatnonzero(near)
        if idx.size:
            roads = fleet.city.roads
            x, y = roads.point(fleet.edge[idx], fleet.x[idx])
            goal_x, goal_y = roads.point(fleet.goal_edge[idx], fleet.goal_x[idx])
            close = (x - goal_x) ** 2 + (y - goal_y) ** 2 < WALK_M**2
            fleet.v_cap[idx] = np.where(
                close, np.minimum(fleet.v_max[idx], APPROACH_MPS), fleet.v_max[idx]
            )
            # Who claimed a stall may leave the circle on the way to it.
            near[idx] = close | (fleet.stall[idx] >= 0)
        return np.asarray(near)

    def _let_go(self, idx: IntArray) -> None:
        """Someone else was quicker, or it could not stop in time."""
        fleet, kerb = self._fleet, self._kerb
        target = fleet.stall[idx]
        lost = (target >= 0) & (
            kerb.truth.occupied[target] | (fleet.x[idx] > fleet.stop_x[idx] + _PARK_WITHIN_M)
        )
        lost |= (target >= 0) & (fleet.edge[idx] != kerb.stalls.edge[target])
        self._unclaim(idx[lost])

    def _claim(self, idx: IntArray) -> None:
        """The nearest free stall on the right that each can see, and stop for."""
        if not idx.size:
            return
        fleet, kerb = self._fleet, self._kerb
        open_ = np.flatnonzero(~(kerb.truth.occupied | self._claimed))
        if not open_.size:
            return
        way = motion.stopping_m(fleet.v[idx], fleet.accel[idx], _BRAKE_MPS2) + 1.0
        at = np.searchsorted(self._stall_key[open_], fleet.edge[idx] * 4096.0 + fleet.x[idx] + way)
        stall = open_[np.minimum(at, open_.size - 1)]
        found = (at < open_.size) & (kerb.stalls.edge[stall] == fleet.edge[idx])
        found &= kerb.stalls.offset[stall] - fleet.x[idx] < np.maximum(SEEN_M, way + 5.0)
        found &= fleet.lane[idx] == fleet.lanes.first[fleet.edge[idx]]
        # Each driver makes up its mind once about each stall, so the draw is a hash.
        mind = (fleet.goal_x[idx] * _HASH[0] + idx * _HASH[1] + stall * _HASH[2]) % 1.0
        found &= mind < TAKES_SHARE * self._liking(idx)
        idx, stall = idx[found], stall[found]
        nearest = one_each(idx, stall, kerb.stalls.offset[stall] - fleet.x[idx])
        idx, stall = idx[nearest], stall[nearest]
        self._claimed[stall] = True
        fleet.stall[idx], fleet.stop_x[idx] = stall, kerb.stalls.offset[stall]

    def _liking(self, idx: IntArray) -> FloatArray:
        """How much a stall here is worth to `idx`, by the walk from it, 0.5 to 1."""
        fleet, roads = self._fleet, self._fleet.city.roads
        x, y = roads.point(fleet.edge[idx], fleet.x[idx])
        goal_x, goal_y = roads.point(fleet.goal_edge[idx], fleet.goal_x[idx])
        away = np.hypot(x - goal_x, y - goal_y)
        return np.maximum(1.0 - away / (2.0 * WALK_M), 0.5)

    def _unclaim(self, idx: IntArray) -> None:
        held = idx[self._fleet.stall[idx] >= 0]
        self._claimed[self._fleet.stall[held]] = False
        self._fleet.stall[idx] = NONE
        self._fleet.stop_x[idx] = NOWHERE_M
