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
    """The first surface in the beam, of the h places from which there is one in reach."""

    at: IntArray
    """[h] which of the places; the rest by `at`, [h]."""
    range_m: FloatArray
    incidence_deg: FloatArray
    target_db: FloatArray
    patch: IntArray
    """Which place of which body it is: see `patch_draws`."""


class _Boxes(NamedTuple):
    """What may be in a beam, [c]: its nearer side from the sensor, and the sensor along it."""

    at: IntArray
    along: FloatArray
    half: FloatArray
    side: FloatArray
    yaw_deg: FloatArray
    target_db: FloatArray
    body: IntArray
    """Names the box for good."""


class Echoes(NamedTuple):
    """What surfaces send back, as `measure_cm` takes it, [k]."""

    range_m: FloatArray
    """`inf` where nothing is in reach."""
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
    answers, strength_db = patch_draws(met.patch, sensor[met.at])
    strength_db += met.target_db
    strength_db -= np.broadcast_to(noise, s.shape)[met.at]
    range_m = np.full(s.size, np.inf)
    range_m[met.at] = met.range_m
    rest = [np.zeros(s.size) for _ in range(3)]
    for whole, part in zip(rest, (met.incidence_deg, strength_db, answers), strict=True):
        whole[met.at] = part
    return Echoes(range_m, *rest)


def meet(
    kerb: Kerb,
    edge: IntArray,
    s: FloatArray,
    sensor: FloatArray,
    when: FloatArray,
    preset: UltrasonicPreset = ULTRASONIC,
) -> Met:
    """What a beam to the right meets first; arguments [k].

    `s`: of the sensor along `edge`, m, 0 to below its length; `sensor`: how far right of the
    lane's centre it is, m; `when`: s, now or within the second before.
    """
    cell = kerb.stalls.cell(edge, s)
    background_m = kerb.stalls.cell_background_m[cell] - sensor
    boxes = _cars(kerb, cell, edge, s, sensor, when, preset)
    things = _things(kerb, cell, s, sensor)
    if things.at.size:
        boxes = _Boxes(*(np.concatenate(pair) for pair in zip(boxes, things, strict=True)))
    beyond = np.maximum(np.abs(boxes.along) - boxes.half, 0.0)
    along = np.minimum(np.maximum(boxes.along, -boxes.half), boxes.half)
    # A box that stands askew is nearer at one end.
    side = np.maximum(boxes.side + along * np.tan(np.radians(boxes.yaw_deg)), 0.05)
    distance = np.sqrt(side * side + beyond * beyond)
    distance[np.flatnonzero(beyond > footprint_half_m(side, preset))] = np.inf
    first_m = background_m.copy()
    np.minimum.at(first_m, boxes.at, distance)
    box = np.flatnonzero((distance == first_m[boxes.at]) & (distance <= preset.max_m))
    behind = np.flatnonzero((background_m == first_m) & (background_m <= preset.max_m))
    front = _nearest_places(boxes, box, distance, beyond, along)
    return Met(
        np.append(front.at, behind),
        np.append(front.range_m, background_m[behind]),
        np.append(front.incidence_deg, np.zeros(behind.size)),
        np.append(front.target_db, np.full(behind.size, BACKGROUND_DB)),
        np.append(front.patch, cell[behind]),
    )


def _cars(
    kerb: Kerb,
    cell: IntArray,
    edge: IntArray,
    s: FloatArray,
    sensor: FloatArray,
    when: FloatArray,
    preset: UltrasonicPreset,
) -> _Boxes:
    """The cars that stood in the stalls around at the time, unless they are out of reach."""
    stalls = kerb.stalls
    reach_m = float(footprint_half_m(np.array(preset.max_m), preset))
    stall = stalls.cell_stall[cell].astype(np.int64)
    at = np.flatnonzero(stall >= 0)
    stall = stall[at]
    # A car stays within its stall, but may be met from before or beyond it.
    away = s[at] - stalls.offset[stall]
    edgy = np.flatnonzero(np.abs(away) > stalls.length[stall] * 0.5 - reach_m)
    beside = stall[edgy] + 2 * (away[edgy] > 0.0) - 1
    also = np.minimum(np.maximum(beside, 0), max(stalls.n - 1, 0))
    same = np.flatnonzero((also == beside) & (stalls.edge[also] == edge[at[edgy]]))
    at, stall = np.append(at, at[edgy[same]]), np.append(stall, also[same])
    taken = kerb.truth.occupied[stall]
    earlier = np.flatnonzero(when[at] < kerb.changed_s[stall])
    taken[earlier] = kerb.was_occupied[stall[earlier]]
    stall[earlier] += stalls.n  # the second row of `Kerb`
    there = np.flatnonzero(taken)
    at, state = at[there], stall[there]
    along, half = s[at] - kerb.centre.ravel()[state], kerb.half.ravel()[state]
    near = np.flatnonzero(np.abs(along) <= half + reach_m)
    at, state = at[near], state[near]
    yaw_deg = kerb.yaw_deg.ravel()[state]
    return _Boxes(
        at,
        along[near],
        half[near],
        kerb.side.ravel()[state] - sensor[at],
        yaw_deg,
        np.full(at.size, CAR_DB),
        # How askew a car stands is drawn anew whenever one parks: it names the car.
        yaw_deg.view(np.int64),
    )


def _things(kerb: Kerb, cell: IntArray, s: FloatArray, sensor: FloatArray) -> _Boxes:
    things = kerb.things
    which = things.cell[cell]
    at = np.flatnonzero(which >= 0)
    at = at[things.standing[which[at]]]
    which = which[at].astype(np.int64)
    return _Boxes(
        at,
        s[at] - things.centre[which],
        things.half[which],
        things.side[which] - sensor[at],
        things.yaw_deg[which],
        things.target_db[which],
        which << 32,
    )


def _nearest_places(
    boxes: _Boxes, which: IntArray, distance: FloatArray, beyond: FloatArray, along: FloatArray
) -> Met:
    """The place that answers of each box `which`: the flank beside the sensor, or a corner."""
    distance, beyond, body = distance[which], beyond[which], boxes.body[which]
    loss_db = spread_loss_db(distance, FLANK_RADIUS_M)
    incidence_deg = np.abs(boxes.yaw_deg[which])
    corner = np.flatnonzero(beyond > 0.0)
    off = distance[corner]
    loss_db[corner] = spread_loss_db(off, CORNER_RADIUS_M)
    incidence_deg[corner] += np.degrees(np.arcsin(beyond[corner] / off))
    return Met(
        boxes.at[which],
        distance,
        incidence_deg,
        boxes.target_db[which] - loss_db + body_strength_db(body),
        patch_of(body, np.minimum(along[which], boxes.half[which] - 1e-9)),
    )
