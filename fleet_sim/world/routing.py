"""Where a vehicle turns next."""

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.world.roads import Roads

TURN_MPS, U_TURN_MPS, STRAIGHT_MPS = 6.5, 3.0, 50.0
"""Speed through a crossing (assumption: 0.2-0.3 g of lateral acceleration on a 15 m radius)."""
U_TURN_S = 40.0
"""What turning round on the way costs a route (assumption): who meets queues would else turn to
and fro."""
TIE_S = 0.5
"""Routes whose times differ by less are as good as equal: drivers spread over them."""
_NEVER_S = 1e6
LOITER_M = 150.0
"""While it looks for a stall a vehicle prefers to stay near: `exp(-distance / 150 m)`
(assumption)."""


class Router:
    """Next edges by least time (`cost_to_go`), or at random near a place."""

    def __init__(self, roads: Roads) -> None:
        self._roads = roads
        self._to_go = roads.cost_to_go()
        # What follows each edge [E, most], once: a table is one access where vehicles are few.
        self._out = roads.out[roads.head]
        self._ends = roads.head[self._out]
        self._back = self._ends == roads.tail[:, None]
        # Nobody turns round in a bend, whatever queues ahead.
        in_bend = self._back & roads.bend[roads.head][:, None]
        self._travel_s = roads.travel_s[self._out] + np.where(in_bend, _NEVER_S, 0.0)
        self._travel_s[self._out < 0] = np.inf

    def towards(
        self,
        edge: IntArray,
        goal: IntArray,
        queue_s: FloatArray,
        rng: np.random.Generator,
        back_s: FloatArray | float = 0.0,
    ) -> IntArray:
        """Edge to take after `edge` [k] on the way to edge `goal` [k].

        `queue_s` [E]: what the queue on an edge costs, `back_s` [k] turning round. Without either,
        every turn brings the goal nearer, so no route runs in circles, and a vehicle turns round
        only at the first crossing of a trip.
        """
        aim = self._roads.tail[goal]
        out = self._out[edge]
        cost = TIE_S * rng.random(out.shape)
        cost += self._travel_s[edge]
        cost += queue_s[out]
        cost += self._to_go[self._ends[edge], aim[:, None]]
        cost += self._back[edge] * (back_s[:, None] if isinstance(back_s, np.ndarray) else back_s)
        best = out[np.arange(edge.size), cost.argmin(axis=1)]
        return np.where(self._roads.head[edge] == aim, goal, best)

    def around(
        self,
        edge: IntArray,
        x_m: FloatArray,
        y_m: FloatArray,
        rng: np.random.Generator,
        appeal: FloatArray | None = None,
    ) -> IntArray:
        """A random turn after `edge` [k] that stays near (x, y) [k]; no turning round.

        `appeal` [E] is added to the logarithm of an edge's weight.
        """
        roads = self._roads
        out, ends = self._out[edge], self._ends[edge]
        away = np.hypot(roads.node_x[ends] - x_m[:, None], roads.node_y[ends] - y_m[:, None])
        # Gumbel's maximum: a draw by weight without normalising the weights.
        score = rng.gumbel(size=out.shape) - away / LOITER_M
        if appeal is not None:
            score += appeal[out]
        score[self._back[edge]] = -1e9
        score[out < 0] = -np.inf
        return np.asarray(out[np.arange(edge.size), score.argmax(axis=1)])

    def turn_speed_mps(self, edge: IntArray, next_edge: IntArray) -> FloatArray:
        """Speed at which a vehicle passes from one edge to the next, [k]."""
        cosine = self._roads.cosine(edge, next_edge)
        return np.where(cosine > 0.7, STRAIGHT_MPS, np.where(cosine < -0.7, U_TURN_MPS, TURN_MPS))
