"""The road graph: crossings (nodes) and lanes (directed edges), as arrays."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray

MAX_NODES = 4096
"""Cost-to-go is a dense float32 table [nodes, nodes]: 64 MB at this limit."""
CROSSING_S = 2.0
"""Time a crossing costs a route on top of the drive (assumption)."""
SIGNAL_S = 15.0
"""Mean time a signal costs a route (assumption: a quarter of the cycle)."""


@dataclass(frozen=True, slots=True)
class Roads:
    """N crossings and E directed edges of one lane each. Metres, seconds, degrees."""

    node_x: FloatArray
    node_y: FloatArray
    tail: IntArray
    head: IntArray
    length: FloatArray
    limit_mps: FloatArray
    lane_x: FloatArray
    """Where the lane's centre line begins, right of the street's."""
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
    """[E] index into `models.gnss.RECEPTION`."""
    out: IntArray
    """[N, 4] edges that leave a crossing, padded with -1."""
    signal: Int8Array
    """[E] at the edge's end: 0 none, 1 green in the cycle's first half, 2 in its second."""
    signal_offset_s: FloatArray
    """[E] shift of that crossing's cycle."""

    @property
    def n_edges(self) -> int:
        return int(self.tail.size)

    @property
    def travel_s(self) -> FloatArray:
        """[E] time a route counts for an edge."""
        return self.length / self.limit_mps + np.where(self.signal > 0, SIGNAL_S, CROSSING_S)

    def point(
        self, edge: IntArray, along_m: FloatArray, right_m: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """East, north of points `along_m` along and `right_m` right of lanes' centre lines."""
        ux, uy = self.ux[edge], self.uy[edge]
        x = self.lane_x[edge] + along_m * ux + right_m * uy
        return x, self.lane_y[edge] + along_m * uy - right_m * ux

    def middle(self) -> tuple[FloatArray, FloatArray]:
        """East, north of each edge's middle, [E]."""
        return self.point(np.arange(self.n_edges), self.length / 2)

    def cost_to_go(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Least time from crossing to crossing, float32 [from, to], s."""
        n = self.node_x.size
        if n > MAX_NODES:
            raise ValueError(f"city: {n} crossings are too many (allowed: 1..{MAX_NODES})")
        graph = csr_array((self.travel_s, (self.tail, self.head)), shape=(n, n))
        return np.asarray(dijkstra(graph), dtype=np.float32)
