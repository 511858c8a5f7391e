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
        """How far behind its present place each vehicle was `ages_s` [a] ago, m, [k, a].

        Linear between remembered steps; NaN for times before the run began.
        """
        order = (self._next + np.arange(self._t.size)) % self._t.size
        order = order[np.isfinite(self._t[order])]
        t = np.append(self._t[order], now_s)
        rows = np.concatenate((self._odo[np.ix_(order, idx)], odo[None, idx]))
        at = now_s - ages_s
        j = np.clip(np.searchsorted(t, at, side="right"), 1, t.size - 1)
        width = np.maximum(t[j] - t[j - 1], 1e-12)
        share = np.clip((at - t[j - 1]) / width, 0.0, 1.0)
        then = rows[j - 1] + share[:, None] * (rows[j] - rows[j - 1])
        back = odo[None, idx] - then
        back[at < t[0] - 1e-9] = np.nan
        return np.asarray(back.T)


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
        phase = _phase(who)[:, None]
        grid = path.back_m(who, ages, now_s, fleet.odo)
        back = grid[:, 1:] + phase * (grid[:, :-1] - grid[:, 1:])
        at_s = now_s - ages[1:] - phase / ULTRASONIC.rate_hz
        met = _met_on_the_way(fleet, kerb, who, back, at_s, preset)
        readings[rows] = measure_cm(
            met.range_m,
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
    """What was met `back` [k, samples] m ago, at `at_s` [k, samples]; [k, samples]."""
    roads = fleet.city.roads
    s = fleet.x[who, None] - back
    before = s < 0
    edge = np.where(before, fleet.prev_edge[who, None], fleet.edge[who, None])
    s = np.where(before, s + roads.length[edge], s)
    known = (edge >= 0) & (s >= 0) & (at_s >= fleet.on_road_since_s[who, None])
    edge, s = edge[known], np.minimum(s[known], roads.length[edge[known]] - 1e-6)
    sensor = np.broadcast_to((fleet.right_m(who) + CAR_HALF_WIDTH_M)[:, None], known.shape)[known]
    noise = np.broadcast_to(noise_db(fleet.v[who])[:, None], known.shape)[known]
    found = echoes(kerb, edge, s, sensor, at_s[known], noise, preset)
    none = np.full(known.shape, np.inf)
    on_the_way = Echoes(none, *(np.zeros(known.shape) for _ in range(3)))
    for whole, part in zip(on_the_way, found, strict=True):
        whole[known] = part
    return on_the_way
