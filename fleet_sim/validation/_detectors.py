"""What tells a taken stall from a free one in a pass: ParkNet's slotted detector, written from its
description, and one that looks at shares of samples.

Nothing here is shared with the cloud's functions: a mistake there cannot hide one here.
"""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.validation._drive_by import DIP_DEPTH_CM, Passes, Street

DIP_WIDTH_M = 2.52
"""ParkNet's trained threshold of a car's dip in a street with marked stalls."""


class Dips(NamedTuple):
    """D dips: `row` of the pass, estimated centre along the edge and width, m, [D]."""

    row: IntArray
    centre_m: FloatArray
    width_m: FloatArray


def find_dips(passes: Passes, *, bridge: int = 0) -> Dips:
    """Runs of samples below the depth threshold that are wide enough.

    `bridge`: runs of so many other samples or fewer between two such are taken as part of the dip.
    """
    near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
    for gap in range(1, bridge + 1):
        for before in range(1, gap + 1):
            after = gap + 1 - before
            near[:, before:-after] |= near[:, : -before - after] & near[:, before + after :]
    edges = np.diff(np.pad(near.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    width: FloatArray = np.asarray((last - first + 1) * passes.spacing_m, dtype=np.float64)
    wide = width >= DIP_WIDTH_M
    row, first, last, width = row[wide], first[wide], last[wide], width[wide]
    middle = (first + last) // 2
    centre = (passes.s[row, first] + passes.s[row, last]) / 2 + passes.error_m[row, middle]
    return Dips(row, centre, width)


class Looks(NamedTuple):
    """K judgements of a stall by a pass, [K]."""

    stall: IntArray
    occupied: BoolArray
    row: IntArray
    grade: IntArray
    """How much speaks for a car: 0 or 1 by the dip detector, 0 to `GRADES` by the share's."""


def judge(street: Street, passes: Passes, dips: Dips) -> Looks:
    """Every stall of a pass's edge: occupied when a dip covers it for the width threshold."""
    stalls = street.city.stalls
    count = stalls.first[passes.edge + 1] - stalls.first[passes.edge]
    begin = np.cumsum(count) - count
    row = np.repeat(np.arange(passes.edge.size), count)
    stall = stalls.first[passes.edge][row] + np.arange(row.size) - begin[row]
    occupied = np.zeros(row.size, dtype=np.bool_)
    # Each dip against the stalls of its edge, one after the other: an edge has about ten.
    for k in range(int(count.max(initial=0))):
        has = np.flatnonzero(k < count[dips.row])
        look = begin[dips.row[has]] + k
        middle, half = stalls.offset[stall[look]], stalls.length[stall[look]] / 2
        low = np.maximum(dips.centre_m[has] - dips.width_m[has] / 2, middle - half)
        high = np.minimum(dips.centre_m[has] + dips.width_m[has] / 2, middle + half)
        occupied[look[high - low >= DIP_WIDTH_M - 1e-9]] = True
    return Looks(stall, occupied, row, occupied.astype(np.int64))


CORE = 0.7
"""Share of a stall, about its middle, that is judged: next door's car reaches into its ends."""
GRADES = 5
"""The share of near samples is told in so many steps."""


def judge_share(street: Street, passes: Passes) -> Looks:
    """Every stall in whose core a sample fell: occupied when half of these samples or more are
    near. No echo counts as far, so a lost one costs a sample, not the dip."""
    stalls, roads = street.city.stalls, street.city.roads
    row, column = np.nonzero(passes.s < roads.length[passes.edge, None])
    edge, at = passes.edge[row], (passes.s + passes.error_m)[row, column]
    inside = (at >= 0.0) & (at < roads.length[edge])
    row, column, edge, at = row[inside], column[inside], edge[inside], at[inside]
    stall = stalls.cell_stall[stalls.cell(edge, at)].astype(np.int64)
    core = (stall >= 0) & (np.abs(at - stalls.offset[stall]) <= CORE * stalls.length[stall] / 2)
    row, column, stall = row[core], column[core], stall[core]
    look, of = np.unique(row * stalls.n + stall, return_inverse=True)
    cm = passes.cm[row, column]
    near = np.bincount(of, (cm > 0) & (cm < DIP_DEPTH_CM), look.size)
    share = near / np.bincount(of, minlength=look.size)
    grade = np.rint(share * GRADES).astype(np.int64)
    return Looks(look % stalls.n, share >= 0.5, look // stalls.n, grade)
