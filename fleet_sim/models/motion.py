"""Longitudinal motion: the Intelligent Driver Model (Treiber, Hennecke, Helbing, 2000) with jerk.

`a [1 - (v/v0)⁴ - (s*/s)²]` with `s* = s0 + v T + v Δv / (2 √(a b))`. A point to stop at (a stall,
a red light) is a standing leader. Above the wanted speed the free term is that of the improved
model, `-b [1 - (v0/v)⁴]` (Treiber, Kesting, Traffic Flow Dynamics, 2013, section 11.3.7), which is
never harder than `b`. Acceleration changes by the jerk limit, so drivers foresee how far they still
go before their brakes bite (`stopping_m`).
"""

from dataclasses import dataclass, fields
from math import sqrt

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray

FREE_M = 1e6
"""A gap that means: nobody ahead."""
TURN_SLOWING_MPS2 = 1.5
"""How drivers slow for a turn (assumption)."""
FIRM_MPS2 = 3.0
"""Hardest braking that a driver plans: for amber, or to give way (assumption; the ITE times amber
lights by 3 m/s²)."""


@dataclass(frozen=True, slots=True)
class Idm:
    """T 1.0 s, s0 2 m, a = b = 2 m/s² give a saturation flow of 1906 veh/h in SUMO (Highway
    Capacity Manual base: 1900). Jerk and the hardest braking (dry road) are assumptions; what an
    emergency's brakes do to jerk too. `ValueError` unless all are above zero."""

    headway_s: float = 1.0
    standstill_m: float = 2.0
    accel_mps2: float = 2.0
    brake_mps2: float = 2.0
    hardest_mps2: float = 8.0
    jerk_mps3: float = 2.0
    emergency_jerk_mps3: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 < value < float("inf"):
                raise ValueError(f"Idm.{field.name}: {value!r} (allowed: above 0)")


IDM = Idm()


def interaction(
    v_mps: FloatArray, gap_m: FloatArray, lead_mps: FloatArray | float, idm: Idm = IDM
) -> FloatArray:
    """IDM's `s*/s` against a leader; a gap is counted as at least 0.1 m."""
    # v T + v Δv / (2 √(ab)) with v taken out: operations count where vehicles are few.
    wanted = v_mps - lead_mps
    wanted *= 0.5 / sqrt(idm.accel_mps2 * idm.brake_mps2)
    wanted += idm.headway_s
    wanted *= v_mps
    np.maximum(wanted, 0.0, out=wanted)
    wanted += idm.standstill_m
    wanted /= np.maximum(gap_m, 0.1)
    return wanted


def acceleration(
    v_mps: FloatArray, v0_mps: FloatArray, ratio: FloatArray, idm: Idm = IDM
) -> FloatArray:
    """IDM acceleration, m/s², from the strongest `interaction` of all obstacles."""
    free = v_mps / v0_mps
    free *= free
    free *= free
    # Above v0 (free > 1): the improved model's gentler way back.
    over = idm.brake_mps2 / np.maximum(free, 1.0)
    accel = np.minimum(free, 1.0, out=free)
    accel += ratio * ratio
    accel *= -idm.accel_mps2
    accel += over
    accel += idm.accel_mps2 - idm.brake_mps2
    return np.asarray(np.maximum(accel, -idm.hardest_mps2, out=accel))


def with_jerk(
    target_mps2: FloatArray,
    before_mps2: FloatArray,
    v_mps: FloatArray,
    dt_s: float,
    urgent: BoolArray | None = None,
    idm: Idm = IDM,
) -> FloatArray:
    """What a driver reaches of `target` within a step, from `before`, m/s².

    Brakes are eased before a standstill, `a² ≤ 2 j v` with the speed at the step's end, so that
    the stop itself has no jolt. `urgent` drivers brake as fast as brakes build up.
    """
    change = idm.jerk_mps3 * dt_s
    softest = change - np.sqrt(change * change + 2.0 * idm.jerk_mps3 * v_mps)
    eased = np.maximum(target_mps2, softest)
    accel = np.minimum(np.maximum(eased, before_mps2 - change), before_mps2 + change)
    if urgent is not None and urgent.any():
        hard = np.maximum(target_mps2, before_mps2 - idm.emergency_jerk_mps3 * dt_s)
        accel = np.where(urgent, np.minimum(hard, accel), accel)
    return np.asarray(accel)


def foresee(
    target_mps2: FloatArray,
    before_mps2: FloatArray,
    v_mps: FloatArray,
    gap_m: FloatArray,
    lead_mps: FloatArray,
    idm: Idm = IDM,
) -> FloatArray:
    """`target`, lower where the jerk limit would brake too late.

    Getting from `before` down to `target` takes `lag = (before - target) / j`. Who closes in on
    the leader reckons with the gap and the speed that it will have halfway.
    """
    rows = np.flatnonzero((before_mps2 - target_mps2 > 0.5) & (v_mps > lead_mps))
    if not rows.size:
        return target_mps2
    half_lag = (before_mps2[rows] - target_mps2[rows]) * (0.5 / idm.jerk_mps3)
    v, lead = v_mps[rows], lead_mps[rows]
    later = v + np.maximum(before_mps2[rows], 0.0) * half_lag
    gap = gap_m[rows] - (0.5 * (v + later) - lead) * half_lag
    ratio = interaction(later, gap, lead, idm)
    lower = np.maximum(idm.accel_mps2 * (1.0 - ratio * ratio), -idm.hardest_mps2)
    target = target_mps2.copy()
    target[rows] = np.minimum(target[rows], lower)
    return target


def stopping_m(
    v_mps: FloatArray, accel_mps2: FloatArray, brake_mps2: FloatArray | float, idm: Idm = IDM
) -> FloatArray:
    """Way to a standstill when braking builds up from `accel` to `brake` at the jerk limit, m.

    `brake_mps2` [b, 1] answers [b, k]: for several at once.
    """
    j = idm.jerk_mps3
    to_stop = (accel_mps2 + np.sqrt(accel_mps2 * accel_mps2 + 2.0 * j * v_mps)) / j
    t = np.minimum(np.maximum((accel_mps2 + brake_mps2) / j, 0.0), to_stop)
    then = np.maximum(v_mps + t * (accel_mps2 - (0.5 * j) * t), 0.0)
    way = t * (v_mps + t * (0.5 * accel_mps2 - (j / 6.0) * t))
    return np.asarray(way + then * then * (0.5 / brake_mps2))


def must_brake_hard(
    v_mps: FloatArray, gap_m: FloatArray, lead_mps: FloatArray, hard_mps2: float = 4.0
) -> BoolArray:
    """Whether only braking harder than `hard` avoids what is ahead: an emergency."""
    closing = v_mps * v_mps - lead_mps * lead_mps
    return np.asarray((closing > 2.0 * hard_mps2 * np.maximum(gap_m - 0.5, 0.05)) & (v_mps > 0.5))


def approach_speed(v0_mps: FloatArray, v_end_mps: FloatArray, dist_m: FloatArray) -> FloatArray:
    """Highest speed now for `v_end` in `dist_m` at 1.5 m/s², not above `v0`: slows for turns."""
    room = 2.0 * TURN_SLOWING_MPS2 * np.maximum(dist_m, 0.0)
    return np.minimum(v0_mps, np.sqrt(v_end_mps * v_end_mps + room))


def slow_for(
    accel_mps2: FloatArray, v_mps: FloatArray, v_end_mps: FloatArray, dist_m: FloatArray
) -> FloatArray:
    """`accel`, or the steady braking that it takes to have `v_end` in `dist_m` once that comes
    near 1.5 m/s²: the free term alone brakes only for who is far above the approach's speed."""
    need = (v_mps * v_mps - v_end_mps * v_end_mps) / np.maximum(2.0 * dist_m, 2.0)
    needed = np.maximum(-need, -2.0 * TURN_SLOWING_MPS2)
    return np.where(need > 0.7 * TURN_SLOWING_MPS2, np.minimum(accel_mps2, needed), accel_mps2)


def advance(
    v_mps: FloatArray, accel_mps2: FloatArray, dt_s: float
) -> tuple[FloatArray, FloatArray]:
    """Ballistic step at constant acceleration: new speed, m/s, and way, m; never backward."""
    v1 = v_mps + accel_mps2 * dt_s
    way = 0.5 * (v_mps + np.maximum(v1, 0.0)) * dt_s
    stops = np.flatnonzero(v1 < 0.0)
    if stops.size:
        v1[stops] = 0.0
        # It stands before the step ends.
        way[stops] = v_mps[stops] ** 2 / (-2.0 * accel_mps2[stops])
    return v1, way
