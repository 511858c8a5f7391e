"""A plain Bayesian map of stalls from passes, and what it is compared with."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.validation._drive_by import (
    KMH,
    Looks,
    Matcher,
    Passes,
    Street,
    carry,
    drive,
    find_dips,
    judge,
)
from fleet_sim.world.demand import DWELL_MEAN_S

FLOW_PER_S = 120 / 3600
"""Cars that pass a kerb (assumption: a quiet street)."""
STEP_S = 60.0
WARM_UP_S = 3600.0


class LookError(NamedTuple):
    """How often one look errs: learnt in another city than it is used in."""

    missed: float
    """Of the stalls that are taken, the share called free."""
    false_alarm: float


def look_error(street: Street, looks: Looks) -> LookError:
    taken = street.kerb.truth.occupied[looks.stall]
    return LookError(float((~looks.occupied[taken]).mean()), float(looks.occupied[~taken].mean()))


class BayesMap:
    """Two-state filter a stall: decay to the mean occupancy between looks, Bayes at a look."""

    def __init__(self, n: int, occupancy: float, error: LookError) -> None:
        self.p: FloatArray = np.full(n, occupancy)
        self.last: FloatArray = np.full(n, occupancy)
        """The last look alone, as 0 or 1; the mean occupancy before the first."""
        self._occupancy, self._error = occupancy, error
        # Who leaves does so once a mean dwell; in balance as many arrive.
        self._rate = 1.0 / DWELL_MEAN_S / (1.0 - occupancy)

    def wait(self, dt_s: float) -> None:
        self.p = self._occupancy + (self.p - self._occupancy) * np.exp(-self._rate * dt_s)

    def look(self, looks: Looks) -> None:
        """Passes one after the other: two of one edge are two looks."""
        for row in np.unique(looks.row):
            at = looks.row == row
            stall, seen = looks.stall[at], looks.occupied[at]
            p = self.p[stall]
            if_taken = np.where(seen, 1.0 - self._error.missed, self._error.missed)
            if_free = np.where(seen, self._error.false_alarm, 1.0 - self._error.false_alarm)
            self.p[stall] = p * if_taken / (p * if_taken + (1.0 - p) * if_free)
            self.last[stall] = seen


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
    error: LookError,
    *,
    matched: bool = True,
    speed_mps: float = 30 * KMH,
) -> History:
    """Let cars park and sensors pass at Poisson times; `penetration` of the flow carry one."""
    believed = BayesMap(street.city.stalls.n, occupancy, error)
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
            believed.look(judge(street, passes, find_dips(passes)))
        if now_s > WARM_UP_S and k % 5 == 0:
            taken = street.kerb.truth.occupied.astype(np.float64)
            rows.append((believed.p.copy(), believed.last.copy(), taken))
    p, last, taken = (np.concatenate([row[i] for row in rows]) for i in range(3))
    return History(p, last, taken)
