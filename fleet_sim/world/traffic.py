"""Who follows whom: leaders on the lane, across crossings, and the order of merging.

All arrays are sorted by edge, then by position along it, so a vehicle's leader is its successor.
"""

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.motion import FREE_M
from fleet_sim.world.roads import Roads

CYCLE_S, AMBER_S = 60.0, 4.0
MERGE_M = 50.0
"""Within this distance of a crossing, vehicles that want the same edge take turns."""
_CREEP_MPS = 4.0
"""Arrival at a crossing is reckoned at no less than this speed, so that a vehicle which waits at
the line gets its turn (assumption)."""
STOP_LINE_M = 6.0
"""From the crossing's centre to the front of a vehicle that waits."""
_GENTLE = 1.5
"""IDM interaction at which a vehicle brakes with about 3 m/s²."""


def green(roads: Roads, now_s: float) -> BoolArray:
    """[E] whether traffic may leave the edge; always true without a signal."""
    phase = (now_s + roads.signal_offset_s) % CYCLE_S
    first = phase < CYCLE_S / 2 - AMBER_S
    second = (phase >= CYCLE_S / 2) & (phase < CYCLE_S - AMBER_S)
    return np.where(roads.signal == 0, True, np.where(roads.signal == 1, first, second))


def leaders(
    edge: IntArray,
    x: FloatArray,
    v: FloatArray,
    half: FloatArray,
    next_edge: IntArray,
    to_end: FloatArray,
    held: BoolArray,
    n_edges: int,
) -> tuple[FloatArray, FloatArray]:
    """Gap to and speed of the vehicle ahead, each [m]; `FREE_M` and own speed when none is.

    `x` is a vehicle's middle, `half` half its length, `to_end` the way to the crossing, `held`
    whether a signal stops it. A lane's first vehicle follows the last one on the edge it will
    take, and yields to whoever reaches the crossing sooner and wants the same edge.
    """
    m = edge.size
    gap, lead = np.full(m, FREE_M), v.copy()
    if m == 0:
        return gap, lead
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
    wanted, way, size = next_edge[heads], to_end[heads], half[heads]
    ahead = last_on[wanted]
    gap[heads] = np.where(ahead >= 0, way + x[ahead] - size - half[ahead], FREE_M)
    lead[heads] = np.where(ahead >= 0, v[ahead], v[heads])

    rivals = np.flatnonzero((way < MERGE_M) & ~held[heads])
    if rivals.size > 1:
        eta = way[rivals] / np.maximum(v[heads[rivals]], _CREEP_MPS)
        rivals = rivals[np.lexsort((eta, wanted[rivals]))]
        second = np.flatnonzero(wanted[rivals[1:]] == wanted[rivals[:-1]])
        later, earlier = rivals[second + 1], rivals[second]
        # It keeps behind the earlier one as if both were on one lane, or waits at the line.
        behind = way[later] - way[earlier] - size[later] - size[earlier]
        room = np.maximum(np.maximum(behind, way[later] - size[later] - STOP_LINE_M), 0.0)
        # A driver lets another in without braking hard; the entry itself is guarded elsewhere.
        own, other = v[heads[later]], v[heads[earlier]]
        room = np.maximum(room, motion.interaction(own, np.ones_like(own), other) / _GENTLE)
        closer = np.flatnonzero(room < gap[heads[later]])
        rows = heads[later[closer]]
        gap[rows] = room[closer]
        lead[rows] = other[closer]
    return gap, lead


def one_each(candidates: IntArray, wanted: IntArray, way_m: FloatArray) -> BoolArray:
    """Of `candidates` that want the same thing, which comes first: bool, one true a thing."""
    order = np.lexsort((way_m, wanted))
    first = np.ones(candidates.size, dtype=np.bool_)
    first[1:] = wanted[order[1:]] != wanted[order[:-1]]
    chosen = np.empty_like(first)
    chosen[order] = first
    return chosen
