"""Lanes of an edge: parallel queues. Each has a number; those of an edge follow one another."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.world.roads import LANE_WIDTH_M, Roads

DISCHARGE_S = 1.9
"""Saturation headway: what each vehicle of a queue costs those behind (HCM: 1900 veh/h)."""
_WRONG_S = 8.0
"""What a driver waits rather than be one lane off the one for its turn (assumption)."""
_CHANGE_S = 4.0
"""What a driver waits rather than change over by one lane (assumption)."""
_TURNS = 0.7
"""A way that deviates by more than its arc cosine, 45 degrees, is a turn."""


class Lanes:
    """Numbers of the lanes of `roads`: `first[edge]` is the rightmost, that at the kerb."""

    def __init__(self, roads: Roads) -> None:
        self._roads = roads
        self.first: IntArray = np.cumsum(roads.lanes) - roads.lanes
        """[E]"""
        self.n = int(roads.lanes.sum())
        self.edge: IntArray = np.repeat(np.arange(roads.n_edges), roads.lanes)
        """[lanes]"""
        nth = np.arange(self.n) - self.first[self.edge]
        self.left_m: FloatArray = LANE_WIDTH_M * nth.astype(np.float64)
        """[lanes] from the centre line of the edge's rightmost lane."""
        self.single = bool((roads.lanes == 1).all())
        """Every edge has one lane, so a lane's number is its edge's."""
        self._most = int(roads.lanes.max())

    def choose(
        self, lane: IntArray, edge: IntArray, after: IntArray, on_lane: IntArray, kerb: BoolArray
    ) -> IntArray:
        """The lane of `edge` [k] to enter from `lane` [k] for who will take edge `after` [k] then.

        The leftmost to turn left or round, the rightmost to turn right, any to go straight on,
        unless it has more vehicles in front: `on_lane` [lanes] are there. Who goes straight keeps
        its lane rather, who turns takes the nearest one. Who will look for a stall there
        (`kerb` [k]) takes the rightmost.
        """
        first, before = self.first[edge], self.edge[lane]
        k = np.arange(self._most)
        last = (self._roads.lanes[edge] - 1)[:, None]
        own = np.minimum((lane - self.first[before])[:, None], last)
        turns, left = self._turn(before, edge)
        own = np.where(turns, np.where(left, last, 0), own)
        turns, left = self._turn(edge, after)
        off = np.where(left, last - k, k) * turns
        queue = on_lane[np.minimum(first[:, None] + k, self.n - 1)]
        cost = DISCHARGE_S * queue + _WRONG_S * off + _CHANGE_S * np.abs(k - own)
        cost[k > last] = np.inf
        return first + np.where(kerb, 0, cost.argmin(axis=1))

    def _turn(self, edge: IntArray, then: IntArray) -> tuple[BoolArray, BoolArray]:
        """Whether going from `edge` [k] to `then` [k] is a turn, and one to the left; [k, 1]."""
        roads = self._roads
        cross = roads.ux[edge] * roads.uy[then] - roads.uy[edge] * roads.ux[then]
        return (roads.cosine(edge, then) < _TURNS)[:, None], (cross > 0.0)[:, None]
