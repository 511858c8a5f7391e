"""Who follows whom: signals, leaders on the lane and across crossings, and the order of merging.

All arrays are sorted by lane, then by position along it, so a vehicle's leader is its successor.
Lanes are numbered by `lanes.Lanes`.
"""

from typing import NamedTuple

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.motion import FREE_M, IDM
from fleet_sim.world.roads import Roads

SHORTEST_CYCLE_S, LONGEST_CYCLE_S, AMBER_S = 60.0, 90.0, 4.0
NOWHERE_M = 1e9
"""Where a vehicle stops that has nothing to stop for."""
STOP_LINE_M = 6.0
"""From the crossing's centre to the front of a vehicle that waits."""
_NEAR_M, _NEAR_S = 15.0, 3.0
"""Vehicles within 15 m and 3 s of a crossing sort out who goes first (assumption)."""
_SEEN_M = 50.0
"""So far from a crossing, drivers look into the edge that they will take (assumption)."""
_CREEP_MPS = 4.0
"""Arrival at a crossing is reckoned at no less than this speed, so that a vehicle which waits at
the line gets its turn (assumption)."""
_QUEUED_MPS = 3.0
"""Behind others and slower than this, a vehicle claims no turn, but lets all others go first."""
_LATE_MPS2 = 5.0
"""Whoever still can stops at the line with up to this much rather than drive beside another."""
_BRAKES_MPS2: FloatArray = np.array([[motion.FIRM_MPS2], [_LATE_MPS2]])
_COMMITTED_S, _QUEUED_S = 1000.0, 500.0
"""Taken off the arrival time of who cannot stop any more: they go before all that can; and added
to that of who waits in a queue."""
_KEEP_S = 2.0
"""Who goes ahead keeps its turn against who would arrive by less than this before it."""
_LANE_S, _EDGE_S = 4000.0, 10_000.0


class Signals:
    """Fixed-time signals: each crossing has a cycle of 60-90 s, halved between its two ways."""

    def __init__(self, roads: Roads) -> None:
        self._lit = np.flatnonzero(roads.signal > 0)
        offset_s = roads.signal_offset_s[self._lit]
        # Drawn from the crossing's own offset, which all of its edges share.
        drawn = (offset_s * 0.6180339887) % 1.0
        self.cycle_s: FloatArray = np.full(roads.n_edges, np.inf)
        """[E] `inf` without a signal."""
        self._cycle = SHORTEST_CYCLE_S + (LONGEST_CYCLE_S - SHORTEST_CYCLE_S) * drawn
        self.cycle_s[self._lit] = self._cycle
        self._shift_s = offset_s - self._cycle / 2 * (roads.signal[self._lit] == 2)
        self._green_s = self._cycle / 2 - AMBER_S
        self._red: BoolArray = np.zeros(roads.n_edges, dtype=np.bool_)

    def red(self, now_s: float) -> BoolArray:
        """[E] whether traffic may not leave the edge (amber too); never without a signal. The
        array is reused by the next call."""
        self._red[self._lit] = (now_s + self._shift_s) % self._cycle >= self._green_s
        return self._red


class Ahead(NamedTuple):
    """What is ahead of each of m vehicles."""

    gap: FloatArray
    """[m] to the vehicle ahead, m; `FREE_M` without one."""
    lead: FloatArray
    """[m] speed of that vehicle, m/s; its own without one."""
    ends: BoolArray
    """[m] whether it is the first of its lane."""
    last_on: IntArray
    """[lanes] row of the last vehicle on each, -1 for none."""


def leaders(
    lane: IntArray,
    x: FloatArray,
    v: FloatArray,
    half: FloatArray,
    next_lane: IntArray,
    to_end: FloatArray,
    n_lanes: int,
) -> Ahead:
    """Gap to and speed of the vehicle ahead of each of m > 0 vehicles.

    `x` is a vehicle's middle, `half` half its length, `to_end` the way to the crossing. A lane's
    first vehicle follows the last one on the lane it will take.
    """
    m = lane.size
    ends = np.empty(m, dtype=np.bool_)
    ends[-1] = True
    np.not_equal(lane[1:], lane[:-1], out=ends[:-1])
    heads = np.flatnonzero(ends)
    tails = np.empty_like(heads)
    tails[0] = 0
    tails[1:] = heads[:-1] + 1
    last_on = np.full(n_lanes, -1)
    last_on[lane[heads]] = tails
    # Of a lane's first vehicle the row that follows is meaningless until it is replaced.
    gap, lead = np.empty(m), np.empty(m)
    np.subtract(x[1:], x[:-1], out=gap[:-1])
    gap[:-1] -= half[1:]
    gap -= half
    lead[:-1] = v[1:]
    ahead = last_on[next_lane[heads]]
    there = to_end[heads] + x[ahead] - half[heads] - half[ahead]
    gap[heads] = np.where(ahead >= 0, there, FREE_M)
    lead[heads] = v[np.where(ahead >= 0, ahead, heads)]
    return Ahead(gap, lead, ends, last_on)


def queues_ahead(
    x: FloatArray,
    v: FloatArray,
    half: FloatArray,
    next_lane: IntArray,
    to_end: FloatArray,
    ahead: Ahead,
) -> tuple[IntArray, FloatArray]:
    """Who is behind a leader that will turn elsewhere, and its interaction with the last vehicle
    on the lane that it will take itself, each [k]: a queue there must not come as a surprise."""
    parts = next_lane[:-1] != next_lane[1:]
    parts &= to_end[:-1] < _SEEN_M
    rows = np.flatnonzero(parts & ~ahead.ends[:-1])
    last = ahead.last_on[next_lane[rows]]
    there = last >= 0
    rows, last = rows[there], last[there]
    gap = to_end[rows] + x[last] - half[rows] - half[last]
    return rows, motion.interaction(v[rows], gap, v[last])


def near_crossing(v: FloatArray, to_end: FloatArray) -> BoolArray:
    """Who is so near a crossing that it looks who goes first, [m]."""
    return np.asarray(to_end < _NEAR_S * v + _NEAR_M)


class Stopping(NamedTuple):
    """How vehicles can stop, [k] each, m."""

    firm_m: FloatArray
    """Way at `motion.FIRM_MPS2`, which drivers plan."""
    late_m: FloatArray
    """Way with as much as it takes not to drive beside another."""

    @classmethod
    def of(cls, v: FloatArray, accel: FloatArray) -> "Stopping":
        """Of vehicles with speed `v` and acceleration `accel`."""
        return cls(*motion.stopping_m(v, accel, _BRAKES_MPS2))


def give_way(
    rows: IntArray,
    lane: IntArray,
    v: FloatArray,
    half: FloatArray,
    next_lane: IntArray,
    to_end: FloatArray,
    stopping: Stopping,
    went: BoolArray,
    first: BoolArray,
) -> tuple[IntArray, FloatArray, IntArray]:
    """Who gives way at merges [j], IDM's interaction with what it gives way to [j], and who of
    `rows` goes ahead [k].

    `rows` [k] are near a crossing and not held by a red light. Those from different lanes that
    want the same lane go in the order in which they arrive, but who cannot stop at the line any
    more goes before all who can. Each keeps behind the one before it as if both were on one lane,
    or stops at the line, whichever asks less; it always can do one of them, so nobody has to brake
    hard. `stopping` of the rows. `went` [m]: went ahead a step before, which it does not lose for
    little. `first` [m] of its lane.
    """
    if rows.size < 2:
        return rows[:0], np.empty(0), rows
    # Reversed: the first of a lane comes before those behind it.
    rows = rows[::-1]
    own_lane, wanted, speed, way = lane[rows], next_lane[rows], v[rows], to_end[rows]
    half = half[rows]
    line = way - half
    line -= STOP_LINE_M
    room = np.maximum(line, 0.3)
    past = line < -1.0
    committed = stopping.firm_m[::-1] > room
    committed |= past
    key = way / np.maximum(speed, _CREEP_MPS)
    key -= _COMMITTED_S * committed
    key -= _KEEP_S * went[rows]
    key += _QUEUED_S * ~(first[rows] | (speed > _QUEUED_MPS))
    # Nobody arrives before who is ahead of it on the lane: a running maximum within each lane.
    offset = np.zeros(rows.size)
    np.cumsum(own_lane[1:] != own_lane[:-1], out=offset[1:])
    offset *= _LANE_S
    key += offset
    np.maximum.accumulate(key, out=key)
    key -= offset
    key += wanted * _EDGE_S
    order = key.argsort(kind="stable")
    wanted, own_lane = wanted[order], own_lane[order]
    second = np.flatnonzero((wanted[1:] == wanted[:-1]) & (own_lane[1:] != own_lane[:-1]))
    if not second.size:
        return rows[:0], np.empty(0), rows
    later, earlier = order[second + 1], order[second]
    own = speed[later]
    behind = way[later] - way[earlier] - half[later] - half[earlier]
    ratio = motion.interaction(own, behind, speed[earlier])
    at_line = motion.interaction(own, line[later] + IDM.standstill_m, 0.0)
    stops = (stopping.late_m[::-1] <= room) & ~past
    goes = np.ones(rows.size, dtype=np.bool_)
    goes[later] = False
    ratio = np.where(stops[later], np.minimum(ratio, at_line), ratio)
    return rows[later], ratio, rows[goes]


def one_each(candidates: IntArray, wanted: IntArray, way_m: FloatArray) -> BoolArray:
    """Of `candidates` that want the same thing, which comes first: bool, one true a thing."""
    order = np.lexsort((way_m, wanted))
    first = np.ones(candidates.size, dtype=np.bool_)
    first[1:] = wanted[order[1:]] != wanted[order[:-1]]
    chosen = np.empty_like(first)
    chosen[order] = first
    return chosen
