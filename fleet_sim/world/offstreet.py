"""Who stands in which garage, who charges at which station, and who waits there."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.world.fleet import CHARGING, DRIVING, NONE, PARKED, Fleet
from fleet_sim.world.sites import GARAGE, STATION
from fleet_sim.world.traffic import NOWHERE_M
from fleet_sim.world.truth import NOBODY, Truth

_RAMP_M = 1.5
"""A driver aims to stop this far behind the entrance, so it drives in at walking speed."""
_NEAR_MPS, _BRAKE_MPS2 = 25 / 3.6, 2.0
"""They approach it at no more than the first, and pass it by when they would have to brake harder
than the second (assumption)."""
_QUEUE_WAY_M = 1500.0
"""Of two stations, a driver takes the nearer one unless all points of it are taken: that is as bad
as so much more way (assumption; stations tell by radio how they are)."""


class _Located(NamedTuple):
    n: int
    x: FloatArray
    y: FloatArray


class Garages:
    """Places of all garages, one after the other; `truth` says since when each is taken, by whom.

    They are no stalls: the cloud knows nothing of them, and no audit judges them.
    """

    def __init__(self, fleet: Fleet) -> None:
        sites = fleet.city.sites
        which = sites.of(GARAGE)
        self.site: IntArray = np.repeat(which, sites.capacity[which])
        """[places] of which site."""
        self.stalls = _Located(self.site.size, sites.x[self.site], sites.y[self.site])
        n = self.site.size
        self.truth = Truth(np.zeros(n, dtype=np.bool_), np.full(n, NOBODY, dtype=np.int32))

    def fill(self, stalls: IntArray, by: IntArray) -> None:
        """Who stands there when the run begins: no change of the timeline."""
        self.truth.initial[stalls] = True
        self.truth.occupied[stalls] = True
        self.truth.holder[stalls] = by

    def take(self, t_s: float, stalls: IntArray, by: IntArray) -> None:
        """Cars park in free places. `RuntimeError` when one is taken: the caller's bug."""
        if self.truth.occupied[stalls].any() or np.unique(stalls).size != stalls.size:
            raise RuntimeError(f"two cars for one place of a garage among {stalls.tolist()}")
        self.truth.record(t_s, stalls, by)

    def free(self, t_s: float, stalls: IntArray) -> None:
        """Cars leave."""
        if not self.truth.occupied[stalls].all():
            raise RuntimeError(f"free at {t_s} s: a place of {stalls.tolist()} is free already")
        self.truth.record(t_s, stalls, np.full(stalls.size, NOBODY))

    def admit(self, t_s: float, site: IntArray, by: IntArray) -> IntArray:
        """A place for each who drives into `site` [k], -1 where it is full; in the given order."""
        place = np.full(site.size, NONE)
        for garage in np.unique(site).tolist():
            asks = np.flatnonzero(site == garage)
            free = np.flatnonzero((self.site == garage) & ~self.truth.occupied)
            enters = asks[: free.size]
            place[enters] = free[: enters.size]
        found = place >= 0
        self.take(t_s, place[found], by[found])
        return place

    @property
    def with_room(self) -> IntArray:
        """Sites that have a free place."""
        return np.unique(self.site[~self.truth.occupied])


class OffStreet:
    """Moves vehicles into sites and out of them. `fleet.site` is where each one is, or `NONE`."""

    def __init__(self, fleet: Fleet, power_w: float) -> None:
        self._fleet, self._power_w = fleet, power_w
        self.sites = fleet.city.sites
        self.garages = Garages(fleet)
        self.bound: IntArray = np.full(fleet.rows, NONE)
        """[rows] the site that it drives to."""
        self._place: IntArray = np.full(fleet.rows, NONE)
        """Its place in a garage."""
        self._since_s: FloatArray = np.zeros(fleet.rows)
        self._stations = self.sites.of(STATION)

    def to_garage(self, idx: IntArray) -> BoolArray:
        """Send `idx` [k] to the garage with room nearest to where each wanted to park; false for
        those that find none."""
        return self._send(idx, self.garages.with_room, np.zeros(0))

    def to_station(self, idx: IntArray) -> BoolArray:
        """Send `idx` [k] to the best station; false without any."""
        inside = self._fleet.site[self._fleet.mode == CHARGING]
        there = np.bincount(inside[inside >= 0], minlength=self.sites.n)[self._stations]
        busy = there / self.sites.capacity[self._stations]
        return self._send(idx, self._stations, _QUEUE_WAY_M * busy)

    def _send(self, idx: IntArray, choice: IntArray, cost_m: FloatArray) -> BoolArray:
        if not choice.size or not idx.size:
            return np.zeros(idx.size, dtype=np.bool_)
        fleet, roads = self._fleet, self._fleet.city.roads
        x, y = roads.point(fleet.goal_edge[idx], fleet.goal_x[idx])
        away = np.hypot(x[:, None] - self.sites.x[choice], y[:, None] - self.sites.y[choice])
        if cost_m.size:
            away += cost_m
        # Who is on the edge of an entrance may be past it, or too fast: it takes another one.
        away[fleet.edge[idx][:, None] == self.sites.edge[choice]] += 1e6
        site = choice[away.argmin(axis=1)]
        self.bound[idx] = site
        # They keep to the lane at the kerb, as who looks for a stall does.
        fleet.parks[idx] = True
        fleet.mode[idx] = DRIVING
        fleet.head_for(idx, self.sites.edge[site], self.sites.offset[site])
        return np.ones(idx.size, dtype=np.bool_)

    def arrive(self, now_s: float) -> tuple[IntArray, IntArray]:
        """Bring in who is at its entrance: who is in a garage now, and who found it full."""
        fleet = self._fleet
        idx = np.flatnonzero(self.bound >= 0)
        street = self.sites.edge[self.bound[idx]]
        here = fleet.edge[idx] == street
        near = idx[here | (fleet.next_edge[idx] == street)]
        fleet.v_cap[near] = np.minimum(fleet.v_max[near], _NEAR_MPS)
        idx = idx[here]
        stop_x = self.sites.offset[self.bound[idx]] + _RAMP_M
        way = motion.stopping_m(fleet.v[idx], fleet.accel[idx], _BRAKE_MPS2)
        stops = fleet.x[idx] + way <= stop_x
        fleet.stop_x[idx[stops]] = stop_x[stops]
        idx = idx[fleet.x[idx] >= stop_x - _RAMP_M]
        missed = fleet.v[idx] > _NEAR_MPS
        self._miss(idx[missed])
        idx = idx[~missed]
        site = self.bound[idx]
        charges = self.sites.kind[site] == STATION
        self._enter(idx[charges], site[charges], now_s, CHARGING)
        drives_in = idx[~charges]
        place = self.garages.admit(now_s, site[~charges], fleet.by[drives_in])
        parked, full = drives_in[place >= 0], drives_in[place < 0]
        self._place[parked] = place[place >= 0]
        self._enter(parked, self.bound[parked], now_s, PARKED)
        self.bound[full] = NONE
        fleet.stop_x[full] = NOWHERE_M
        return parked, full

    def _miss(self, idx: IntArray) -> None:
        """They were past the entrance before they could slow down: to another one."""
        station = self.sites.kind[self.bound[idx]] == STATION
        for part, send in ((idx[station], self.to_station), (idx[~station], self.to_garage)):
            self.bound[part] = NONE
            self._fleet.stop_x[part] = NOWHERE_M
            lost = part[~send(part)]
            self._fleet.parks[lost] = False

    def _enter(self, idx: IntArray, site: IntArray, now_s: float, mode: int) -> None:
        fleet = self._fleet
        fleet.mode[idx], fleet.site[idx] = mode, site
        fleet.x[idx] = self.sites.offset[site]
        fleet.v[idx] = fleet.accel[idx] = 0.0
        fleet.stop_x[idx] = NOWHERE_M
        fleet.v_cap[idx] = fleet.v_max[idx]
        self.bound[idx] = NONE
        self._since_s[idx] = now_s

    def leave(self, idx: IntArray, now_s: float) -> None:
        """`idx` are in the street again; those in no site are left alone."""
        place = self._place[idx]
        self.garages.free(now_s, place[place >= 0])
        self._place[idx] = NONE
        self._fleet.site[idx] = NONE

    def hand_over(self, idx: IntArray) -> IntArray:
        """Their places in garages, which are not theirs any more: they stay taken."""
        place = self._place[idx]
        self._place[idx] = NONE
        self._fleet.site[idx] = NONE
        return place

    def charge(self, idx: IntArray, dt_s: float) -> None:
        """Charge the vehicles `idx`: on DC at a station, in the order in which they came and as
        many as it has points; on AC elsewhere."""
        fleet = self._fleet
        site = fleet.site[idx]
        at_station = site >= 0
        if not at_station.all():
            fleet.charge(idx[~at_station], dt_s)
        if at_station.any():
            idx, site = idx[at_station], site[at_station]
            order = np.lexsort((idx, self._since_s[idx], site))
            idx, site = idx[order], site[order]
            first = np.searchsorted(site, site)
            turn = np.arange(site.size) - first < self.sites.capacity[site]
            fleet.charge(idx[turn], dt_s, self._power_w)
