"""Who follows whom: signals, leaders on the lane and across crossings, and the order of merging.

All arrays are sorted by lane, then by position along it, so a vehicle's leader is its successor.
Lanes are numbered by `lanes.Lanes`.
"""

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.motion import FREE_M, IDM
from fleet_sim.world.roads import Roads

SHORTEST_CYCLE_S, LONGEST_CYCLE_S, AMBER_S = 60.0, 90.0, 4.0
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
        self._second = roads.signal[self._lit] == 2
        self._offset_s = roads.signal_offset_s[self._lit]
        # Drawn from the crossing's own offset, which all of its edges share.
        drawn = (self._offset_s * 0.6180339887) % 1.0
        self.cycle_s: FloatArray = np.full(roads.n_edges, np.inf)
        """[E] `inf` without a signal."""
        self._cycle = SHORTEST_CYCLE_S + (LONGEST_CYCLE_S - SHORTEST_CYCLE_S) * drawn
        self.cycle_s[self._lit] = self._cycle
        self._go: BoolArray = np.ones(roads.n_edges, dtype=np.bool_)

    def green(self, now_s: float) -> BoolArray:
        """[E] whether traffic may leave the edge; always true without a signal. The array is
        reused by the next call."""
        half = self._cycle / 2
        phase = (now_s + self._offset_s - half * self._second) % self._cycle
        self._go[self._lit] = phase < half - AMBER_S
        return self._go


def leaders(
    edge: IntArray,
    x: FloatArray,
    v: FloatArray,
    half: FloatArray,
    next_edge: IntArray,
    to_end: FloatArray,
    n_edges: int,
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Gap to and speed of the vehicle ahead, each [m], and the first vehicles of the lanes [k].

    `x` is a vehicle's middle, `half` half its length, `to_end` the way to the crossing. A lane's
    first vehicle follows the last one on the edge it will take. Without anybody ahead the gap is
    `FREE_M` and the speed its own.
    """
    m = edge.size
    gap, lead = np.full(m, FREE_M), v.copy()
    if m == 0:
        return gap, lead, np.empty(0, dtype=np.int64)
    ends = np.empty(m, dtype=np.bool_)
    ends[-1] = True
    np.not_equal(edge[1:], edge[:-1], out=ends[:-1])
    gap[:-1] = x[1:] - x[:-1] - half[1:] - half[:-1]
    lead[:-1] = v[1:]

    heads = np.flatnonzero(ends)
    tails = np.empty_like(heads)
    tails[0] = 0
    tails[1:] = heads[:-1] + 1
    last_on = np.full(n_edges, -1)
    last_on[edge[heads]] = tails
    ahead = last_on[next_edge[heads]]
    there = to_end[heads] + x[ahead] - half[heads] - half[ahead]
    gap[heads] = np.where(ahead >= 0, there, FREE_M)
    lead[heads] = np.where(ahead >= 0, v[ahead], v[heads])
    return gap, lead, heads


def queues_ahead(
    edge: IntArray,
    x: FloatArray,
    v: FloatArray,
    half: FloatArray,
    next_edge: IntArray,
    to_end: FloatArray,
    heads: IntArray,
    n_edges: int,
) -> tuple[IntArray, FloatArray]:
    """Who is behind a leader that will turn elsewhere, and its interaction with the last vehicle
    on the edge that it will take itself, each [k]: a queue there must not come as a surprise."""
    last_on = np.full(n_edges, -1)
    last_on[edge[heads[:-1] + 1]] = heads[:-1] + 1
    last_on[edge[:1]] = 0
    parts = (next_edge[:-1] != next_edge[1:]) & (edge[:-1] == edge[1:])
    rows = np.flatnonzero(parts & (to_end[:-1] < _SEEN_M))
    rows = rows[last_on[next_edge[rows]] >= 0]
    ahead = last_on[next_edge[rows]]
    gap = to_end[rows] + x[ahead] - half[rows] - half[ahead]
    return rows, motion.interaction(v[rows], gap, v[ahead])


def give_way(
    edge: IntArray,
    v: FloatArray,
    accel: FloatArray,
    half: FloatArray,
    next_edge: IntArray,
    to_end: FloatArray,
    held: BoolArray,
    went: BoolArray,
    heads: IntArray,
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Who gives way at merges [k], IDM's interaction with what it gives way to [k], and who goes
    ahead [m].

    Near a crossing, vehicles from different lanes that want the same edge go in the order in which
    they arrive, but who cannot stop at the line any more goes before all who can. Each keeps
    behind the one before it as if both were on one lane, or stops at the line, whichever asks
    less; it always can do one of them, so nobody has to brake hard. `held`: waits at a red light
    and claims nothing. `went`: went ahead a step before, which it does not lose for little.
    """
    goes = np.zeros(edge.size, dtype=np.bool_)
    near = (to_end < _NEAR_M + _NEAR_S * v) & ~held
    first = np.zeros(edge.size, dtype=np.bool_)
    first[heads] = True
    # Reversed: the first of a lane comes before those behind it.
    rows = np.flatnonzero(near)[::-1]
    goes[rows] = True
    if rows.size < 2:
        return rows[:0], np.empty(0), goes
    lane, speed, way = edge[rows], v[rows], to_end[rows]
    line = way - half[rows] - STOP_LINE_M
    committed = ~motion.can_stop(speed, accel[rows], line) | (line < -1.0)
    key = way / np.maximum(speed, _CREEP_MPS) - _COMMITTED_S * committed - _KEEP_S * went[rows]
    key += _QUEUED_S * ~(first[rows] | (speed > _QUEUED_MPS))
    # Nobody arrives before who is ahead of it on the lane: a running maximum within each lane.
    new_lane = np.empty(rows.size)
    new_lane[0] = 0.0
    np.cumsum(lane[1:] != lane[:-1], out=new_lane[1:])
    new_lane *= _LANE_S
    key = np.maximum.accumulate(key + new_lane) - new_lane
    order = np.argsort(next_edge[rows] * _EDGE_S + key, kind="stable")
    wanted, lane = next_edge[rows][order], lane[order]
    second = np.flatnonzero((wanted[1:] == wanted[:-1]) & (lane[1:] != lane[:-1]))
    later, earlier = order[second + 1], order[second]
    own = speed[later]
    behind = way[later] - way[earlier] - half[rows[later]] - half[rows[earlier]]
    ratio = motion.interaction(own, behind, speed[earlier])
    stops = motion.stopping_m(own, accel[rows[later]], _LATE_MPS2) <= np.maximum(line[later], 0.3)
    stops &= line[later] > -1.0
    at_line = motion.interaction(own, line[later] + IDM.standstill_m, 0.0)
    goes[rows[later]] = False
    return rows[later], np.where(stops, np.minimum(ratio, at_line), ratio), goes


def one_each(candidates: IntArray, wanted: IntArray, way_m: FloatArray) -> BoolArray:
    """Of `candidates` that want the same thing, which comes first: bool, one true a thing."""
    order = np.lexsort((way_m, wanted))
    first = np.ones(candidates.size, dtype=np.bool_)
    first[1:] = wanted[order[1:]] != wanted[order[:-1]]
    chosen = np.empty_like(first)
    chosen[order] = first
    return chosen
