"""How fast a pack charges: min(station, the vehicle's curve, the limit of constant voltage)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.battery_road import require

CHARGER_ETA = 0.88
"""Wall to pack on AC (fits EPA's wall figures of four cars)."""


@dataclass(frozen=True, slots=True)
class ChargeCurve:
    """Most power that the vehicle asks for on DC, at its terminals: kW over `soc`, linear between.

    `ValueError` unless `soc` rises from 0 to 1 and all powers are above 0.
    """

    soc: tuple[float, ...]
    kw: tuple[float, ...]

    def __post_init__(self) -> None:
        s = self.soc
        rises = all(low < high for low, high in pairwise(s))
        if len(s) < 2 or s[0] != 0.0 or s[-1] != 1.0 or not rises:
            raise ValueError(
                f"ChargeCurve.soc: {s!r} is not allowed (allowed: rising from 0.0 to 1.0)"
            )
        if len(self.kw) != len(s):
            raise ValueError(
                f"ChargeCurve.kw: {len(self.kw)} values are not allowed (allowed: {len(s)}, "
                "one for each soc)"
            )
        for value in self.kw:
            require("ChargeCurve", "kw", value, 0.1, 1000.0)

    @classmethod
    def of(cls, *knots: tuple[float, float]) -> "ChargeCurve":
        """From (soc, kW) pairs."""
        return cls(tuple(s for s, _ in knots), tuple(kw for _, kw in knots))

    def power_w(self, soc: FloatArray | float) -> FloatArray:
        return np.asarray(np.interp(soc, self.soc, self.kw) * 1e3)


def voltage_limit_w(
    ocv_v: FloatArray, r_ohm: FloatArray | float, max_v: FloatArray | float
) -> FloatArray:
    """Power at the terminals when they are held at `max_v`, W; 0 for a pack above it."""
    return np.asarray(np.maximum(max_v * (max_v - ocv_v) / r_ohm, 0.0))


def charge_power_w(
    station_w: FloatArray | float,
    curve_w: FloatArray,
    ocv_v: FloatArray,
    r_ohm: FloatArray | float,
    max_v: FloatArray | float,
) -> FloatArray:
    """Power into the terminals, W."""
    return np.minimum(np.minimum(station_w, curve_w), voltage_limit_w(ocv_v, r_ohm, max_v))
