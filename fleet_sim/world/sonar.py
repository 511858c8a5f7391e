"""What the side-looking sensor met during the last second of driving."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int16Array, IntArray
from fleet_sim.models.noise import Draws
from fleet_sim.models.ultrasonic import (
    NO_ECHO_CM,
    ULTRASONIC,
    UltrasonicPreset,
    footprint_half_m,
    measure_cm,
)
from fleet_sim.models.ultrasonic_air import AIR, Air
from fleet_sim.world.fleet import CRUISING, Fleet
from fleet_sim.world.kerb import BACKGROUND_DB, CAR_DB, CAR_HALF_WIDTH_M, Kerb

SAMPLES = ULTRASONIC.rate_hz
MIN_MPS, MAX_MPS = 1.0, 55 / 3.6
"""The sensor works while driving, up to 55 km/h (Bosch, Mercedes)."""
_KEEP_S, _EVERY_S = 1.0, 0.05
CORNER_RADIUS_M = 0.3
"""A car's corners in plan are round (assumption). The nearest point of a round corner faces the
sensor, so it is heard, but spreads the pulse: its echo loses `10 log10(1 + R/a)` (the divergence
of a pulse reflected by a cylinder of radius a)."""


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


class Met(NamedTuple):
    """The first surface in the beam, [k]."""

    range_m: FloatArray
    """`inf` for none."""
    incidence_deg: FloatArray
    target_db: FloatArray


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
    """Readings of the last second, cm int16 [k, 20], oldest first, the last one now; and whether
    the sensor is on, bool [k]. All zero where it is off. `draws`: of the vehicles `idx` [k].

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
        met = _met_on_the_way(fleet, kerb, who, back, now_s - ages, preset)
        readings[rows] = measure_cm(
            met.range_m,
            draws.take(rows),
            preset,
            incidence_deg=met.incidence_deg,
            target_db=met.target_db,
            air=air,
        )
    return readings, on


def _met_on_the_way(
    fleet: Fleet,
    kerb: Kerb,
    who: IntArray,
    back: FloatArray,
    at_s: FloatArray,
    preset: UltrasonicPreset,
) -> Met:
    """What was met `back` [k, samples] m ago, at `at_s` [samples]; [k, samples]."""
    roads = fleet.city.roads
    s = fleet.x[who, None] - back
    before = s < 0
    edge = np.where(before, fleet.prev_edge[who, None], fleet.edge[who, None])
    s = np.where(before, s + roads.length[edge], s)
    known = (edge >= 0) & (s >= 0) & (at_s >= fleet.on_road_since_s[who, None])
    edge, s = edge[known], np.minimum(s[known], roads.length[edge[known]] - 1e-6)
    when = np.broadcast_to(at_s, known.shape)[known]
    sensor = np.broadcast_to((fleet.right_m(who) + CAR_HALF_WIDTH_M)[:, None], known.shape)[known]
    found = meet(kerb, edge, s, sensor, when, preset)
    met = Met(np.full(known.shape, np.inf), np.zeros(known.shape), np.zeros(known.shape))
    for whole, part in zip(met, found, strict=True):
        whole[known] = part
    return met


def meet(
    kerb: Kerb,
    edge: IntArray,
    s: FloatArray,
    sensor: FloatArray,
    when: FloatArray,
    preset: UltrasonicPreset = ULTRASONIC,
) -> Met:
    """What a beam to the right meets first, all [k].

    `s`: of the sensor along `edge`, m, 0 to below its length; `sensor`: how far right of the
    lane's centre it is, m; `when`: s, now or within the second before.
    """
    stalls, things = kerb.stalls, kerb.things
    cell = stalls.cell(edge, s)
    met = Met(
        stalls.cell_background_m[cell] - sensor, np.zeros(s.size), np.full(s.size, BACKGROUND_DB)
    )
    nearest = stalls.cell_stall[cell].astype(np.int64)
    if stalls.n:
        # A car may reach into the beam from the stall on either side of the nearest one's middle.
        beside = nearest + np.where(s > stalls.offset[nearest], 1, -1)
        for stall in (nearest, beside):
            inside = np.clip(stall, 0, stalls.n - 1)
            same = (stall >= 0) & (stall < stalls.n) & (nearest >= 0)
            same &= stalls.edge[inside] == edge
            earlier = when < kerb.changed_s[inside]
            same &= np.where(earlier, kerb.was_occupied[inside], kerb.truth.occupied[inside])
            at = np.flatnonzero(same)
            row, inside = earlier[at].astype(np.int64), inside[at]
            along = s[at] - kerb.centre[row, inside]
            _nearer(
                met,
                at,
                along,
                kerb.half[row, inside],
                kerb.side[row, inside] - sensor[at],
                kerb.yaw_deg[row, inside],
                CAR_DB,
                preset,
            )
    thing = things.cell[cell]
    at = np.flatnonzero(thing >= 0)
    if at.size:
        which = thing[at]
        _nearer(
            met,
            at,
            s[at] - things.centre[which],
            things.half[which],
            things.side[which] - sensor[at],
            things.yaw_deg[which],
            things.target_db[which],
            preset,
        )
    return met


def _nearer(
    met: Met,
    at: IntArray,
    along: FloatArray,
    half: FloatArray,
    side: FloatArray,
    yaw_deg: FloatArray,
    target_db: FloatArray | float,
    preset: UltrasonicPreset,
) -> None:
    """Put the boxes into `met[at]` where they are in the beam and nearer than what is there.

    `along`: of the sensor from the box's middle; the rest as in `Kerb`, `side` from the sensor.
    """
    beyond = np.maximum(np.abs(along) - half, 0.0)
    # A box that stands askew is nearer at one end.
    side = np.maximum(side + np.clip(along, -half, half) * np.tan(np.radians(yaw_deg)), 0.05)
    distance = np.hypot(side, beyond)
    hit = (beyond <= footprint_half_m(side, preset)) & (distance < met.range_m[at])
    at = at[hit]
    distance, beyond = distance[hit], beyond[hit]
    met.range_m[at] = distance
    met.incidence_deg[at] = np.abs(yaw_deg[hit]) + np.degrees(np.arcsin(beyond / distance))
    round_db = np.where(beyond > 0.0, 10.0 * np.log10(1.0 + distance / CORNER_RADIUS_M), 0.0)
    if isinstance(target_db, np.ndarray):
        target_db = target_db[hit]
    met.target_db[at] = target_db - round_db
