"""Side-looking ultrasonic ranging while driving by (ParkNet, MobiSys 2010).

The geometry (what stands where) belongs to the world; here is what the sensor makes of it.
"""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int16Array

NO_ECHO_CM = 0


@dataclass(frozen=True, slots=True)
class UltrasonicPreset:
    """A ranging sensor. Range 0.3-5 m: MaxBotix HRXL data sheet; 20 samples/s: ParkNet; noise,
    dropout, cross-talk and beam are assumptions."""

    rate_hz: int = 20
    min_m: float = 0.3
    max_m: float = 5.0
    beam_deg: float = 30.0
    """Full opening angle θ; the footprint at range R is 2 R tan(θ/2)."""
    sigma_m: float = 0.005
    sigma_share: float = 0.005
    dropout: float = 0.02
    """Share of echoes that are missed at normal incidence."""
    crosstalk: float = 0.005
    """Share of samples that another sensor's pulse answers, uniform over the range."""


ULTRASONIC = UltrasonicPreset()


def footprint_half_m(range_m: FloatArray, preset: UltrasonicPreset = ULTRASONIC) -> FloatArray:
    """Half the beam's width along the road at `range_m`, m: how much longer a car's end looks."""
    return range_m * float(np.tan(np.radians(preset.beam_deg / 2)))


def measure_cm(
    range_m: FloatArray, rng: np.random.Generator, preset: UltrasonicPreset = ULTRASONIC
) -> Int16Array:
    """Readings for true distances to the first surface in the beam, any shape.

    `range_m`: m, `inf` where nothing is in the beam. Answers int16 cm, 0 for no echo. A surface
    nearer than the blind zone reads as the minimum range.
    """
    noise = rng.standard_normal(range_m.shape)
    chance = rng.random(range_m.shape)
    seen = (range_m <= preset.max_m) & (chance >= preset.dropout)
    distance = np.where(seen, range_m, 0.0)
    distance += noise * (preset.sigma_m + preset.sigma_share * distance)
    np.clip(distance, preset.min_m, preset.max_m, out=distance)
    # The upper end of the same draw decides on cross-talk: the two events exclude each other.
    stray = np.flatnonzero(chance >= 1.0 - preset.crosstalk)
    distance.flat[stray] = rng.uniform(preset.min_m, preset.max_m, stray.size)
    seen.flat[stray] = True
    return np.where(seen, np.rint(distance * 100.0), NO_ECHO_CM).astype(np.int16)
