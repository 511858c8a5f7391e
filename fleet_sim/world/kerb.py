"""Who stands in which stall and how: the only place where a stall changes hands."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.world.stalls import Stalls
from fleet_sim.world.truth import NOBODY, Truth

CAR_HALF_WIDTH_M = 0.9
_CAR_LENGTH_M, _CAR_LENGTH_SIGMA_M = 4.6, 0.3
_ALONG_SIGMA_M, _ACROSS_SIGMA_M = 0.25, 0.12
"""How far from a stall's middle drivers park (assumption)."""


class Kerb:
    """Cars in stalls. Keeps one state back, for a sensor that reports the last second.

    `truth` has the occupancy; `centre`, `half`, `side` [2, S] (row 0 now, row 1 before the last
    change): the car's centre along the edge, half its length, and how far its near side is from
    the lane's centre, m. `changed_s` [S] is the time of the last change.
    """

    def __init__(self, stalls: Stalls, rng: np.random.Generator) -> None:
        self.stalls = stalls
        self._rng = rng
        n = stalls.n
        self.truth = Truth(np.zeros(n, dtype=np.bool_), np.full(n, NOBODY, dtype=np.int32))
        self.was_occupied: BoolArray = np.zeros(n, dtype=np.bool_)
        self.changed_s: FloatArray = np.full(n, -np.inf)
        self.centre: FloatArray = np.zeros((2, n))
        self.half: FloatArray = np.zeros((2, n))
        self.side: FloatArray = np.full((2, n), np.inf)

    def fill(self, stalls: IntArray, by: IntArray, length_m: FloatArray | None = None) -> None:
        """Who stands there when the run begins: no change of the timeline."""
        self._check_free(stalls)
        self.truth.initial[stalls] = True
        self.truth.occupied[stalls] = True
        self.truth.holder[stalls] = by
        self._place(stalls, length_m)

    def take(
        self, t_s: float, stalls: IntArray, by: IntArray, length_m: FloatArray | None = None
    ) -> None:
        """Cars park in free `stalls`. `RuntimeError` when one is taken: the caller's bug."""
        self._check_free(stalls)
        self._keep_last(t_s, stalls)
        self._place(stalls, length_m)
        self.truth.record(t_s, stalls, by)

    def free(self, t_s: float, stalls: IntArray) -> None:
        """The cars in `stalls` leave."""
        if not self.truth.occupied[stalls].all():
            raise RuntimeError(f"free at {t_s} s: a stall of {stalls.tolist()} is free already")
        self._keep_last(t_s, stalls)
        self.truth.record(t_s, stalls, np.full(stalls.size, NOBODY))

    def _check_free(self, stalls: IntArray) -> None:
        if self.truth.occupied[stalls].any() or np.unique(stalls).size != stalls.size:
            raise RuntimeError(f"two cars for one stall among {stalls.tolist()}")

    def _keep_last(self, t_s: float, stalls: IntArray) -> None:
        self.was_occupied[stalls] = self.truth.occupied[stalls]
        self.changed_s[stalls] = t_s
        for rows in (self.centre, self.half, self.side):
            rows[1, stalls] = rows[0, stalls]

    def _place(self, stalls: IntArray, length_m: FloatArray | None) -> None:
        k = stalls.size
        if length_m is None:
            drawn = self._rng.normal(_CAR_LENGTH_M, _CAR_LENGTH_SIGMA_M, k)
            length_m = np.clip(drawn, 3.6, 5.8)
        slack = (self.stalls.length[stalls] - length_m) / 2
        shift = np.clip(self._rng.normal(0.0, _ALONG_SIGMA_M, k), -slack, slack)
        across = np.clip(self._rng.normal(0.0, _ACROSS_SIGMA_M, k), -0.3, 0.25)
        self.centre[0, stalls] = self.stalls.offset[stalls] + shift
        self.half[0, stalls] = length_m / 2
        self.side[0, stalls] = self.stalls.lane_offset[stalls] - CAR_HALF_WIDTH_M + across
