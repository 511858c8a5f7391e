"""Cars outside the fleet that park: arrivals, dwell, and the crowd of an event.

Ordinary cars arrive as a Poisson process whose rate changes with the phases, take any free stall,
the sooner in a district where kerbs are full, and stay for a lognormal mixture; a car that finds
none is turned away and counted. In equilibrium that is Erlang's loss system, in which the mean
occupancy does not depend on the dwell's law, only on its mean.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.world.districts import DWELL_WEIGHT, MIXED, occupancies
from fleet_sim.world.truth import BACKGROUND, EVENT, Truth

DwellLaw: TypeAlias = Callable[[int, np.random.Generator], FloatArray]

DWELL_MEDIAN_S = np.array([25 * 60.0, 2 * 3600.0, 8 * 3600.0])
DWELL_LOG_SIGMA = np.array([0.6, 0.5, 0.3])
"""Errand, visit, work: medians and spreads are assumptions (Melbourne's stall sensors show that
dwell is not exponential); `districts.DWELL_WEIGHT` has their shares."""
_MEANS_S = DWELL_MEDIAN_S * np.exp(DWELL_LOG_SIGMA**2 / 2)
DWELL_MEAN_S = float(DWELL_WEIGHT[MIXED] @ _MEANS_S)
"""In a mixed district."""
WALK_M = 250.0
"""An event's cars prefer stalls near it with weight `exp(-distance / 250 m)` (assumption)."""


class Located(Protocol):
    """S places for a car, [S]; metres east and north."""

    @property
    def n(self) -> int: ...
    @property
    def x(self) -> FloatArray: ...
    @property
    def y(self) -> FloatArray: ...


class Places(Protocol):
    """Where cars stand, and the truth about it: a kerb, or a garage."""

    @property
    def truth(self) -> Truth: ...
    @property
    def stalls(self) -> Located: ...
    def fill(self, stalls: IntArray, by: IntArray) -> None: ...
    def take(self, t_s: float, stalls: IntArray, by: IntArray) -> None: ...
    def free(self, t_s: float, stalls: IntArray) -> None: ...


def draw_dwell_s(k: int, rng: np.random.Generator, character: IntArray | int = MIXED) -> FloatArray:
    """Dwell of `k` cars that arrive now in the districts `character` ([k], or one for all)."""
    kind = _kinds(k, rng, DWELL_WEIGHT[character])
    return np.asarray(DWELL_MEDIAN_S[kind] * np.exp(DWELL_LOG_SIGMA[kind] * rng.standard_normal(k)))


def _kinds(k: int, rng: np.random.Generator, weight: FloatArray) -> IntArray:
    """Components drawn by `weight` ([k, 3] or [3])."""
    below = np.cumsum(weight, axis=-1)
    return np.asarray((rng.random(k)[:, None] * below[..., -1:] > below[..., :-1]).sum(axis=-1))


def draw_residual_s(
    k: int, rng: np.random.Generator, character: IntArray | int = MIXED
) -> FloatArray:
    """Remaining dwell of `k` cars met at a random time in equilibrium.

    Such a car's dwell is length-biased: component by weight × mean, and a length-biased lognormal
    is a lognormal with μ + σ². The time is uniform within the dwell.
    """
    kind = _kinds(k, rng, DWELL_WEIGHT[character] * _MEANS_S)
    sigma = DWELL_LOG_SIGMA[kind]
    dwell = DWELL_MEDIAN_S[kind] * np.exp(sigma**2 + sigma * rng.standard_normal(k))
    return np.asarray(dwell * rng.random(k))


class Demand:
    """`depart_s` [S]: when the stall's car leaves; `inf` for none, the fleet's, and the event's."""

    def __init__(
        self,
        kerb: Places,
        occupancy: float,
        rng: np.random.Generator,
        dwell: DwellLaw | None = None,
        character: IntArray | None = None,
        mean_dwell_s: float = DWELL_MEAN_S,
    ) -> None:
        """`character` [S]: the district of each stall; all are mixed without it. `dwell`: another
        law, of `mean_dwell_s`, whatever the district."""
        self._kerb, self._dwell = kerb, dwell
        self._rng = rng
        n = kerb.stalls.n
        self._character: IntArray = np.full(n, MIXED) if character is None else character
        self._mean_s: FloatArray = (DWELL_WEIGHT @ _MEANS_S)[self._character]
        if dwell is not None:
            self._mean_s = np.full(n, mean_dwell_s)
        self._appeal: FloatArray = np.ones(n)
        """[S] how much sooner an ordinary car takes the stall than another one that is free."""
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
        self.dispatch: Callable[[int, int], int] = lambda cars, by: 0
        """Told of arrivals (how many, whose); answers how many of them drive there and look."""
        self.pull_out: Callable[[float, IntArray], IntArray] = lambda now_s, stalls: stalls
        """Told of stalls whose cars want to leave; answers which of them do so now."""
        share = self._set_rate(occupancy)
        stalls = self._stratified(np.flatnonzero(~kerb.truth.occupied), share)
        kerb.fill(stalls, np.full(stalls.size, BACKGROUND))
        self.depart_s[stalls] = self._residual_s(stalls)

    def _stratified(self, free: IntArray, share: FloatArray) -> IntArray:
        """Stalls to fill so that each district has its `share` [S], as far as `free` ones go."""
        chosen = []
        for district in np.unique(self._character).tolist():
            of = np.flatnonzero(self._character == district)
            here = free[self._character[free] == district]
            k = min(round(float(share[of[0]]) * of.size), here.size)
            chosen.append(self._rng.choice(here, k, replace=False))
        return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)

    def _set_rate(self, occupancy: float) -> FloatArray:
        """Share of the time that each stall will be taken, [S]; sets the rate that this needs."""
        self.occupancy = occupancy
        share = occupancies(occupancy, self._character)[self._character]
        rate = share / self._mean_s
        self.arrival_rate_per_s = float(rate.sum())
        # What is taken more often is also free less often.
        self._appeal = rate / np.maximum(1.0 - share, 1e-3) + 1e-12
        return share

    def shift_to(self, occupancy: float, start_s: float, duration_s: float) -> None:
        """Another mean occupancy. Dwell is hours long, so the change alone would take hours:
        the difference arrives, by a higher rate, or leaves over the first half of the phase."""
        change = round((occupancy - self.occupancy) * self._kerb.stalls.n)
        before = occupancies(self.occupancy, self._character)[self._character]
        after = self._set_rate(occupancy)
        if change > 0:
            self._filling = (change / (duration_s / 2), start_s, start_s + duration_s / 2)
        elif change < 0:
            cars = np.flatnonzero(self._kerb.truth.holder == BACKGROUND)
            odds = (before - after)[cars] / before[cars]
            leave = self._draw(cars, min(-change, cars.size), odds)
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
            leaving = self.pull_out(now_s, leaving)
            self._kerb.free(now_s, leaving)
            self.depart_s[leaving] = np.inf
        ordinary = self._arrive(self.arrival_rate_per_s * dt_s)
        rate, start_s, until_s = self._filling
        overlap_s = min(now_s, until_s) - max(now_s - dt_s, start_s)
        if overlap_s > 0.0:
            # They stand for those of the new equilibrium who came before the phase.
            stalls = self._pick(self._arrive(rate * overlap_s), self._appeal)
            self._park(now_s, stalls, BACKGROUND)
            self.depart_s[stalls] = now_s + self._residual_s(stalls)
        if ordinary:
            ordinary -= self._by_road(ordinary, BACKGROUND)
            stalls = self._pick(ordinary, self._appeal)
            self._park(now_s, stalls, BACKGROUND)
            self.stay(now_s, stalls)
        event = int(np.searchsorted(self._due_s, now_s, side="right"))
        if event:
            self._due_s = self._due_s[event:]
            event -= self._by_road(event, EVENT)
            self._park(now_s, self._pick(event, self._weight), EVENT)

    def stay(self, now_s: float, stalls: IntArray) -> None:
        """Ordinary cars have parked in `stalls`: draw how long they stay."""
        if self._dwell is not None:
            dwell_s = self._dwell(stalls.size, self._rng)
        else:
            dwell_s = draw_dwell_s(stalls.size, self._rng, self._character[stalls])
        self.depart_s[stalls] = now_s + dwell_s

    def _residual_s(self, stalls: IntArray) -> FloatArray:
        if self._dwell is None:
            return draw_residual_s(stalls.size, self._rng, self._character[stalls])
        # Who is met at a random time stays longer than most, and has stayed for a part of it.
        drawn = self._dwell(8 * max(stalls.size, 1), self._rng)
        met = self._rng.choice(drawn, stalls.size, p=drawn / drawn.sum())
        return np.asarray(met * self._rng.random(stalls.size))

    def _by_road(self, cars: int, by: int) -> int:
        on_the_way = self.dispatch(cars, by)
        self.arrivals += on_the_way
        return on_the_way

    def _arrive(self, expected: float) -> int:
        self.expected += expected
        return int(self._rng.poisson(expected))

    def _pick(self, k: int, weight: FloatArray) -> IntArray:
        """`k` free stalls, drawn by `weight` [S]; fewer when there are fewer."""
        if not k:
            return np.empty(0, dtype=np.int64)
        free = np.flatnonzero(~self._kerb.truth.occupied)
        self.arrivals += k
        self.turned_away += max(0, k - free.size)
        return self._draw(free, min(k, free.size), weight[free])

    def _draw(self, of: IntArray, k: int, weight: FloatArray) -> IntArray:
        """`k` of them without replacement, by `weight` (Efraimidis, Spirakis, 2006)."""
        if k >= of.size:
            return of
        if k == 1:
            below = np.cumsum(weight)
            return np.asarray(of[below.searchsorted(self._rng.random(1) * below[-1], side="right")])
        keys = self._rng.standard_exponential(of.size) / np.maximum(weight, 1e-300)
        return np.asarray(of[np.argpartition(keys, k)[:k]])

    def _park(self, now_s: float, stalls: IntArray, by: int) -> None:
        if stalls.size:
            self._kerb.take(now_s, stalls, np.full(stalls.size, by))
