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
        self._travel_s = roads.travel_s
        self._to_go = roads.cost_to_go()

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
        roads = self._roads
        node, aim = roads.head[edge], roads.tail[goal]
        out = roads.out[node]
        cost = (self._travel_s + queue_s)[out] + self._to_go[roads.head[out], aim[:, None]]
        cost += rng.random(cost.shape) * TIE_S
        back = roads.head[out] == roads.tail[edge][:, None]
        # Nobody turns round in a bend, whatever queues ahead.
        cost += back * np.where(roads.bend[node], _NEVER_S, back_s)[:, None]
        cost[out < 0] = np.inf
        best = out[np.arange(edge.size), cost.argmin(axis=1)]
        return np.where(node == aim, goal, best)

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
        node = roads.head[edge]
        out = roads.out[node]
        ends = roads.head[out]
        away = np.hypot(roads.node_x[ends] - x_m[:, None], roads.node_y[ends] - y_m[:, None])
        # Gumbel's maximum: a draw by weight without normalising the weights.
        score = rng.gumbel(size=out.shape) - away / LOITER_M
        if appeal is not None:
            score += appeal[out]
        score[ends == roads.tail[edge][:, None]] = -1e9
        score[out < 0] = -np.inf
        return np.asarray(out[np.arange(edge.size), score.argmax(axis=1)])

    def turn_speed_mps(self, edge: IntArray, next_edge: IntArray) -> FloatArray:
        """Speed at which a vehicle passes from one edge to the next, [k]."""
        roads = self._roads
        dot = roads.ux[edge] * roads.ux[next_edge] + roads.uy[edge] * roads.uy[next_edge]
        return np.where(dot > 0.7, STRAIGHT_MPS, np.where(dot < -0.7, U_TURN_MPS, TURN_MPS))
