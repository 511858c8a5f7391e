"""The pack as a voltage behind a resistance: `V = OCV(s) - I R(T)`, with I > 0 out of the pack.

`s` is the stored energy over the usable energy, and stands for the charge ratio of the curves
below: they differ by at most 0.034 (NMC, half full).
"""

from enum import Enum

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.battery_road import ZERO_C_K

RESISTANCE_OHM = 0.04
"""Of a whole pack at 23 °C (PyBaMM's cells in packs of these sizes: about)."""
_ARRHENIUS_K, _REFERENCE_K = 1760.0, 296.0
GRID = 10
"""Steps of an open-circuit curve: values at s = 0, 0.1 … 1."""


class Chemistry(Enum):
    """Of the cells."""

    NMC = "nmc"
    LFP = "lfp"


_KNOTS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
# 0.1 to 0.9: PyBaMM's Chen2020 (NMC 811) and Prada2013 (LFP). The ends, where the usable window
# stops short of the cell's, are assumptions.
_OCV_V = {
    Chemistry.NMC: np.array([3.05, 3.296, 3.581, 3.751, 3.948, 4.097, 4.18]),
    Chemistry.LFP: np.array([2.70, 2.978, 3.206, 3.266, 3.274, 3.314, 3.42]),
}
CELL_MAX_V = {Chemistry.NMC: 4.20, Chemistry.LFP: 3.65}
"""Voltage that charging holds at the end: the cell makers' usual limits."""


def cell_ocv_v(chemistry: Chemistry, soc: FloatArray | float) -> FloatArray:
    """Open-circuit voltage of one cell, linear between the knots."""
    return np.asarray(np.interp(soc, _KNOTS, _OCV_V[chemistry]))


def ocv_table_v(chemistry: Chemistry, cells: int) -> FloatArray:
    """Open-circuit voltage of `cells` in series at s = 0, 0.1 … 1: [11]."""
    return cell_ocv_v(chemistry, np.linspace(0.0, 1.0, GRID + 1)) * cells


def table_ocv_v(tables: FloatArray, kind: IntArray, soc: FloatArray) -> FloatArray:
    """Voltage at `soc` [k] from row `kind` [k] of `tables` [kinds, 11]."""
    place = soc * GRID
    low = np.minimum(place.astype(np.int64), GRID - 1)
    at = kind * (GRID + 1) + low
    flat = tables.ravel()
    base = flat.take(at)
    return base + (flat.take(at + 1) - base) * (place - low)


def resistance_ratio(pack_c: FloatArray | float) -> FloatArray:
    """`R(T)/R(23 °C) = exp[1760 (1/T - 1/296)]`."""
    kelvin = np.asarray(pack_c) + ZERO_C_K
    return np.asarray(np.exp(_ARRHENIUS_K * (1.0 / kelvin - 1.0 / _REFERENCE_K)))


def current_a(power_w: FloatArray, ocv_v: FloatArray, r_ohm: FloatArray | float) -> FloatArray:
    """Current that gives `power_w` at the terminals, A; below 0 charges.

    At most `OCV / 2R`, which gives all that the pack can (100 kW or more at -40 °C, 500 kW in
    warmth): no car of the presets comes near it on a street.
    """
    root = np.sqrt(np.maximum(ocv_v**2 - 4.0 * r_ohm * power_w, 0.0))
    return np.asarray((ocv_v - root) / (2.0 * r_ohm))


def stored_power_w(power_w: FloatArray, ocv_v: FloatArray, r_ohm: FloatArray | float) -> FloatArray:
    """Power out of the store for `power_w` at the terminals, W: the rest is heat, `I² R`."""
    return ocv_v * current_a(power_w, ocv_v, r_ohm)
