"""The road graph: crossings (nodes) and lanes (directed edges), as arrays."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray

MAX_NODES = 8192
"""Cost-to-go is a dense float32 table [nodes, nodes]: 256 MB at this limit, and a quarter of a
minute to compute (64 MB and 4 s at half of it)."""
CROSSING_S = 2.0
"""Time a crossing costs a route on top of the drive (assumption)."""
SIGNAL_S = 15.0
"""Mean time a signal costs a route (assumption: a quarter of the cycle)."""
LANE_WIDTH_M = 3.5
CORNER_M = 14.0
"""No stall nearer to the middle of a crossing of streets with one lane a direction: half the cross
street (6 m) and 8 m of clearance."""
_ROWS = 1024


def kerb_lane_m(lanes: IntArray, two_way: BoolArray) -> FloatArray:
    """How far right of a street's middle the middle of its rightmost lane is, [E].

    `lanes` [E] of the edge's direction. A one-way street's lanes lie around its middle.
    """
    wide = LANE_WIDTH_M * (lanes - 1)
    return np.where(two_way, LANE_WIDTH_M / 2 + wide, wide / 2)


@dataclass(frozen=True, slots=True)
class Roads:
    """N crossings and E directed edges. Metres, seconds, degrees."""

    node_x: FloatArray
    node_y: FloatArray
    tail: IntArray
    head: IntArray
    length: FloatArray
    limit_mps: FloatArray
    lanes: IntArray
    """Of the edge's direction, at least 1."""
    lane_x: FloatArray
    """Where the centre line of the rightmost lane begins, the one beside the kerb; the others are
    `LANE_WIDTH_M` apart to its left."""
    lane_y: FloatArray
    ux: FloatArray
    """Direction of travel, unit vector east."""
    uy: FloatArray
    bearing_deg: FloatArray
    """Clockwise from north, 0 to below 360."""
    street_of: IntArray
    """[E] index into `streets`."""
    streets: tuple[str, ...]
    arterial: BoolArray
    reception: IntArray
    """[E] index into `models.gnss.RECEPTION`, or `models.gnss.COVERED` (tunnel, garage)."""
    out: IntArray
    """[N, most] edges that leave a crossing, padded with -1."""
    signal: Int8Array
    """[E] at the edge's end: 0 none, 1 green in the cycle's first half, 2 in its second."""
    signal_offset_s: FloatArray
    """[E] shift of that crossing's cycle."""
    bend: BoolArray
    """[N] no crossing: the street only changes its direction there."""

    @property
    def n_edges(self) -> int:
        return int(self.tail.size)

    @property
    def kerb_lane_m(self) -> FloatArray:
        """[E] how far right of the street's middle the middle of the rightmost lane is."""
        dx = self.lane_x - self.node_x[self.tail]
        dy = self.lane_y - self.node_y[self.tail]
        return np.asarray(dx * self.uy - dy * self.ux)

    @property
    def corner_m(self) -> FloatArray:
        """[N] from a crossing's middle to where a stall may begin: half of the widest street that
        meets there, and 8 m."""
        reach = np.full(self.node_x.size, LANE_WIDTH_M / 2)
        for end in (self.tail, self.head):
            np.maximum.at(reach, end, self.kerb_lane_m)
        return reach + (CORNER_M - LANE_WIDTH_M / 2)

    @property
    def travel_s(self) -> FloatArray:
        """[E] time a route counts for an edge."""
        at_end = np.where(self.bend[self.head], 0.0, CROSSING_S)
        return self.length / self.limit_mps + np.where(self.signal > 0, SIGNAL_S, at_end)

    def point(
        self, edge: IntArray, along_m: FloatArray, right_m: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """East, north of points `along_m` along and `right_m` right of lanes' centre lines."""
        ux, uy = self.ux[edge], self.uy[edge]
        x = self.lane_x[edge] + along_m * ux + right_m * uy
        return x, self.lane_y[edge] + along_m * uy - right_m * ux

    def cosine(self, edge: IntArray, other: IntArray) -> FloatArray:
        """Of the angles between the directions of two edges each, [k]."""
        return self.ux[edge] * self.ux[other] + self.uy[edge] * self.uy[other]

    def middle(self) -> tuple[FloatArray, FloatArray]:
        """East, north of each edge's middle, [E]."""
        return self.point(np.arange(self.n_edges), self.length / 2)

    def cost_to_go(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Least time from crossing to crossing, float32 [from, to], s."""
        n = self.node_x.size
        if n > MAX_NODES:
            raise ValueError(f"city: {n} crossings are too many (allowed: 1..{MAX_NODES})")
        travel_s = self.travel_s
        # Of several edges between the same two crossings the quickest: a matrix would add them up.
        order = np.lexsort((travel_s, self.head, self.tail))
        tail, head = self.tail[order], self.head[order]
        best = np.ones(order.size, dtype=np.bool_)
        best[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        graph = csr_array((travel_s[order][best], (tail[best], head[best])), shape=(n, n))
        table = np.empty((n, n), dtype=np.float32)
        for first in range(0, n, _ROWS):  # scipy answers in float64: twice the table at once
            rows = np.arange(first, min(first + _ROWS, n))
            table[rows] = dijkstra(graph, indices=rows)
        return table
