"""Cars outside the fleet that park: arrivals, dwell, and the crowd of an event.

Ordinary cars arrive as a Poisson process whose rate changes with the phases, take any free stall,
and stay for a lognormal mixture; a car that finds none is turned away and counted. In equilibrium
that is Erlang's loss system, in which the mean occupancy does not depend on the dwell's law, only
on its mean.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.truth import BACKGROUND, EVENT

DwellLaw: TypeAlias = Callable[[int, np.random.Generator], FloatArray]

DWELL_MEDIAN_S = np.array([25 * 60.0, 2 * 3600.0, 8 * 3600.0])
DWELL_LOG_SIGMA = np.array([0.6, 0.5, 0.3])
DWELL_WEIGHT = np.array([0.60, 0.25, 0.15])
"""Errand, visit, work: medians, spreads and shares of arrivals are assumptions (Melbourne's stall
sensors show that dwell is not exponential)."""
DWELL_MEAN_S = float(DWELL_WEIGHT @ (DWELL_MEDIAN_S * np.exp(DWELL_LOG_SIGMA**2 / 2)))
WALK_M = 250.0
"""An event's cars prefer stalls near it with weight `exp(-distance / 250 m)` (assumption)."""


def draw_dwell_s(k: int, rng: np.random.Generator) -> FloatArray:
    """Dwell of `k` cars that arrive now."""
    kind = rng.choice(3, k, p=DWELL_WEIGHT)
    return np.asarray(DWELL_MEDIAN_S[kind] * np.exp(DWELL_LOG_SIGMA[kind] * rng.standard_normal(k)))


def draw_residual_s(k: int, rng: np.random.Generator) -> FloatArray:
    """Remaining dwell of `k` cars met at a random time in equilibrium.

    Such a car's dwell is length-biased: component by weight × mean, and a length-biased lognormal
    is a lognormal with μ + σ². The time is uniform within the dwell.
    """
    share = DWELL_WEIGHT * DWELL_MEDIAN_S * np.exp(DWELL_LOG_SIGMA**2 / 2)
    kind = rng.choice(3, k, p=share / share.sum())
    sigma = DWELL_LOG_SIGMA[kind]
    dwell = DWELL_MEDIAN_S[kind] * np.exp(sigma**2 + sigma * rng.standard_normal(k))
    return np.asarray(dwell * rng.random(k))


class Demand:
    """`depart_s` [S]: when the stall's car leaves; `inf` for none, the fleet's, and the event's."""

    def __init__(
        self,
        kerb: Kerb,
        occupancy: float,
        rng: np.random.Generator,
        dwell: DwellLaw = draw_dwell_s,
    ) -> None:
        """`dwell`: another law with the same mean, to show what does not depend on it."""
        self._kerb, self._dwell = kerb, dwell
        self._rng = rng
        n = kerb.stalls.n
        self.depart_s: FloatArray = np.full(n, np.inf)
        self.occupancy = occupancy
        self.arrival_rate_per_s = 0.0
        self._filling = (0.0, 0.0, 0.0)
        """Rate on top of it, 1/s, from when, until when: occupancy rises to a phase's."""
        self.arrivals = 0
        self.expected = 0.0
        """Integral of the rate of ordinary arrivals; `arrivals` has the event's too."""
        self.turned_away = 0
        self._due_s = np.empty(0)
        """The event's arrivals to come, ascending."""
        self._weight: FloatArray = np.ones(n)
        self._set_rate(occupancy)
        free = np.flatnonzero(~kerb.truth.occupied)
        k = min(round(occupancy * n), free.size)
        stalls = rng.choice(free, k, replace=False)
        kerb.fill(stalls, np.full(k, BACKGROUND))
        self.depart_s[stalls] = draw_residual_s(k, rng)

    def _set_rate(self, occupancy: float) -> None:
        self.occupancy = occupancy
        self.arrival_rate_per_s = occupancy * self._kerb.stalls.n / DWELL_MEAN_S

    def shift_to(self, occupancy: float, start_s: float, duration_s: float) -> None:
        """Another mean occupancy. Dwell is hours long, so the change alone would take hours:
        the difference arrives, by a higher rate, or leaves over the first half of the phase."""
        change = round((occupancy - self.occupancy) * self._kerb.stalls.n)
        self._set_rate(occupancy)
        if change > 0:
            self._filling = (change / (duration_s / 2), start_s, start_s + duration_s / 2)
        elif change < 0:
            cars = np.flatnonzero(self._kerb.truth.holder == BACKGROUND)
            leave = self._rng.choice(cars, min(-change, cars.size), replace=False)
            at = start_s + self._rng.random(leave.size) * duration_s / 2
            self.depart_s[leave] = np.minimum(self.depart_s[leave], at)

    def attract(
        self, x: float, y: float, cars: int, start_s: float, duration_s: float, peak_before_s: float
    ) -> None:
        """An event at (x, y): `cars` arrive within the phase, most of them around its peak
        (normal with a sixth of the phase as deviation, truncated to the phase; assumption)."""
        peak, sigma = duration_s - min(peak_before_s, duration_s), duration_s / 6
        times = np.empty(0)
        while times.size < cars:
            drawn = self._rng.normal(peak, sigma, 2 * cars)
            times = np.concatenate((times, drawn[(drawn >= 0) & (drawn <= duration_s)]))
        self._due_s = np.sort(np.concatenate((self._due_s, start_s + times[:cars])))
        stalls = self._kerb.stalls
        self._weight = np.exp(-np.hypot(stalls.x - x, stalls.y - y) / WALK_M)

    def disperse(self, share: float, start_s: float, duration_s: float) -> None:
        """`share` of the event's cars leave within the phase, most in its first half
        (triangular with the mode at a third; assumption)."""
        cars = np.flatnonzero(self._kerb.truth.holder == EVENT)
        leave = self._rng.choice(cars, round(share * cars.size), replace=False)
        at = self._rng.triangular(0.0, duration_s / 3, duration_s, leave.size)
        self.depart_s[leave] = start_s + at

    def step(self, dt_s: float, now_s: float) -> None:
        """Departures and arrivals of the step that ends at `now_s`."""
        leaving = np.flatnonzero(self.depart_s <= now_s)
        if leaving.size:
            self._kerb.free(now_s, leaving)
            self.depart_s[leaving] = np.inf
        ordinary = self._arrive(self.arrival_rate_per_s * dt_s)
        rate, start_s, until_s = self._filling
        overlap_s = min(now_s, until_s) - max(now_s - dt_s, start_s)
        if overlap_s > 0.0:
            # They stand for those of the new equilibrium who came before the phase.
            self._park(now_s, self._pick(self._arrive(rate * overlap_s)), draw_residual_s)
        if ordinary:
            self._park(now_s, self._pick(ordinary), self._dwell)
        event = int(np.searchsorted(self._due_s, now_s, side="right"))
        if event:
            self._due_s = self._due_s[event:]
            self._park(now_s, self._pick_near(event), None)

    def _arrive(self, expected: float) -> int:
        self.expected += expected
        return int(self._rng.poisson(expected))

    def _pick(self, k: int) -> IntArray:
        """`k` free stalls at random, fewer when there are fewer."""
        free = np.flatnonzero(~self._kerb.truth.occupied)
        self.arrivals += k
        self.turned_away += max(0, k - free.size)
        if k == 1 and free.size:
            return free[self._rng.integers(free.size, size=1)]
        return np.asarray(self._rng.choice(free, min(k, free.size), replace=False))

    def _pick_near(self, k: int) -> IntArray:
        """`k` free stalls, drawn without replacement by weight (Efraimidis, Spirakis, 2006)."""
        free = np.flatnonzero(~self._kerb.truth.occupied)
        self.arrivals += k
        self.turned_away += max(0, k - free.size)
        if k >= free.size:
            return free
        keys = self._rng.standard_exponential(free.size) / self._weight[free]
        return np.asarray(free[np.argpartition(keys, k)[:k]])

    def _park(self, now_s: float, stalls: IntArray, dwell: DwellLaw | None) -> None:
        """With a law of dwell: ordinary cars; without: the event's, which stay until it ends."""
        if stalls.size:
            by = EVENT if dwell is None else BACKGROUND
            self._kerb.take(now_s, stalls, np.full(stalls.size, by))
            if dwell is not None:
                self.depart_s[stalls] = now_s + dwell(stalls.size, self._rng)
