"""What heating and cooling of the cabin take, by ambient temperature."""

from enum import Enum

import numpy as np

from fleet_sim.models.arrays import FloatArray

_AMBIENT_C = np.array([-18.0, -7.0, 0.0, 10.0, 22.0, 35.0, 40.0])
_RESISTIVE_KW = np.array([4.61, 3.41, 2.64, 1.54, 0.25, 0.57, 0.87])
_HEAT_PUMP_KW = np.array([5.58, 2.94, 1.67, 0.61, 0.25, 0.67, 1.17])
BASE_AUX_W = 250.0
"""Computers, pumps, lamps: all that runs without heating and cooling (as in FASTSim)."""


class Heating(Enum):
    """How the cabin is warmed."""

    RESISTIVE = "resistive"
    HEAT_PUMP = "heat_pump"


def auxiliary_w(heating: Heating, ambient_c: FloatArray | float) -> FloatArray:
    """Mean auxiliary power while driving, W: the base and the cabin's heating and cooling.

    Means over whole trips (run with FASTSim's cabin model), linear between the measured
    temperatures and constant beyond -18 and 40 °C. There is no warming-up.
    """
    kw = _HEAT_PUMP_KW if heating is Heating.HEAT_PUMP else _RESISTIVE_KW
    return np.asarray(np.interp(ambient_c, _AMBIENT_C, kw) * 1e3)
