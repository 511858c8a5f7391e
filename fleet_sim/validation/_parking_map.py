"""A plain Bayesian map of stalls from passes, and what it is compared with."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.validation._detectors import Looks, judge_share
from fleet_sim.validation._drive_by import KMH, Passes, Street, drive
from fleet_sim.validation._matching import Matcher, carry
from fleet_sim.world.demand import DWELL_MEAN_S

FLOW_PER_S = 120 / 3600
"""Cars that pass a kerb (assumption: a quiet street)."""
STEP_S = 60.0
WARM_UP_S = 3600.0


class Likelihood(NamedTuple):
    """How likely each grade of a look is: learnt in another city than it is used in, [grades]."""

    if_taken: FloatArray
    if_free: FloatArray


def learn(street: Street, looks: Looks) -> Likelihood:
    """Share of each grade among the looks at taken and at free stalls."""
    taken = street.kerb.truth.occupied[looks.stall]
    most = max(1, int(looks.grade.max()))

    def shares(grade: IntArray) -> FloatArray:
        # One more of each kind (Laplace): what was never seen is rare, not impossible.
        count = np.bincount(grade, minlength=most + 1) + 1.0
        return np.asarray(count / count.sum())

    return Likelihood(shares(looks.grade[taken]), shares(looks.grade[~taken]))


class BayesMap:
    """Two-state filter a stall: decay to the mean occupancy between looks, Bayes at a look."""

    def __init__(self, n: int, occupancy: float, likelihood: Likelihood) -> None:
        self.p: FloatArray = np.full(n, occupancy)
        self.last: FloatArray = np.full(n, occupancy)
        """The last look alone, as 0 or 1; the mean occupancy before the first."""
        self._occupancy, self._likelihood = occupancy, likelihood
        # Who leaves does so once a mean dwell; in balance as many arrive.
        self._rate = 1.0 / DWELL_MEAN_S / (1.0 - occupancy)

    def wait(self, dt_s: float) -> None:
        self.p = self._occupancy + (self.p - self._occupancy) * np.exp(-self._rate * dt_s)

    def look(self, looks: Looks) -> None:
        """Passes one after the other: two of one edge are two looks."""
        for row in np.unique(looks.row):
            at = looks.row == row
            stall, grade = looks.stall[at], looks.grade[at]
            taken = self.p[stall] * self._likelihood.if_taken[grade]
            free = (1.0 - self.p[stall]) * self._likelihood.if_free[grade]
            self.p[stall] = taken / (taken + free)
            self.last[stall] = looks.occupied[at]


class History(NamedTuple):
    """What the map and the truth were every five minutes after the warm-up, [times × stalls]."""

    p: FloatArray
    last: FloatArray
    taken: FloatArray

    def brier(self, p: FloatArray | float) -> float:
        return float(((p - self.taken) ** 2).mean())

    @property
    def accuracy(self) -> float:
        return float(((self.p > 0.5) == (self.taken > 0.5)).mean())

    def reliability(self, bins: int = 10) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean prediction, share taken, and weight of the bins that are not empty."""
        which = np.minimum((self.p * bins).astype(np.int64), bins - 1)
        count = np.bincount(which, minlength=bins)
        used = count > 0
        told = np.bincount(which, self.p, bins)[used] / count[used]
        true = np.bincount(which, self.taken, bins)[used] / count[used]
        return told, true, count[used] / which.size

    @property
    def calibration_error(self) -> float:
        told, true, weight = self.reliability()
        return float((np.abs(told - true) * weight).sum())


def run(
    street: Street,
    occupancy: float,
    penetration: float,
    hours: float,
    likelihood: Likelihood,
    *,
    matched: bool = True,
    speed_mps: float = 30 * KMH,
) -> History:
    """Let cars park and sensors pass at Poisson times; `penetration` of the flow carry one."""
    believed = BayesMap(street.city.stalls.n, occupancy, likelihood)
    matcher = Matcher(street) if matched else None
    rows: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    steps = round((WARM_UP_S + hours * 3600.0) / STEP_S)
    for k in range(1, steps + 1):
        now_s = k * STEP_S
        street.demand.step(STEP_S, now_s)
        street.gnss.step(STEP_S)
        believed.wait(STEP_S)
        count = street.rng.poisson(FLOW_PER_S * penetration * STEP_S, street.edges.size)
        edges = np.repeat(street.edges, count)
        if edges.size:
            passes: Passes = drive(street, edges, speed_mps)
            if matcher is not None:
                passes = matcher(carry(passes))
            believed.look(judge_share(street, passes))
        if now_s > WARM_UP_S and k % 5 == 0:
            taken = street.kerb.truth.occupied.astype(np.float64)
            rows.append((believed.p.copy(), believed.last.copy(), taken))
    p, last, taken = (np.concatenate([row[i] for row in rows]) for i in range(3))
    return History(p, last, taken)
