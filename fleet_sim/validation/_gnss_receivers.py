"""Receivers without a world, for the checks of satellite positioning: anywhere, any number."""

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.gnss import GnssModel, Positions
from fleet_sim.models.gnss_presets import receiver

LAT_DEG = 37.8
FAR_M = 12_000.0
"""Side of the square in which places are drawn: a whole period of the fields."""


def build(n: int, seed: int, name: str = "automotive") -> GnssModel:
    """A model of n vehicles with one receiver."""
    return GnssModel(
        (receiver(name),),
        np.zeros(n, dtype=np.int64),
        LAT_DEG,
        np.random.default_rng([seed, 1]),
        np.random.default_rng([seed, 2]),
    )


def at(x_m: FloatArray, y_m: FloatArray) -> Positions:
    """The vehicles are at (x, y) [n]."""
    return lambda idx: (x_m[idx], y_m[idx])


def count(full: int, scale: float, least: int) -> int:
    """Of a sample that is `full` at scale 1."""
    return max(least, round(full * scale))
