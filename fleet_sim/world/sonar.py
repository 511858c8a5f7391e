"""What the side-looking sensor read during the last second of driving."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int16Array, IntArray
from fleet_sim.models.noise import Draws
from fleet_sim.models.ultrasonic import (
    NO_ECHO_CM,
    ULTRASONIC,
    UltrasonicPreset,
    measure_cm,
    noise_db,
)
from fleet_sim.models.ultrasonic_air import AIR, Air
from fleet_sim.world.beam import Echoes, echoes
from fleet_sim.world.fleet import CRUISING, Fleet
from fleet_sim.world.kerb import CAR_HALF_WIDTH_M, Kerb

SAMPLES = ULTRASONIC.rate_hz
MIN_MPS, MAX_MPS = 1.0, 55 / 3.6
"""The sensor works while driving, up to 55 km/h (Bosch, Mercedes)."""
DELAY_S = 0.05
"""What readings take through the vehicle's network; the sensor's cycle runs free, so that each
vehicle's last sample is up to a cycle older than that (assumption)."""
_KEEP_S, _EVERY_S = 1.1, 0.05
_END_M = 1e-6
"""A vehicle may stand at an edge's very end, where no cell is."""


class Path:
    """Odometers of the last second, so that samples are computed only when they are asked for."""

    def __init__(self, odo: FloatArray) -> None:
        rows = int(_KEEP_S / _EVERY_S) + 3
        self._t: FloatArray = np.full(rows, -np.inf)
        self._odo: FloatArray = np.tile(odo, (rows, 1))
        self._next = 0
        self.push(0.0, odo)

    def push(self, now_s: float, odo: FloatArray) -> None:
        """Remember a step's end; steps of less than 50 ms are thinned out."""
        if now_s - self._t[self._next - 1] < _EVERY_S * 0.99:
            return
        self._t[self._next] = now_s
        self._odo[self._next] = odo
        self._next = (self._next + 1) % self._t.size

    def back_m(
        self, idx: IntArray, ages_s: FloatArray, now_s: float, odo: FloatArray
    ) -> FloatArray:
        """How far behind its present place each vehicle was `ages_s` [a] ago, m, [a, k].

        Linear between remembered steps; NaN for times before the run began.
        """
        order = (self._next + np.arange(self._t.size)) % self._t.size
        order = order[np.isfinite(self._t[order])]
        t = np.append(self._t[order], now_s)
        here = odo[idx]
        behind = np.empty((t.size, idx.size))
        np.subtract(here, self._odo[order[:, None], idx], out=behind[:-1])
        behind[-1] = 0.0
        at = now_s - ages_s
        j = np.minimum(np.maximum(np.searchsorted(t, at, side="right"), 1), t.size - 1) - 1
        width = np.maximum(t[j + 1] - t[j], 1e-12)
        share = np.minimum(np.maximum((at - t[j]) / width, 0.0), 1.0)
        back: FloatArray = (behind[1:] - behind[:-1])[j]
        back *= share[:, None]
        back += behind[j]
        before = at < t[0] - 1e-9
        if before.any():
            back[before] = np.nan
        return back


def delay_s(idx: IntArray) -> FloatArray:
    """By how much the samples of vehicles `idx` [k] are older than their message says, s [k]."""
    return np.asarray(DELAY_S + _phase(idx) / ULTRASONIC.rate_hz)


def _phase(idx: IntArray) -> FloatArray:
    """Share of a sensor's cycle by which it is behind the message's, 0 to 1, for good."""
    # The golden ratio's multiples fill an interval evenly.
    return np.asarray(idx * 0.6180339887498949 % 1.0)


def sense(
    fleet: Fleet,
    kerb: Kerb,
    path: Path,
    idx: IntArray,
    now_s: float,
    draws: Draws,
    air: Air = AIR,
    preset: UltrasonicPreset = ULTRASONIC,
) -> tuple[Int16Array, BoolArray]:
    """Readings of the last second, cm int16 [k, 20], oldest first, and whether the sensor is on,
    bool [k]. All zero where it is off. `draws`: of the vehicles `idx` [k].

    The last one was taken `delay_s` ago. Correct across a crossing and when a stall changed hands
    within the second (the last change; an earlier one of the same stall in the same second is not
    seen).
    """
    readings = np.full((idx.size, SAMPLES), NO_ECHO_CM, dtype=np.int16)
    v = fleet.v[idx]
    on = (fleet.mode[idx] <= CRUISING) & (v >= MIN_MPS) & (v <= MAX_MPS)
    rows = np.flatnonzero(on)
    if rows.size:
        who = idx[rows]
        # One more moment than samples: a free-running cycle lies between two of them.
        ages = DELAY_S + np.arange(SAMPLES, -1, -1) / ULTRASONIC.rate_hz
        phase = _phase(who)
        grid = path.back_m(who, ages, now_s, fleet.odo)
        back = grid[:-1] - grid[1:]
        back *= phase
        back += grid[1:]
        at_s = (now_s - ages[1:])[:, None] - phase * (1.0 / ULTRASONIC.rate_hz)
        # By vehicle from here on: what stands along one kerb is close together in memory.
        met = _met_on_the_way(fleet, kerb, who, back.T.ravel(), at_s.T.ravel(), preset)
        readings[rows] = measure_cm(
            met.range_m.reshape(rows.size, SAMPLES),
            draws.take(rows),
            preset,
            incidence_deg=met.incidence_deg,
            target_db=met.target_db,
            air=air,
            answers=met.answers,
        )
    return readings, on


def _met_on_the_way(
    fleet: Fleet,
    kerb: Kerb,
    who: IntArray,
    back: FloatArray,
    at_s: FloatArray,
    preset: UltrasonicPreset,
) -> Echoes:
    """What was met `back` m ago, at `at_s`; both, and what it answers, [k * samples]."""
    length = fleet.city.roads.length
    samples = back.size // who.size
    edge = fleet.edge[who]
    s = np.minimum(fleet.x[who], length[edge] - _END_M).repeat(samples)
    s -= back
    edge = edge.repeat(samples)
    crossed = np.flatnonzero(s < 0.0)
    edge[crossed] = before = fleet.prev_edge[who[crossed // samples]]
    s[crossed] = np.minimum(s[crossed] + length[before], length[before] - _END_M)
    # NaN, from before the run, is no place either.
    known = s >= 0.0
    known[crossed[before < 0]] = False
    since_s = fleet.on_road_since_s[who]
    if since_s.max() > at_s[0] - 2.0:  # no sample is that old
        known &= at_s >= since_s.repeat(samples)
    sensor = (fleet.right_m(who) + CAR_HALF_WIDTH_M).repeat(samples)
    noise = noise_db(fleet.v[who]).repeat(samples)
    if known.all():
        return echoes(kerb, edge, s, sensor, at_s, noise, preset)
    at = np.flatnonzero(known)
    part = echoes(kerb, edge[at], s[at], sensor[at], at_s[at], noise[at], preset)
    whole = Echoes(np.full(known.size, np.inf), *(np.zeros(known.size) for _ in range(3)))
    for to, found in zip(whole, part, strict=True):
        to[at] = found
    return whole
