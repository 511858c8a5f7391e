"""Cars that stand where none may: in driveways, at hydrants and bus stops, in corners."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.world.kerb import Things
from fleet_sim.world.roads import Roads
from fleet_sim.world.truth import NOBODY, Truth

OCCUPANCY = 0.5
"""Share of the time that each of the places that tempt drivers is taken (assumption: with one in
four such places among all, 12 % of the illegal kerb)."""
DWELL_MEDIAN_S, DWELL_LOG_SIGMA = 480.0, 0.8
DWELL_MEAN_S = DWELL_MEDIAN_S * float(np.exp(DWELL_LOG_SIGMA**2 / 2))
"""Who stands illegally does not stay for long (assumption)."""


def draw_dwell_s(k: int, rng: np.random.Generator) -> FloatArray:
    """Dwell of `k` cars that stop illegally now."""
    return np.asarray(DWELL_MEDIAN_S * np.exp(DWELL_LOG_SIGMA * rng.standard_normal(k)))


class _Located(NamedTuple):
    n: int
    x: FloatArray
    y: FloatArray


class IllegalKerb:
    """The places of `things` that are cars; `truth` says since when one stands there.

    They are no stalls: the cloud knows nothing of them, and no audit judges them. But sensors meet
    the cars.
    """

    def __init__(self, roads: Roads, things: Things) -> None:
        self._things = things
        self._which: IntArray = np.flatnonzero(things.is_car)
        things.standing[self._which] = False
        x, y = roads.point(things.edge[self._which], things.centre[self._which])
        n = self._which.size
        self.stalls = _Located(n, x, y)
        self.truth = Truth(np.zeros(n, dtype=np.bool_), np.full(n, NOBODY, dtype=np.int32))

    def fill(self, stalls: IntArray, by: IntArray) -> None:
        """Who stands there when the run begins: no change of the timeline."""
        self.truth.initial[stalls] = True
        self.truth.occupied[stalls] = True
        self.truth.holder[stalls] = by
        self._things.standing[self._which[stalls]] = True

    def take(self, t_s: float, stalls: IntArray, by: IntArray) -> None:
        """Cars stop there."""
        self._things.standing[self._which[stalls]] = True
        self.truth.record(t_s, stalls, by)

    def free(self, t_s: float, stalls: IntArray) -> None:
        """Cars go on."""
        self._things.standing[self._which[stalls]] = False
        self.truth.record(t_s, stalls, np.full(stalls.size, NOBODY))
