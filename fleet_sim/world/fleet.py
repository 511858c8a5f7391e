"""State of all vehicles as arrays, and how they drive."""

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.battery import MILD_C, Batteries
from fleet_sim.scenario.model import Scenario
from fleet_sim.world import sites, traffic
from fleet_sim.world.city import City
from fleet_sim.world.driving import Seen, decide
from fleet_sim.world.equipment import Equipment
from fleet_sim.world.kerb import draw_length_m
from fleet_sim.world.lanes import DISCHARGE_S, Lanes
from fleet_sim.world.routing import STRAIGHT_MPS, U_TURN_S, Router
from fleet_sim.world.traffic import NOWHERE_M
from fleet_sim.world.truth import BACKGROUND

DRIVING, CRUISING, PARKED, CHARGING = range(4)
NONE = -1
_KEY = 4096.0
"""Edges are at most 1 km long: `lane * 4096 + x` orders vehicles by lane and position."""
_FIRST_SLOT_M, _SLOT_M, _LAST_SLOT_M = 8.0, 10.0, 8.0
"""Where vehicles may stand on an edge when the run begins."""
PATIENCE_S = 60.0
"""Standing without a red light, drivers then try another way (assumption): longer than the queue
behind the longest red light takes to move."""
KERB_LANE_M = 400.0
"""Nearer to its destination than this, who will park there takes the lane at the kerb
(assumption)."""
CAR_MPS = 60 / 3.6
"""Drivers outside the fleet keep to the limits of streets, and to this one (assumption)."""
_SPREAD = 0.6180339887
_QUEUED_MPS, _STANDING_MPS, _ASK_AGAIN_S = 2.0, 0.3, 2.0


class Fleet:
    """n vehicles, and cars that are not of the fleet but drive as they do: every public array is
    [rows], first the vehicles, then the cars; `groups` is [n]. Idle cars are `PARKED` nowhere.

    `x` is the middle of the vehicle (and its antenna and sensor), m along `edge`. A parked
    vehicle keeps the edge and position of its stall. `ambient_c` is the weather when it begins.
    """

    def __init__(
        self,
        scenario: Scenario,
        city: City,
        rng: np.random.Generator,
        *,
        ambient_c: float = MILD_C,
    ) -> None:
        self.city, self.rng = city, rng
        self.router = Router(city.roads)
        self.lanes = Lanes(city.roads)
        groups = scenario.fleet
        count = [group.count for group in groups]
        n = self.n = sum(count)
        cars = Equipment.of(scenario).vehicles
        self.groups: IntArray = np.repeat(np.arange(len(groups)), count)
        per = self.groups
        others = n // 10 if scenario.city.cars is None else scenario.city.cars
        """Cars that are not of the fleet."""
        n = self.rows = n + others
        self.v_max: FloatArray = np.append(
            np.array([float(g.max_speed_mps) for g in groups])[per], np.full(others, CAR_MPS)
        )
        self.v_cap: FloatArray = self.v_max.copy()
        """How fast it drives for now: slower while it looks for a stall."""
        self.half: FloatArray = np.append(
            np.array([c.length_m / 2 for c in cars])[per], draw_length_m(others, rng) / 2
        )
        self.by: IntArray = np.append(np.arange(self.n), np.full(others, BACKGROUND))
        """Whom the truth says to stand where it parks: its index, or a code of `truth`."""
        self.battery = Batteries(cars, per, ambient_c)
        self.usable_j: FloatArray = self.battery.usable_j
        low, high = (np.array([float(g.soc[i]) for g in groups])[per] for i in (0, 1))
        # Nobody asks what other cars run on.
        self.soc: FloatArray = np.append(rng.uniform(low, high), np.ones(others))
        self.site: IntArray = np.full(n, NONE)
        """The garage or station (`city.sites`) in which it is."""
        self.lane_bias: FloatArray = np.clip(rng.normal(0.0, 0.12, n), -0.3, 0.3)
        """How far right of its lane's centre it drives, m (assumption)."""
        self.mode: Int8Array = np.full(n, DRIVING, dtype=np.int8)
        self.edge: IntArray = np.zeros(n, dtype=np.int64)
        self.prev_edge: IntArray = np.full(n, NONE)
        self.next_edge: IntArray = np.full(n, NONE)
        self.lane: IntArray = np.zeros(n, dtype=np.int64)
        """Number of the lane it is in, of `lanes`; a parked vehicle's is that at the kerb."""
        self.next_lane: IntArray = np.full(n, NONE)
        self._after: IntArray = np.full(n, NONE)
        """The edge after the next, where it chose its lane for that."""
        self.parks: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether it will park at its destination: it takes the lane at the kerb near there."""
        self.x: FloatArray = np.zeros(n)
        self.v: FloatArray = np.zeros(n)
        self.accel: FloatArray = np.zeros(n)
        self.odo: FloatArray = rng.uniform(5e6, 80e6, n)
        """Odometer, m."""
        self.v_turn: FloatArray = np.full(n, STRAIGHT_MPS)
        self.stop_x: FloatArray = np.full(n, NOWHERE_M)
        self.stall: IntArray = np.full(n, NONE)
        """The stall it stands in or heads for."""
        self.goal_edge: IntArray = np.zeros(n, dtype=np.int64)
        self.goal_x: FloatArray = np.zeros(n)
        self.on_road_since_s: FloatArray = np.full(n, -np.inf)
        self.energy_j: FloatArray = np.zeros(n)
        """Taken from the pack's store while driving, regeneration deducted."""
        self._v_settled: FloatArray = np.zeros(n)
        self._odo_settled: FloatArray = self.odo.copy()
        self._queue_s: FloatArray = np.zeros(city.roads.n_edges)
        self._on_lane: IntArray = np.zeros(self.lanes.n, dtype=np.int64)
        self.wait_s: FloatArray = np.zeros(n)
        """How long it has stood on the road without a red light."""
        self._discharge_s: FloatArray = DISCHARGE_S / city.roads.lanes
        self.kerb_appeal: FloatArray = np.zeros(city.roads.n_edges)
        """[E] of streets to turn into for who looks for a stall, a logarithm."""
        self._set_out: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether it has not chosen a turn since it got its destination."""
        self._signals = traffic.Signals(city.roads)
        self._held: BoolArray = np.zeros(n, dtype=np.bool_)
        self._goes: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether it brakes for a signal, and whether it goes ahead at the merge."""
        self.clamps = 0
        """Vehicle-steps in which only holding it back kept a vehicle off the one ahead."""
        self.emergencies = 0
        """Vehicle-steps in which the jerk limit was given up to avoid a collision."""

    def put_on_road(self, idx: IntArray) -> None:
        """Spread vehicles over the lanes, not closer than 10 m, at a speed that suits their gap.

        `ValueError` when the streets are too short for them.
        """
        lane_edge = self.lanes.edge
        length = self.city.roads.length[lane_edge]
        slots = ((length - _FIRST_SLOT_M - _LAST_SLOT_M) / _SLOT_M + 1).astype(np.int64)
        room = int(slots.sum())
        if idx.size > room:
            raise ValueError(
                f"fleet: {idx.size} vehicles on the road do not fit the city's streets "
                f"(allowed: up to {room}; a larger city holds more)"
            )
        lane = np.repeat(np.arange(length.size), slots)
        x = _FIRST_SLOT_M + _SLOT_M * (np.arange(room) - np.repeat(np.cumsum(slots) - slots, slots))
        place = self.rng.choice(room, idx.size, replace=False)
        self.lane[idx], self.x[idx] = lane[place], x[place]
        self.edge[idx] = lane_edge[lane[place]]
        order = idx[np.argsort(place)]
        gap = np.full(order.size, _LAST_SLOT_M)
        same = self.lane[order[1:]] == self.lane[order[:-1]]
        gap[:-1][same] = np.diff(self.x[order])[same]
        cap = np.minimum(self.city.roads.limit_mps[self.edge[order]], self.v_max[order])
        self.v[order] = np.clip((gap - 7.0) * 0.4, 0.0, cap)
        self._v_settled[order] = self.v[order]

    def head_for(self, idx: IntArray, edge: IntArray, x: FloatArray) -> None:
        """Set destinations and choose the turn at the end of the present edge."""
        self.goal_edge[idx], self.goal_x[idx] = edge, x
        self._set_out[idx] = True
        self.reconsider(idx)

    def reconsider(self, idx: IntArray) -> None:
        """Choose the next turn anew, but for those who are too near the crossing to slow for
        another turn, or to give way at one: they keep theirs."""
        to_line = self.city.roads.length[self.edge[idx]] - self.x[idx] - self.half[idx]
        to_line -= traffic.STOP_LINE_M
        way = motion.stopping_m(self.v[idx], self.accel[idx], motion.IDM.brake_mps2)
        idx = idx[(way <= to_line) | (self.next_edge[idx] < 0)]
        self._after[idx] = NONE
        self._turn(idx)

    def _turn(self, idx: IntArray) -> None:
        edge = self.edge[idx]
        back_s = np.where(self._set_out[idx], 0.0, U_TURN_S)
        self._set_out[idx] = False
        turn = self.router.towards(edge, self.goal_edge[idx], self._queue_s, self.rng, back_s)
        if not self.lanes.single:
            planned = self._after[idx]
            turn = np.where(planned >= 0, planned, turn)
        lost = np.flatnonzero(self.mode[idx] == CRUISING)
        if lost.size:
            goal_x, goal_y = self.city.roads.point(
                self.goal_edge[idx[lost]], self.goal_x[idx[lost]]
            )
            turn[lost] = self.router.around(edge[lost], goal_x, goal_y, self.rng, self.kerb_appeal)
        self._take(idx, edge, turn)

    def _take(self, idx: IntArray, edge: IntArray, turn: IntArray) -> None:
        """Go from `edge` to `turn`, each [k], in a lane that suits what comes then."""
        self.next_edge[idx] = turn
        self.v_turn[idx] = self.router.turn_speed_mps(edge, turn)
        self.next_lane[idx] = self.lanes.first[turn]
        if self.lanes.single:
            return
        self._after[idx] = NONE
        many = np.flatnonzero(self.city.roads.lanes[turn] > 1)
        if not many.size:
            return
        idx, turn = idx[many], turn[many]
        roads, goal, drives = self.city.roads, self.goal_edge[idx], self.mode[idx] == DRIVING
        here, there = roads.head[turn], roads.tail[goal]
        kerb = ~drives
        parks = np.flatnonzero(self.parks[idx])
        if parks.size:
            here, there = here[parks], there[parks]
            dx, dy = (
                roads.node_x[here] - roads.node_x[there],
                roads.node_y[here] - roads.node_y[there],
            )
            kerb[parks] |= dx * dx + dy * dy < KERB_LANE_M**2
        after = self.router.towards(turn, goal, self._queue_s, self.rng, U_TURN_S)
        # What comes behind the destination, and where who looks for a stall turns, is open.
        self._after[idx] = np.where(drives & (turn != goal), after, NONE)
        self.next_lane[idx] = self.lanes.choose(self.lane[idx], turn, after, self._on_lane, kerb)

    def on_road(self) -> IntArray:
        """Indices of driving and cruising vehicles, by lane and position."""
        road = np.flatnonzero(self.mode <= CRUISING)
        return road[(self.lane[road] * _KEY + self.x[road]).argsort()]

    def drive(self, dt_s: float, now_s: float) -> None:
        """Move everything on the road by `dt_s`, to `now_s`."""
        r = self.on_road()
        if not r.size:
            return
        roads = self.city.roads
        edge, x, v = self.edge[r], self.x[r], self.v[r]
        to_end = roads.length[edge] - x
        wanted = self.next_lane[r]
        cap = np.minimum(roads.limit_mps[edge], self.v_cap[r])
        does = decide(
            Seen(
                lane=self.lane[r],
                x=x,
                v=v,
                accel=self.accel[r],
                half=self.half[r],
                next_lane=wanted,
                to_end=to_end,
                stop_x=self.stop_x[r],
                cap=cap,
                v_turn=self.v_turn[r],
                red=self._signals.red(now_s)[edge],
                held=self._held[r],
                goes=self._goes[r],
            ),
            dt_s,
            self.lanes.n,
        )
        self._held[r], self._goes[r] = does.held, does.goes
        self.emergencies += does.emergencies
        v1, ds = motion.advance(v, does.accel, dt_s)
        self._no_overlap(v1, ds, does.gap, to_end, wanted, dt_s)
        self.accel[r] = (v1 - v) / dt_s
        self.v[r] = v1
        self.x[r] = x + ds
        self.odo[r] += ds
        passing = r[ds >= to_end]
        if passing.size:
            self._cross(passing)

    def settle(self, dt_s: float) -> None:
        """What the `dt_s` since the last call took from the packs, where queues stand, and who
        loses patience. None of it needs steps as short as the motion's."""
        on_road = self.mode <= CRUISING
        moved = on_road | (self.odo > self._odo_settled)
        r = np.flatnonzero(moved[: self.n])
        v, odo = self.v[r], self.odo[r]
        ds = odo - self._odo_settled[r]
        used = self.battery.drive_j(r, self.soc[r], self._v_settled[r], v, ds, dt_s)
        self._v_settled[r], self._odo_settled[r] = v, odo
        self.energy_j[r] += used
        self.soc[r] = np.clip(self.soc[r] - used / self.usable_j[r], 0.0, 1.0)

        r = np.flatnonzero(on_road)
        edge, v = self.edge[r], self.v[r]
        standing = np.bincount(edge[v < _QUEUED_MPS], minlength=self.city.roads.n_edges)
        self._queue_s = standing * self._discharge_s
        if not self.lanes.single:
            self._on_lane = np.bincount(self.lane[r], minlength=self.lanes.n)
        waits = (v < _STANDING_MPS) & ~self._held[r]
        wait_s = (self.wait_s[r] + dt_s) * waits
        self.wait_s[r] = wait_s
        impatient = r[wait_s >= PATIENCE_S]
        if impatient.size:
            self._give_up(impatient, r)

    def charge(self, idx: IntArray, dt_s: float, dc_w: float | None = None) -> None:
        """Charge the vehicles `idx` for `dt_s`, on DC of `dc_w` or else on AC."""
        stored = self.battery.charge_j(idx, self.soc[idx], dt_s, dc_w)
        self.soc[idx] = np.minimum(self.soc[idx] + stored / self.usable_j[idx], 1.0)

    def _no_overlap(
        self,
        v1: FloatArray,
        ds: FloatArray,
        gap: FloatArray,
        to_end: FloatArray,
        wanted: IntArray,
        dt_s: float,
    ) -> None:
        """Shorten `ds` so that nobody drives into the vehicle ahead, and one at a time enters a
        lane."""
        room = np.maximum(gap - 0.1, 0.0)
        crossing = np.flatnonzero(ds >= to_end)
        into = wanted[crossing]
        if crossing.size > 1 and len(set(into.tolist())) < crossing.size:
            late = crossing[~traffic.one_each(crossing, into, to_end[crossing] - ds[crossing])]
            room[late] = np.minimum(room[late], np.maximum(to_end[late] - 0.01, 0.0))
        short = np.flatnonzero(ds > room)
        if short.size:
            ds[short] = room[short]
            self.clamps += short.size
            v1[short] = np.minimum(v1[short], ds[short] / dt_s)

    def _cross(self, idx: IntArray) -> None:
        before = self.edge[idx]
        self.prev_edge[idx] = before
        self.x[idx] -= self.city.roads.length[before]
        self.edge[idx], self.lane[idx] = self.next_edge[idx], self.next_lane[idx]
        self._turn(idx)

    def _give_up(self, idx: IntArray, r: IntArray) -> None:
        """Who stands too long turns elsewhere: one lane a direction would lock for good. But
        nobody who stands in a crossing cuts in before a vehicle that comes for the same edge."""
        length = self.city.roads.length
        edge = self.edge[idx]
        x, y = self.city.roads.point(self.goal_edge[idx], self.goal_x[idx])
        turn = self.router.around(edge, x, y, self.rng)
        coming = r[(length[self.edge[r]] - self.x[r] < 50.0) & (self.v[r] > _STANDING_MPS)]
        wanted = np.zeros(length.size, dtype=np.bool_)
        wanted[self.next_edge[coming]] = True
        inside = length[edge] - self.x[idx] - self.half[idx] < traffic.STOP_LINE_M - 1.0
        turns = ~(inside & wanted[turn])
        self.wait_s[idx] = np.where(turns, 0.0, PATIENCE_S - _ASK_AGAIN_S)
        idx, turn = idx[turns], turn[turns]
        self._take(idx, self.edge[idx], turn)
        self._goes[idx] = False

    def room_to_join(self, edge: IntArray, x: FloatArray, half: FloatArray) -> BoolArray:
        """Whether the lane at the kerb of (`edge`, `x`) [k] has a gap: ahead for standing, behind
        for those who come, from a crossing too, to stop without braking hard."""
        r = self.on_road()
        if not r.size:
            return np.ones(edge.size, dtype=np.bool_)
        lane = self.lanes.first[edge]
        after = np.searchsorted(self.lane[r] * _KEY + self.x[r], lane * _KEY + x)
        ahead, behind = r[np.minimum(after, r.size - 1)], r[np.maximum(after - 1, 0)]
        blocked = (after < r.size) & (self.lane[ahead] == lane)
        blocked &= self.x[ahead] - x < half + self.half[ahead] + 1.0
        follows = (after > 0) & (self.lane[behind] == lane)
        blocked |= follows & (x - self.x[behind] < half + self._reach(behind))
        # The nearest of those who will turn into the lane, by where they could stop on it.
        asked = np.zeros(self.lanes.n, dtype=np.bool_)
        asked[lane] = True
        come = r[asked[self.next_lane[r]]]
        reach = np.full(asked.size, -np.inf)
        to_end = self.city.roads.length[self.edge[come]] - self.x[come]
        np.maximum.at(reach, self.next_lane[come], self._reach(come) - to_end)
        return np.asarray(~(blocked | (~follows & (x < half + reach[lane]))))

    def _reach(self, idx: IntArray) -> FloatArray:
        """How far ahead of its middle a vehicle needs the lane free to stop with 2 m/s², m."""
        way = motion.stopping_m(self.v[idx], self.accel[idx], motion.IDM.brake_mps2)
        return self.half[idx] + way + motion.IDM.standstill_m

    def right_m(self, idx: IntArray) -> FloatArray:
        """How far right of the centre of the lane at the kerb vehicles `idx` [k] drive, m."""
        if self.lanes.single:
            return self.lane_bias[idx]
        return self.lane_bias[idx] - self.lanes.left_m[self.lane[idx]]

    def position(self, idx: IntArray) -> tuple[FloatArray, FloatArray]:
        """East, north of the vehicles `idx`, m; parked ones are beside their lane,
        those in a garage or at a station behind the kerb."""
        parked = (self.mode[idx] >= PARKED) & (self.stall[idx] >= 0)
        right = self.right_m(idx)
        if parked.any():
            right[parked] = self.city.stalls.lane_offset[self.stall[idx[parked]]]
        inside = self.site[idx] >= 0
        if inside.any():
            right[inside] = sites.SETBACK_M + sites.DEPTH_M * (idx[inside] * _SPREAD % 1.0)
        return self.city.roads.point(self.edge[idx], self.x[idx], right)
