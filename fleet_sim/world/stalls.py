"""Kerbside stalls, and what else a side-looking sensor meets along a lane."""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int32Array, IntArray
from fleet_sim.world.roads import Roads

STALL_LENGTH_M = 6.7
"""22 ft: a parallel stall (AASHTO; 7-8 ft wide)."""
STALL_HALF_WIDTH_M = 1.15
LANE_TO_STALL_M = 3.0
"""From the lane's centre to the stall's centre line: half a 3.5 m lane and half a stall."""
CELL_M = 1.0
_CLUTTER_PER_M = 1 / 12
"""Poles, trees, bins and hedges behind the kerb (assumption)."""
_BEAM_TAN = 0.268
"""tan 15°: the beam meets a pole this much of its distance early and late."""


@dataclass(frozen=True, slots=True)
class Stalls:
    """S stalls ordered by edge and offset; [S] unless said otherwise."""

    id: tuple[str, ...]
    edge: IntArray
    offset: FloatArray
    """Of the stall's centre along its edge, m."""
    lane_offset: FloatArray
    """From the lane's centre to the stall's centre line, m."""
    length: FloatArray
    x: FloatArray
    y: FloatArray
    first: IntArray
    """[E + 1] stalls of edge `e` are `first[e]` to below `first[e + 1]`."""
    cell_first: IntArray
    """[E] where an edge's 1 m cells begin in the two arrays below."""
    cell_stall: Int32Array
    """Nearest stall of the same edge, -1 without any."""
    cell_background_m: FloatArray
    """From the lane's centre to the first thing behind the kerb, `inf` when nothing is near."""

    @property
    def n(self) -> int:
        return int(self.edge.size)

    def cell(self, edge: IntArray, along_m: FloatArray) -> IntArray:
        """Index of the cell at `along_m`, 0 to below the edge's length."""
        return np.asarray(self.cell_first[edge] + along_m.astype(np.int64))


def lay_out(
    roads: Roads, ids: tuple[str, ...], edge: IntArray, offset: FloatArray, rng: np.random.Generator
) -> Stalls:
    """Stalls at `offset` [S] of `edge` [S] (ordered), and a drawn background along all edges."""
    lane_offset = np.full(edge.size, LANE_TO_STALL_M)
    x, y = roads.point(edge, offset, lane_offset)
    first = np.searchsorted(edge, np.arange(roads.n_edges + 1))
    cells = np.ceil(roads.length / CELL_M).astype(np.int64)
    cell_first = np.concatenate(([0], np.cumsum(cells)[:-1]))
    cell_edge = np.repeat(np.arange(roads.n_edges), cells)
    cell_along: FloatArray = np.arange(cell_edge.size, dtype=np.float64)
    cell_along = (cell_along - cell_first[cell_edge] + 0.5) * CELL_M
    return Stalls(
        id=ids,
        edge=edge,
        offset=offset,
        lane_offset=lane_offset,
        length=np.full(edge.size, STALL_LENGTH_M),
        x=x,
        y=y,
        first=first,
        cell_first=cell_first,
        cell_stall=_nearest(edge, offset, cell_edge, cell_along),
        cell_background_m=_clutter(roads, cell_first, cells, rng),
    )


def _nearest(
    edge: IntArray, offset: FloatArray, cell_edge: IntArray, cell_along: FloatArray
) -> Int32Array:
    """Nearest stall of the same edge for each cell, -1 without any."""
    if edge.size == 0:
        return np.full(cell_edge.size, -1, dtype=np.int32)
    scale = 1e6
    after = np.searchsorted(edge * scale + offset, cell_edge * scale + cell_along)
    best = np.full(cell_edge.size, -1, dtype=np.int32)
    distance = np.full(cell_edge.size, np.inf)
    for candidate in (after - 1, after):
        index = np.clip(candidate, 0, edge.size - 1)
        gap = np.where(edge[index] == cell_edge, np.abs(offset[index] - cell_along), np.inf)
        closer = gap < distance
        best[closer] = index[closer]
        distance[closer] = gap[closer]
    return best


def _clutter(
    roads: Roads, cell_first: IntArray, cells: IntArray, rng: np.random.Generator
) -> FloatArray:
    """Narrow things 0.4-1.0 m behind the kerb, as wide as the beam sees them."""
    background = np.full(int(cells.sum()), np.inf)
    count = rng.poisson(_CLUTTER_PER_M * roads.length)
    edge = np.repeat(np.arange(roads.n_edges), count)
    along = rng.uniform(0.0, roads.length[edge])
    lateral = LANE_TO_STALL_M + STALL_HALF_WIDTH_M + rng.uniform(0.4, 1.0, edge.size)
    half = 0.15 + _BEAM_TAN * (lateral - 0.9)
    # No thing is wider than three cells to either side.
    for shift in range(-3, 4):
        cell = np.floor(along / CELL_M).astype(np.int64) + shift
        centre = (cell + 0.5) * CELL_M
        hit = (cell >= 0) & (cell < cells[edge]) & (np.abs(centre - along) <= half)
        np.minimum.at(background, cell_first[edge[hit]] + cell[hit], lateral[hit])
    return background
