"""The radio link of vehicles: up or down, round trip time and throughput.

Three layers on top of one another:

1. Handovers, by distance driven. The gap is a delay, never a loss: packets wait it out.
2. Some handovers fail: a radio-link failure takes the link down for 1-3 s.
3. Places (`radio_coverage`) where the link goes down now and then by an alternating Weibull
   renewal (`radio_outages`). An outage shorter than the preset's `delay_below_s` is a delay too.

The renewal runs on a clock of the vehicle that a place drives: each interval is drawn with mean 1
and used up at the rate 1/mean of where the vehicle is. A vehicle that stands has exactly the
renewal of its place; one that drives on takes its outage along, to end as outages do there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.radio_outages import weibull, weibull_residual

_PLACES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A class of places."""

    area_share: float
    """Share of the area that is like this."""
    outage_share: float
    """Share of time that a vehicle standing here is without link, 0 to below 1."""
    outage_mean_s: float
    """Mean outage of such a vehicle. Where none begin: of those that were brought along."""
    rtt_factor: float = 1.0
    """Multiplies the preset's round trip time, ..."""
    throughput_factor: float = 1.0
    """... and its throughputs."""


@dataclass(frozen=True, slots=True)
class RadioPreset:
    """A mobile network as one vehicle sees it. Impossible figures raise `ValueError`."""

    name: str
    rtt_median_s: float
    rtt_log_sigma: float
    """Standard deviation of ln(RTT)."""
    uplink_kbps: float
    """Median of what one vehicle gets, ..."""
    downlink_kbps: float
    """... in both directions."""
    throughput_log_sigma: float
    handover_m: float
    """Mean way between handovers (exponential); `inf`: there are none."""
    handover_gap_s: float
    """Median of the lognormal gap."""
    handover_gap_log_sigma: float
    handover_failure: float
    """Share of handovers that end in a radio-link failure."""
    failure_s: tuple[float, float]
    """A radio-link failure lasts as long, uniform."""
    correlation_m: float
    """Correlation length of the coverage."""
    places: tuple[Place, Place, Place]
    """Good, weak, hole."""
    outage_shape: float
    """Weibull k of outages and of the times between them; 1 is Gilbert-Elliott."""
    delay_below_s: float
    """A shorter outage only delays."""
    source: str

    def __post_init__(self) -> None:
        positive = (
            "rtt_median_s", "uplink_kbps", "downlink_kbps", "handover_m", "handover_gap_s",
            "correlation_m", "outage_shape",
        )  # fmt: skip
        for name in positive:
            self._hold(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        spreads = (
            "rtt_log_sigma", "throughput_log_sigma", "handover_gap_log_sigma", "delay_below_s",
        )  # fmt: skip
        for name in spreads:
            self._hold(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        share = self.handover_failure
        self._hold("handover_failure", share, 0 <= share <= 1, "0..1")
        low, high = self.failure_s
        self._hold("failure_s", self.failure_s, 0 <= low <= high, "0 <= least <= most")
        for i, place in enumerate(self.places):
            field = f"places[{i}]."
            down, mean = place.outage_share, place.outage_mean_s
            self._hold(field + "area_share", place.area_share, 0 <= place.area_share <= 1, "0..1")
            self._hold(field + "outage_share", down, 0 <= down < 1, "0 to below 1")
            self._hold(field + "outage_mean_s", mean, mean > 0, "above 0")
            factors = (place.rtt_factor, place.throughput_factor)
            self._hold(field + "*_factor", factors, min(factors) > 0, "above 0")
        total = sum(place.area_share for place in self.places)
        self._hold("places[*].area_share", total, abs(total - 1) < 1e-9, "1 in sum")

    def _hold(self, field: str, value: object, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"radio preset {self.name}: {field}: {value} (allowed: {allowed})")


class Throughput(NamedTuple):
    """What the link carries, bit/s, [k] each; 0 while it is down or in a gap."""

    uplink_bps: FloatArray
    downlink_bps: FloatArray


class RadioLinks:
    """The links of n vehicles. `up`: bool [n], in equilibrium from the start.

    `kind` [n] indexes `presets`. `place` [n] (`GOOD`, `WEAK`, `HOLE`) and `odo_m` [n] are where the
    vehicles are and how far they have driven. `rng` draws what happens, `sense_rng` what
    `rtt_s` and `throughput_bps` answer: asking changes nothing.
    """

    def __init__(
        self,
        presets: Sequence[RadioPreset],
        kind: IntArray,
        place: Int8Array,
        odo_m: FloatArray,
        rng: np.random.Generator,
        sense_rng: np.random.Generator,
    ) -> None:
        self._presets, self._kind = presets, kind
        self._rng, self._sense_rng = rng, sense_rng
        self._share = np.array([[p.outage_share for p in k.places] for k in presets]).ravel()
        means = np.array([[p.outage_mean_s for p in k.places] for k in presets]).ravel()
        # [2 * (3 kind + place) + down]: how fast the present interval is used up, 1/s.
        self._rate = np.stack((self._share / (1.0 - self._share), np.ones_like(means)), axis=1)
        self._rate = (self._rate / means[:, None]).ravel()
        self._rtt_factor = np.array([[p.rtt_factor for p in k.places] for k in presets]).ravel()
        self._flow = np.array([[p.throughput_factor for p in k.places] for k in presets]).ravel()
        self._shape = np.array([k.outage_shape for k in presets])[kind]
        self._delay_below_s = np.array([k.delay_below_s for k in presets])[kind]
        self._first = 2 * _PLACES * kind
        self._handover_m = np.array([k.handover_m for k in presets])
        self._gap_log_s = np.log([k.handover_gap_s for k in presets])
        self._gap_sigma = np.array([k.handover_gap_log_sigma for k in presets])
        self._p_fail = np.array([k.handover_failure for k in presets])
        self._failure_s = np.array([k.failure_s for k in presets])
        self._rtt_log_s = np.log([k.rtt_median_s for k in presets])
        self._rtt_sigma = np.array([k.rtt_log_sigma for k in presets])
        self._median_bps = 1e3 * np.array([[k.uplink_kbps, k.downlink_kbps] for k in presets])
        self._flow_sigma = np.array([k.throughput_log_sigma for k in presets])

        n = kind.size
        self.now_s = 0.0
        self._row = self._first + 2 * place
        self._down: IntArray = (rng.random(n) < self._share[self._row // 2]).astype(np.int64)
        self._left = weibull_residual(self._shape, rng)
        """What is left of the present interval, 1 = a mean one."""
        self._gap_until_s: FloatArray = np.full(n, -np.inf)
        self._failed_until_s: FloatArray = np.full(n, -np.inf)
        self._odo_m = odo_m.copy()
        self._handover_at_m = odo_m + self._handover_m[kind] * rng.standard_exponential(n)
        self.handovers = 0
        self.failures = 0
        """Handovers that ended in a radio-link failure."""
        self.up: BoolArray = self._down == 0

    def step(self, dt_s: float, place: Int8Array, odo_m: FloatArray) -> None:
        """Advance by `dt_s`, at whose end vehicles are at `place` [n] and `odo_m` [n]."""
        self.now_s += dt_s
        self._row = self._first + 2 * place
        self._left -= self._rate[self._row + self._down] * dt_s
        over = np.flatnonzero(self._left <= 0.0)
        if over.size:
            self._turn(over)
        due = np.flatnonzero(odo_m >= self._handover_at_m)
        while due.size:
            self._hand_over(due, odo_m, dt_s)
            due = due[odo_m[due] >= self._handover_at_m[due]]
        np.copyto(self._odo_m, odo_m)
        self.up = (self._down == 0) & (self._failed_until_s <= self.now_s)

    def _turn(self, idx: IntArray) -> None:
        """Intervals of `idx` ended within the step: those that follow begin then, not now."""
        late_s = -self._left[idx] / self._rate[self._row[idx] + self._down[idx]]
        while idx.size:
            shape, row = self._shape[idx], self._row[idx]
            down = 1 - self._down[idx]
            rate = self._rate[row + down]
            drawn = weibull(shape, self._rng)
            brief = np.flatnonzero((down == 1) & (drawn < self._delay_below_s[idx] * rate))
            if brief.size:
                # Delayed and over: the link counts as up, and its next time up begins at the end.
                lasts_s = drawn[brief] / rate[brief]
                self._hold_up(idx[brief], self.now_s - late_s[brief] + lasts_s)
                late_s[brief] -= lasts_s
                down[brief] = 0
                rate[brief] = self._rate[row[brief]]
                drawn[brief] = weibull(shape[brief], self._rng)
            self._down[idx] = down
            left = drawn - late_s * rate
            self._left[idx] = left
            again = left <= 0.0
            idx, late_s = idx[again], -left[again] / rate[again]

    def _hand_over(self, idx: IntArray, odo_m: FloatArray, dt_s: float) -> None:
        """The next handover of each of `idx`, at the moment it drove by."""
        kind, rng = self._kind[idx], self._rng
        at_m = self._handover_at_m[idx]
        past = (odo_m[idx] - at_m) / (odo_m[idx] - self._odo_m[idx])
        begin_s = self.now_s - dt_s * past
        noise = rng.standard_normal(idx.size)
        gap_s = np.exp(self._gap_log_s[kind] + self._gap_sigma[kind] * noise)
        fails = rng.random(idx.size) < self._p_fail[kind]
        low, high = self._failure_s[kind[fails]].T
        end_s = begin_s[fails] + low + (high - low) * rng.random(low.size)
        lost = idx[fails]
        self._failed_until_s[lost] = np.maximum(self._failed_until_s[lost], end_s)
        self._hold_up(idx[~fails], (begin_s + gap_s)[~fails])
        self._handover_at_m[idx] = at_m + self._handover_m[kind] * rng.standard_exponential(
            idx.size
        )
        self.handovers += idx.size
        self.failures += lost.size

    def _hold_up(self, idx: IntArray, until_s: FloatArray) -> None:
        self._gap_until_s[idx] = np.maximum(self._gap_until_s[idx], until_s)

    def delay_s(self, idx: IntArray) -> FloatArray:
        """How long the gap lasts that each vehicle of `idx` is in now, s; 0 for none."""
        return np.maximum(self._gap_until_s[idx] - self.now_s, 0.0)

    def rtt_s(self, idx: IntArray) -> FloatArray:
        """A fresh round trip time for each vehicle of `idx`, s; `inf` while its link is down.

        A gap's rest comes on top: who sends now waits for its end.
        """
        kind = self._kind[idx]
        noise = self._sense_rng.standard_normal(idx.size)
        rtt = np.exp(self._rtt_log_s[kind] + self._rtt_sigma[kind] * noise)
        rtt = rtt * self._rtt_factor[self._row[idx] // 2] + self.delay_s(idx)
        return np.where(self.up[idx], rtt, np.inf)

    def throughput_bps(self, idx: IntArray) -> Throughput:
        """A fresh throughput for each vehicle of `idx`, both ways from one draw."""
        kind = self._kind[idx]
        noise = self._sense_rng.standard_normal(idx.size)
        factor = np.exp(self._flow_sigma[kind] * noise) * self._flow[self._row[idx] // 2]
        flows = self.up[idx] & (self._gap_until_s[idx] <= self.now_s)
        bps = np.where(flows, factor, 0.0)[:, None] * self._median_bps[kind]
        return Throughput(bps[:, 0], bps[:, 1])
