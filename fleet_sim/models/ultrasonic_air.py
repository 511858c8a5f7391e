"""Sound in air: its speed, what a thermometer's absence costs, and how much the air takes."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fleet_sim.models.arrays import FloatArray

REFERENCE_C = 20.0
"""The temperature that a sensor without a thermometer takes for granted (MaxBotix)."""


@dataclass(frozen=True, slots=True)
class Air:
    """Weather at the kerb. 15 °C is the mean of the ICAO standard atmosphere at sea level."""

    temperature_c: float = 15.0
    humidity_pct: float = 50.0
    pressure_kpa: float = 101.325

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature_c", -50.0, 60.0),
            ("humidity_pct", 1.0, 100.0),
            ("pressure_kpa", 50.0, 110.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"air.{name}: {value!r} (allowed: {low:g}..{high:g})")


AIR = Air()


def speed_of_sound_mps(temperature_c: FloatArray | float) -> FloatArray:
    """`c = 20.05 √(T + 273.15)`, T in °C (MaxBotix)."""
    return np.asarray(20.05 * np.sqrt(np.asarray(temperature_c, dtype=np.float64) + 273.15))


def uncompensated_scale(temperature_c: FloatArray | float) -> FloatArray:
    """Reading over true distance of a sensor that takes the air for 20 °C: above 1 in the cold."""
    return np.asarray(speed_of_sound_mps(REFERENCE_C) / speed_of_sound_mps(temperature_c))


@lru_cache(maxsize=64)
def absorption_db_per_m(frequency_hz: float, air: Air = AIR) -> float:
    """Pure-tone attenuation by ISO 9613-1:1993, equations 3-5 and B.2-B.3, dB/m one way."""
    kelvin = air.temperature_c + 273.15
    t, p = kelvin / 293.15, air.pressure_kpa / 101.325
    saturation = 10.0 ** (4.6151 - 6.8346 * (273.16 / kelvin) ** 1.261)
    h = air.humidity_pct * saturation / p
    oxygen_hz = p * (24.0 + 4.04e4 * h * (0.02 + h) / (0.391 + h))
    nitrogen_hz = p * t**-0.5 * (9.0 + 280.0 * h * np.exp(-4.170 * (t ** (-1 / 3) - 1.0)))
    f2 = frequency_hz**2
    relaxation = 0.01275 * np.exp(-2239.1 / kelvin) / (oxygen_hz + f2 / oxygen_hz)
    relaxation += 0.1068 * np.exp(-3352.0 / kelvin) / (nitrogen_hz + f2 / nitrogen_hz)
    return float(8.686 * f2 * (1.84e-11 / p * t**0.5 + t**-2.5 * relaxation))
