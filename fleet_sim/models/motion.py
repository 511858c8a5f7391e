"""Longitudinal motion: the Intelligent Driver Model (Treiber, Hennecke, Helbing, 2000).

`a [1 - (v/v0)⁴ - (s*/s)²]` with `s* = s0 + v T + v Δv / (2 √(a b))`. A point to stop at (a stall,
a red light) is a standing leader.
"""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray

FREE_M = 1e6
"""A gap that means: nobody ahead."""


@dataclass(frozen=True, slots=True)
class Idm:
    """T 1.0 s, s0 2 m, a = b = 2 m/s² give a saturation flow of 1906 veh/h in SUMO (Highway
    Capacity Manual base: 1900). The hardest braking is an assumption (dry road)."""

    headway_s: float = 1.0
    standstill_m: float = 2.0
    accel_mps2: float = 2.0
    brake_mps2: float = 2.0
    hardest_mps2: float = 8.0


IDM = Idm()


def interaction(
    v_mps: FloatArray, gap_m: FloatArray, lead_mps: FloatArray, idm: Idm = IDM
) -> FloatArray:
    """IDM's `s*/s` against a leader; a gap is counted as at least 0.1 m."""
    closing = v_mps * (v_mps - lead_mps) / (2.0 * np.sqrt(idm.accel_mps2 * idm.brake_mps2))
    wanted = idm.standstill_m + np.maximum(v_mps * idm.headway_s + closing, 0.0)
    return np.asarray(wanted / np.maximum(gap_m, 0.1))


def acceleration(
    v_mps: FloatArray, v0_mps: FloatArray, ratio: FloatArray, idm: Idm = IDM
) -> FloatArray:
    """IDM acceleration, m/s², from the strongest `interaction` of all obstacles."""
    free = v_mps / v0_mps
    free *= free
    accel = idm.accel_mps2 * (1.0 - free * free - ratio * ratio)
    return np.asarray(np.maximum(accel, -idm.hardest_mps2))


def approach_speed(v0_mps: FloatArray, v_end_mps: FloatArray, dist_m: FloatArray) -> FloatArray:
    """Highest speed now for `v_end` in `dist_m` at 1.5 m/s², not above `v0`: slows for turns."""
    return np.minimum(v0_mps, np.sqrt(v_end_mps**2 + 3.0 * np.maximum(dist_m, 0.0)))


def can_stop(v_mps: FloatArray, dist_m: FloatArray, brake_mps2: float = 3.0) -> BoolArray:
    """Whether a driver stops for amber: the braking it takes is no harder than `brake_mps2`."""
    return np.asarray(v_mps * v_mps <= 2.0 * brake_mps2 * np.maximum(dist_m, 0.3))


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
