"""Energy an electric vehicle takes from its pack.

Wheel force `F = A + B v + C v² + 1.015 m a` (1.015: rotating parts, assumption); pack power
`P⁺/η - P⁻ η_r + P_aux` with one set η 0.92, η_r 0.85, aux 250 W, which fits the EPA's city and
highway figures of eight cars within 6 %. The road is level and the air 20 °C.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray

LBF_N = 4.4482216152605
MPH_MPS = 0.44704
LB_KG = 0.45359237
MILE_M = 1609.344
AIR_KG_M3 = 1.2
GRAVITY_MPS2 = 9.80665
ROTATING_MASS = 1.015
ETA_DRIVE = 0.92
ETA_REGEN = 0.85
AUX_W = 250.0


@dataclass(frozen=True, slots=True)
class RoadLoad:
    """`F = a_n + b_ns_m v + c_ns2_m2 v²` in N for v in m/s, and the mass in kg."""

    a_n: float
    b_ns_m: float
    c_ns2_m2: float
    mass_kg: float

    @classmethod
    def from_epa(cls, a_lbf: float, b: float, c: float, test_weight_lb: float) -> "RoadLoad":
        """From EPA target coefficients: lbf, lbf/mph, lbf/mph², and test weight in lb."""
        return cls(
            a_lbf * LBF_N,
            b * LBF_N / MPH_MPS,
            c * LBF_N / MPH_MPS**2,
            test_weight_lb * LB_KG,
        )

    @classmethod
    def from_drag(cls, mass_kg: float, cd: float, area_m2: float, crr: float) -> "RoadLoad":
        """From drag and rolling coefficients: `F = Crr m g + ½ ρ Cd A v²`."""
        return cls(crr * mass_kg * GRAVITY_MPS2, 0.0, 0.5 * AIR_KG_M3 * cd * area_m2, mass_kg)


@dataclass(frozen=True, slots=True)
class RoadLoads:
    """Road loads of many vehicles, one array element each."""

    a_n: FloatArray
    b_ns_m: FloatArray
    c_ns2_m2: FloatArray
    mass_kg: FloatArray

    @classmethod
    def of(cls, loads: Sequence[RoadLoad]) -> "RoadLoads":
        return cls(
            np.array([load.a_n for load in loads]),
            np.array([load.b_ns_m for load in loads]),
            np.array([load.c_ns2_m2 for load in loads]),
            np.array([load.mass_kg for load in loads]),
        )

    def take(self, idx: IntArray) -> "RoadLoads":
        """The loads of the vehicles `idx`."""
        return RoadLoads(self.a_n[idx], self.b_ns_m[idx], self.c_ns2_m2[idx], self.mass_kg[idx])


def wheel_force_n(load: RoadLoad | RoadLoads, v_mps: FloatArray, a_mps2: FloatArray) -> FloatArray:
    """Force at the wheels, N; negative when it brakes."""
    drag = load.a_n + (load.b_ns_m + load.c_ns2_m2 * v_mps) * v_mps
    return np.asarray(drag + ROTATING_MASS * load.mass_kg * a_mps2)


def pack_power_w(wheel_w: FloatArray, aux_w: float = AUX_W) -> FloatArray:
    """Power out of the pack for a power at the wheels, W; negative while it charges."""
    drive = np.maximum(wheel_w, 0.0) / ETA_DRIVE
    return np.asarray(drive + np.minimum(wheel_w, 0.0) * ETA_REGEN + aux_w)


def trip_energy_j(
    load: RoadLoad | RoadLoads,
    v0_mps: FloatArray,
    v1_mps: FloatArray,
    ds_m: FloatArray,
    dt_s: float,
) -> FloatArray:
    """Energy out of the pack over one step from speed `v0` to `v1` over `ds_m`, J.

    The wheel's work uses the step's mean speed `ds/dt`, so that work and change of kinetic energy
    agree whatever the step.
    """
    mean = ds_m / dt_s
    force = wheel_force_n(load, mean, np.zeros_like(mean))
    kinetic = 0.5 * ROTATING_MASS * load.mass_kg * (v1_mps**2 - v0_mps**2)
    return pack_power_w((force * ds_m + kinetic) / dt_s) * dt_s


def constant_speed_wh_per_mi(load: RoadLoad, speed_mps: float) -> float:
    """Consumption at the pack's terminals at a steady speed, Wh/mi."""
    v = np.array([speed_mps])
    power = pack_power_w(wheel_force_n(load, v, np.zeros(1)) * v)
    return float(power[0]) / speed_mps * MILE_M / 3600.0
