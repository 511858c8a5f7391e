"""What a beam to the right meets first along the kerb, and what that sends back."""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.ultrasonic import ULTRASONIC, UltrasonicPreset, footprint_half_m
from fleet_sim.models.ultrasonic_surface import (
    FLANK_RADIUS_M,
    body_strength_db,
    patch_draws,
    patch_of,
    spread_loss_db,
)
from fleet_sim.world.kerb import BACKGROUND_DB, CAR_DB, Kerb

CORNER_RADIUS_M = 0.3
"""A car's corners in plan are round (assumption). The nearest point of a round corner faces the
sensor, so it is heard, but spreads the pulse: its echo loses `10 log10(1 + R/a)` (the divergence
of a pulse reflected by a cylinder of radius a)."""


class Met(NamedTuple):
    """The first surface in the beam, [k]."""

    range_m: FloatArray
    """`inf` for none."""
    incidence_deg: FloatArray
    target_db: FloatArray
    patch: IntArray
    """Which place of which body it is: see `patch_draws`."""


class Echoes(NamedTuple):
    """What surfaces send back, as `measure_cm` takes it."""

    range_m: FloatArray
    incidence_deg: FloatArray
    target_db: FloatArray
    answers: FloatArray


def echoes(
    kerb: Kerb,
    edge: IntArray,
    s: FloatArray,
    sensor: FloatArray,
    when: FloatArray,
    noise: FloatArray | float,
    preset: UltrasonicPreset = ULTRASONIC,
) -> Echoes:
    """What comes back from the first surface in the beam, [k]. Places as for `meet`; `noise` as of
    `noise_db` is taken off the echoes' strength."""
    met = meet(kerb, edge, s, sensor, when, preset)
    answers, strength_db = patch_draws(met.patch, sensor)
    strength_db += met.target_db
    strength_db -= noise
    return Echoes(met.range_m, met.incidence_deg, strength_db, answers)


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
        stalls.cell_background_m[cell] - sensor,
        np.zeros(s.size),
        np.full(s.size, BACKGROUND_DB),
        cell.copy(),
    )
    nearest = stalls.cell_stall[cell]
    at = np.flatnonzero(nearest >= 0)
    if at.size:
        stall = nearest[at].astype(np.int64)
        _nearer_car(met, at, stall, kerb, s, sensor, when, preset)
        # A car stays within its stall, but may be met from before or beyond it.
        away = s[at] - stalls.offset[stall]
        reach = float(footprint_half_m(np.array(preset.max_m), preset))
        edgy = np.flatnonzero(np.abs(away) > stalls.length[stall] / 2 - reach)
        at, stall = at[edgy], stall[edgy] + np.where(away[edgy] > 0, 1, -1)
        same = (stall >= 0) & (stall < stalls.n)
        same &= stalls.edge[np.clip(stall, 0, stalls.n - 1)] == edge[at]
        _nearer_car(met, at[same], stall[same], kerb, s, sensor, when, preset)
    thing = things.cell[cell]
    at = np.flatnonzero(thing >= 0)
    at = at[things.standing[thing[at]]]
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
            which.astype(np.int64) << 32,
            preset,
        )
    return met


def _nearer_car(
    met: Met,
    at: IntArray,
    stall: IntArray,
    kerb: Kerb,
    s: FloatArray,
    sensor: FloatArray,
    when: FloatArray,
    preset: UltrasonicPreset,
) -> None:
    """Put the cars that stood in `stall` at the time into `met[at]`, as `_nearer` does."""
    earlier = when[at] < kerb.changed_s[stall]
    there = np.where(earlier, kerb.was_occupied[stall], kerb.truth.occupied[stall])
    at, row, stall = at[there], earlier[there].astype(np.int64), stall[there]
    yaw_deg = kerb.yaw_deg[row, stall]
    _nearer(
        met,
        at,
        s[at] - kerb.centre[row, stall],
        kerb.half[row, stall],
        kerb.side[row, stall] - sensor[at],
        yaw_deg,
        CAR_DB,
        # How askew a car stands is drawn anew whenever one parks: it names the car.
        yaw_deg.view(np.int64),
        preset,
    )


def _nearer(
    met: Met,
    at: IntArray,
    along: FloatArray,
    half: FloatArray,
    side: FloatArray,
    yaw_deg: FloatArray,
    target_db: FloatArray | float,
    body: IntArray,
    preset: UltrasonicPreset,
) -> None:
    """Put the boxes into `met[at]` where they are in the beam and nearer than what is there.

    `along`: of the sensor from the box's middle; `body`: names the box for good; the rest as in
    `Kerb`, `side` from the sensor.
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
    # The nearest place answers: the flank beside the sensor, or a corner.
    loss_db = spread_loss_db(distance, FLANK_RADIUS_M)
    corner = np.flatnonzero(beyond > 0.0)
    loss_db[corner] = spread_loss_db(distance[corner], CORNER_RADIUS_M)
    if isinstance(target_db, np.ndarray):
        target_db = target_db[hit]
    body = body[hit]
    met.target_db[at] = target_db - loss_db + body_strength_db(body)
    met.patch[at] = patch_of(body, np.clip(along[hit], -half[hit], half[hit] - 1e-9))
