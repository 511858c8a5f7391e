"""Who follows whom: leaders on the lane, across crossings, and the order of merging.

All arrays are sorted by edge, then by position along it, so a vehicle's leader is its successor.
"""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.models.motion import FREE_M
from fleet_sim.world.roads import Roads

CYCLE_S, AMBER_S = 60.0, 4.0
MERGE_M = 40.0
"""Within this distance of a crossing, vehicles that want the same edge take turns."""
STOP_LINE_M = 6.0
"""From the crossing's centre to the front of a vehicle that waits."""


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
    take, and yields to whoever is nearer to the crossing and wants the same edge.
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
        rivals = rivals[np.lexsort((way[rivals], wanted[rivals]))]
        second = np.flatnonzero(wanted[rivals[1:]] == wanted[rivals[:-1]])
        if second.size:
            _yield(gap, lead, heads, way, size, v, rivals[second + 1], rivals[second])
    return gap, lead


def _yield(
    gap: FloatArray,
    lead: FloatArray,
    heads: IntArray,
    way: FloatArray,
    size: FloatArray,
    v: FloatArray,
    later: IntArray,
    earlier: IntArray,
) -> None:
    """`later` vehicles keep behind `earlier` ones, or wait at the line until those are through."""
    behind = way[later] - way[earlier] - size[later] - size[earlier]
    line = way[later] - size[later] - STOP_LINE_M
    follows = behind >= line
    room = np.maximum(np.maximum(behind, line), 0.0)
    closer = room < gap[heads[later]]
    rows = heads[later[closer]]
    gap[rows] = room[closer]
    lead[rows] = np.where(follows[closer], v[heads[earlier[closer]]], 0.0)


def one_each(candidates: IntArray, wanted: IntArray, way_m: FloatArray) -> BoolArray:
    """Of `candidates` that want the same thing, which comes first: bool, one true a thing."""
    order = np.lexsort((way_m, wanted))
    first = np.ones(candidates.size, dtype=np.bool_)
    first[1:] = wanted[order[1:]] != wanted[order[:-1]]
    chosen = np.empty_like(first)
    chosen[order] = first
    return chosen
