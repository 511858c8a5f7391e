"""What the side-looking sensor met during the last second of driving."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int16Array, IntArray
from fleet_sim.models.ultrasonic import NO_ECHO_CM, ULTRASONIC, footprint_half_m, measure_cm
from fleet_sim.world.fleet import CRUISING, Fleet
from fleet_sim.world.kerb import CAR_HALF_WIDTH_M, Kerb

SAMPLES = ULTRASONIC.rate_hz
MIN_MPS, MAX_MPS = 1.0, 55 / 3.6
"""The sensor works while driving, up to 55 km/h (Bosch, Mercedes)."""
_KEEP_S, _EVERY_S = 1.0, 0.05


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


def sense(
    fleet: Fleet,
    kerb: Kerb,
    path: Path,
    idx: IntArray,
    now_s: float,
    rng: np.random.Generator,
) -> tuple[Int16Array, BoolArray]:
    """Readings of the last second, cm int16 [k, 20], oldest first, the last one now; and whether
    the sensor is on, bool [k]. All zero where it is off.

    Correct across a crossing and when a stall changed hands within the second (the last change;
    an earlier one of the same stall in the same second is not seen).
    """
    readings = np.full((idx.size, SAMPLES), NO_ECHO_CM, dtype=np.int16)
    v = fleet.v[idx]
    on = (fleet.mode[idx] <= CRUISING) & (v >= MIN_MPS) & (v <= MAX_MPS)
    rows = np.flatnonzero(on)
    if rows.size:
        who = idx[rows]
        ages = np.arange(SAMPLES - 1, -1, -1) / ULTRASONIC.rate_hz
        back = path.back_m(who, ages, now_s, fleet.odo)
        true = _ranges_m(fleet, kerb, who, back, now_s - ages)
        readings[rows] = measure_cm(true, rng)
    return readings, on


def _ranges_m(
    fleet: Fleet, kerb: Kerb, who: IntArray, back: FloatArray, at_s: FloatArray
) -> FloatArray:
    """Distance to the first surface in the beam, m, `inf` for none, [k, samples]."""
    stalls, roads = kerb.stalls, fleet.city.roads
    s = fleet.x[who, None] - back
    before = s < 0
    edge = np.where(before, fleet.prev_edge[who, None], fleet.edge[who, None])
    s = np.where(before, s + roads.length[edge], s)
    known = (edge >= 0) & (s >= 0) & (at_s >= fleet.on_road_since_s[who, None])
    edge, s = edge[known], s[known]
    when = np.broadcast_to(at_s, known.shape)[known]
    sensor = np.broadcast_to((fleet.lane_bias[who] + CAR_HALF_WIDTH_M)[:, None], known.shape)[known]

    cell = stalls.cell(edge, np.minimum(s, roads.length[edge] - 1e-6))
    nearest = stalls.cell_stall[cell].astype(np.int64)
    found = stalls.cell_background_m[cell] - sensor
    if stalls.n:
        # A car may reach into the beam from the stall on either side of the nearest one's middle.
        beside = nearest + np.where(s > stalls.offset[nearest], 1, -1)
        for stall in (nearest, beside):
            inside = np.clip(stall, 0, stalls.n - 1)
            same = (stall >= 0) & (stall < stalls.n) & (nearest >= 0)
            same &= stalls.edge[inside] == edge
            found = np.where(same, np.minimum(found, _car_m(kerb, inside, s, sensor, when)), found)
    ranges = np.full(known.shape, np.inf)
    ranges[known] = found
    return ranges


def _car_m(
    kerb: Kerb, stall: IntArray, s: FloatArray, sensor: FloatArray, when: FloatArray
) -> FloatArray:
    """Distance to the car that stood in `stall` at `when`, `inf` without one in the beam."""
    earlier = when < kerb.changed_s[stall]
    row = earlier.astype(np.int64)
    occupied = np.where(earlier, kerb.was_occupied[stall], kerb.truth.occupied[stall])
    side = kerb.side[row, stall] - sensor
    beyond = np.maximum(np.abs(s - kerb.centre[row, stall]) - kerb.half[row, stall], 0.0)
    hit = occupied & (beyond <= footprint_half_m(side))
    return np.where(hit, np.hypot(side, beyond), np.inf)
