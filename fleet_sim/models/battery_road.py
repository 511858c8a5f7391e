"""Road load: the force at the wheels and the work of a step.

`F = A + B v + C v² + 1.015 m a + m g sin θ`; 1.015 stands for rotating parts (assumption). `C`
scales with the air's density, that is with 1/T; 20 °C is the reference of EPA coefficients
(SAE J2263). Rolling resistance does not change with temperature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import FloatArray

LBF_N = 4.4482216152605
MPH_MPS = 0.44704
LB_KG = 0.45359237
MILE_M = 1609.344
AIR_KG_M3 = 1.2
"""At 20 °C and sea level; FASTSim's value too."""
AIR_REFERENCE_C, ZERO_C_K = 20.0, 273.15
GRAVITY_MPS2 = 9.80665
ROTATING_MASS = 1.015
GEAR = 0.98
"""Share of the driving power that the gear passes (FASTSim's value)."""


def require(owner: str, field: str, value: float, low: float, high: float) -> None:
    """`ValueError` naming `owner.field` unless it is a number from `low` to `high`; NaN is not."""
    if not (isinstance(value, int | float) and low <= value <= high):
        raise ValueError(
            f"{owner}.{field}: {value!r} is not allowed (allowed: {low:g} to {high:g})"
        )


def air_density_ratio(ambient_c: float) -> float:
    """Density of the air at `ambient_c` over that at 20 °C, at the same pressure."""
    require("air", "ambient_c", ambient_c, -60.0, 60.0)
    return (AIR_REFERENCE_C + ZERO_C_K) / (ambient_c + ZERO_C_K)


@dataclass(frozen=True, slots=True)
class RoadLoad:
    """`F = a_n + b_ns_m v + c_ns2_m2 v²` in N for v in m/s, and the mass in kg.

    `b_ns_m` may be negative, as some EPA coefficients are, if the force stays above 0 up to
    60 m/s; `ValueError` otherwise.
    """

    a_n: float
    b_ns_m: float
    c_ns2_m2: float
    mass_kg: float
    gear: float = GEAR
    """1 where the coefficients contain the gear's losses, as coasting down in neutral does."""

    def __post_init__(self) -> None:
        require("RoadLoad", "mass_kg", self.mass_kg, 50.0, 60_000.0)
        require("RoadLoad", "a_n", self.a_n, 0.0, 10_000.0)
        require("RoadLoad", "c_ns2_m2", self.c_ns2_m2, 0.0, 50.0)
        require("RoadLoad", "gear", self.gear, 0.5, 1.0)
        v = np.arange(1.0, 61.0)
        lowest = float((self.a_n + (self.b_ns_m + self.c_ns2_m2 * v) * v).min())
        if not lowest >= 0.0:
            raise ValueError(
                f"RoadLoad.b_ns_m: {self.b_ns_m!r} is not allowed "
                "(allowed: a force not below 0 N from 1 to 60 m/s)"
            )

    @classmethod
    def from_epa(cls, a_lbf: float, b: float, c: float, test_weight_lb: float) -> "RoadLoad":
        """From EPA target coefficients: lbf, lbf/mph, lbf/mph², and test weight in lb."""
        return cls(
            a_lbf * LBF_N,
            b * LBF_N / MPH_MPS,
            c * LBF_N / MPH_MPS**2,
            test_weight_lb * LB_KG,
            gear=1.0,
        )

    @classmethod
    def from_drag(
        cls, mass_kg: float, cd: float, area_m2: float, crr: float, air_kg_m3: float = AIR_KG_M3
    ) -> "RoadLoad":
        """From drag and rolling coefficients: `F = Crr m g + ½ ρ Cd A v²`."""
        require("RoadLoad", "mass_kg", mass_kg, 50.0, 60_000.0)
        require("RoadLoad", "cd", cd, 0.05, 2.0)
        require("RoadLoad", "area_m2", area_m2, 0.2, 15.0)
        require("RoadLoad", "crr", crr, 0.001, 0.05)
        return cls(crr * mass_kg * GRAVITY_MPS2, 0.0, 0.5 * air_kg_m3 * cd * area_m2, mass_kg)


@dataclass(frozen=True, slots=True)
class RoadLoads:
    """Road loads of k vehicles, one array element each; units as in `RoadLoad`."""

    a_n: FloatArray
    b_ns_m: FloatArray
    c_ns2_m2: FloatArray
    mass_kg: FloatArray
    gear: FloatArray

    @classmethod
    def of(cls, loads: Sequence[RoadLoad]) -> "RoadLoads":
        return cls(
            np.array([load.a_n for load in loads]),
            np.array([load.b_ns_m for load in loads]),
            np.array([load.c_ns2_m2 for load in loads]),
            np.array([load.mass_kg for load in loads]),
            np.array([load.gear for load in loads]),
        )


def drag_force_n(load: RoadLoad | RoadLoads, v_mps: FloatArray) -> FloatArray:
    """Rolling and air resistance, N."""
    return np.asarray(load.a_n + (load.b_ns_m + load.c_ns2_m2 * v_mps) * v_mps)


def wheel_force_n(
    load: RoadLoad | RoadLoads,
    v_mps: FloatArray,
    a_mps2: FloatArray,
    grade_rad: FloatArray | float = 0.0,
) -> FloatArray:
    """Force at the wheels, N; negative when it brakes."""
    slope = load.mass_kg * GRAVITY_MPS2 * np.sin(grade_rad)
    return drag_force_n(load, v_mps) + ROTATING_MASS * load.mass_kg * a_mps2 + slope


def wheel_work_j(
    load: RoadLoad | RoadLoads,
    v0_mps: FloatArray,
    v1_mps: FloatArray,
    ds_m: FloatArray,
    dt_s: float,
    climb_m: FloatArray | None = None,
) -> FloatArray:
    """Work of the wheels over one step from speed `v0` to `v1` over `ds_m`, `climb_m` higher, J.

    Drag is that of the step's mean speed `ds/dt`, and the change of kinetic energy is exact, so
    that the sum over steps closes whatever the step.
    """
    kinetic = load.mass_kg * (v1_mps - v0_mps) * (v1_mps + v0_mps) * (0.5 * ROTATING_MASS)
    work = drag_force_n(load, ds_m / dt_s) * ds_m + kinetic
    if climb_m is not None:
        work += load.mass_kg * GRAVITY_MPS2 * climb_m
    return work
