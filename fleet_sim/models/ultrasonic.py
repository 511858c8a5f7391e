"""Side-looking ultrasonic ranging while driving by (ParkNet, MobiSys 2010).

The geometry (what stands where) belongs to the world; here is what the sensor makes of it:
echo level above the noise, the chance that the echo is detected, and the reading.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int16Array
from fleet_sim.models.noise import Random
from fleet_sim.models.ultrasonic_air import (
    AIR,
    REFERENCE_C,
    Air,
    absorption_db_per_m,
    uncompensated_scale,
)

NO_ECHO_CM = 0
RELIABLE_SNR_DB = 9.54
"""3:1 in amplitude: what reliable detection takes (TI SLAA732A)."""
HALF_SNR_DB, SNR_WIDTH_DB = 6.0, 1.2
"""Logistic of detection: half at 2:1 and 95 % at 3:1 (assumption)."""
MIRROR_DEG, OBLIQUE_WIDTH_DEG = 12.5, 10.0
"""Up to 12.5° a flank mirrors the pulse back; from there to 22.5° dropout grows evenly to its
oblique value (assumption)."""
OBLIQUE_LOSS_DB = 6.0
"""What an oblique surface's echo has lost when it does come back (assumption)."""
NOISE_EXPONENT = 3.5
"""Tyre-road noise grows with 30-40 log10 of the speed (Sandberg, Ejsmont, 2002), taken to hold up
to the sensor's band (assumption)."""
QUIET_MPS = 20 / 3.6
"""Below it the sensor hears its own noise, above it the street's (assumption)."""


@dataclass(frozen=True, slots=True)
class UltrasonicPreset:
    """A ranging sensor. Noise, dropout, cross-talk and beam are assumptions for all presets."""

    name: str
    source: str
    frequency_hz: float = 48e3
    rate_hz: int = 20
    min_m: float = 0.3
    """The blind zone: what is nearer reads as this."""
    max_m: float = 5.0
    """Here a large flat target straight ahead still has `RELIABLE_SNR_DB` in air of 20 °C."""
    beam_deg: float = 30.0
    """Full opening angle θ; the footprint at range R is 2 R tan(θ/2)."""
    compensated: bool = True
    """Whether it measures the air's temperature; else it takes it for 20 °C."""
    sigma_m: float = 0.005
    sigma_share: float = 0.005
    dropout: float = 0.02
    """Share of strong echoes that are missed at normal incidence."""
    dropout_oblique: float = 0.5
    """The same beyond 20-25°."""
    crosstalk: float = 0.005
    """Share of samples that another sensor's pulse answers, uniform over the range."""

    def __post_init__(self) -> None:
        bounds = [("dropout", 0.0, 1.0), ("dropout_oblique", 0.0, 1.0), ("crosstalk", 0.0, 0.5)]
        bounds += [("frequency_hz", 2e4, 5e5), ("rate_hz", 1, 100), ("beam_deg", 1.0, 120.0)]
        bounds += [("min_m", 0.0, 5.0), ("max_m", self.min_m + 0.1, 20.0)]
        bounds += [("sigma_m", 0.0, 1.0), ("sigma_share", 0.0, 1.0)]
        for field, low, high in bounds:
            value = getattr(self, field)
            if not low <= value <= high:
                raise ValueError(
                    f"ultrasonic {self.name!r}: {field} {value!r} (allowed: {low:g}..{high:g})"
                )


ULTRASONICS = {
    preset.name: preset
    for preset in (
        UltrasonicPreset(
            "hrxl_48k",
            "range and temperature compensation: MaxBotix HRXL data sheet; 20 samples/s: ParkNet "
            "(the HRXL itself gives 7.5/s); 48 kHz: assumption, common in cars' parking sensors",
        ),
        UltrasonicPreset(
            "parknet",
            "range 12-255 in and 20 samples/s: ParkNet; 48 kHz, no compensation: assumptions",
            min_m=12 * 0.0254,
            max_m=255 * 0.0254,
            compensated=False,
        ),
        UltrasonicPreset(
            "parking_58k",
            "58 kHz: the class of transducers TI's SLAA732A is about; all else as hrxl_48k",
            frequency_hz=58e3,
        ),
    )
}


def ultrasonic(name: str) -> UltrasonicPreset:
    """The preset of that name; `ValueError` names those that exist."""
    try:
        return ULTRASONICS[name]
    except KeyError:
        known = ", ".join(sorted(ULTRASONICS))
        raise ValueError(f"ultrasonic: {name!r} is unknown (allowed: {known})") from None


ULTRASONIC = ULTRASONICS["hrxl_48k"]
"""What the fleet carries."""


def footprint_half_m(range_m: FloatArray, preset: UltrasonicPreset = ULTRASONIC) -> FloatArray:
    """Half the beam's width along the road at `range_m`, m: how much longer a car's end looks."""
    return range_m * float(np.tan(np.radians(preset.beam_deg / 2)))


def obliqueness(incidence_deg: FloatArray) -> FloatArray:
    """0 where a surface mirrors the pulse back, 1 where only its edges answer."""
    share = (np.abs(incidence_deg) - MIRROR_DEG) * (1.0 / OBLIQUE_WIDTH_DEG)
    # Not np.clip, here and elsewhere: its wrapper costs more than a small fleet's numbers.
    return np.asarray(np.minimum(np.maximum(share, 0.0), 1.0))


def noise_db(speed_mps: FloatArray | float) -> FloatArray:
    """How far the noise of tyres and wind at the sensor lifts the floor above standstill's, dB.

    Their power grows with `v^3.5` and equals the sensor's own at `QUIET_MPS`.
    """
    share = np.asarray(speed_mps, dtype=np.float64) * (1.0 / QUIET_MPS)
    return np.asarray(10.0 * np.log10(1.0 + share**NOISE_EXPONENT))


def snr_db(
    range_m: FloatArray,
    target_db: FloatArray | float = 0.0,
    preset: UltrasonicPreset = ULTRASONIC,
    air: Air = AIR,
) -> FloatArray:
    """Echo level over noise, `S0 − 20 log10(2R) − 2αR + TS`, dB.

    `range_m`: m, above 0; `target_db`: TS relative to a large flat target straight ahead. `S0`
    is what gives such a target `RELIABLE_SNR_DB` at the preset's maximum range at 20 °C, 50 %.
    """
    alpha = absorption_db_per_m(preset.frequency_hz, air)
    alpha_20 = absorption_db_per_m(preset.frequency_hz, Air(20.0, 50.0))
    s0 = RELIABLE_SNR_DB + 20.0 * np.log10(2.0 * preset.max_m) + 2.0 * alpha_20 * preset.max_m
    return np.asarray(s0 - 20.0 * np.log10(2.0 * range_m) - 2.0 * alpha * range_m + target_db)


def detection_probability(
    range_m: FloatArray,
    incidence_deg: FloatArray | None = None,
    target_db: FloatArray | float = 0.0,
    preset: UltrasonicPreset = ULTRASONIC,
    air: Air = AIR,
    *,
    answers: FloatArray | None = None,
) -> FloatArray:
    """Chance that a surface at `range_m` is detected: logistic in SNR, less the dropout.

    `incidence_deg`: between beam and surface normal, 0 without. `answers`: uniform draws that
    belong to the surface and decide on the dropout; without them it is part of the chance. 0
    beyond the range and for `inf`.
    """
    beyond = np.flatnonzero(range_m > preset.max_m)
    distance = np.minimum(np.maximum(range_m, 0.01), preset.max_m)
    missed: FloatArray | float = preset.dropout
    if incidence_deg is not None:
        oblique = obliqueness(incidence_deg)
        missed = preset.dropout + (preset.dropout_oblique - preset.dropout) * oblique
        target_db = target_db - OBLIQUE_LOSS_DB * oblique
    if answers is not None:
        missed = (answers < missed).astype(np.float64)
    below = (HALF_SNR_DB - snr_db(distance, target_db, preset, air)) * (1.0 / SNR_WIDTH_DB)
    found: FloatArray = (1.0 - missed) / (1.0 + np.exp(np.minimum(below, 50.0)))
    found.reshape(-1)[beyond] = 0.0
    return found


def measure_cm(
    range_m: FloatArray,
    rng: Random,
    preset: UltrasonicPreset = ULTRASONIC,
    *,
    incidence_deg: FloatArray | None = None,
    target_db: FloatArray | float = 0.0,
    air: Air = AIR,
    answers: FloatArray | None = None,
) -> Int16Array:
    """Readings for true distances to the first surface in the beam, any shape.

    `range_m`: m, `inf` where nothing is in the beam; other arrays have its shape. Answers int16 cm,
    0 for no echo. A surface nearer than the blind zone reads as the minimum range. `answers`: as
    for `detection_probability`.
    """
    noise = rng.standard_normal(range_m.shape).reshape(-1)
    chance = rng.random(range_m.shape).reshape(-1)
    # Most pulses meet nothing in reach: the rest is worked out for the others only.
    near = np.flatnonzero(range_m <= preset.max_m)
    distance = range_m.reshape(-1)[near]

    def of_near(values: FloatArray | float | None) -> Any:
        return values.reshape(-1)[near] if isinstance(values, np.ndarray) else values

    found = detection_probability(
        distance, of_near(incidence_deg), of_near(target_db), preset, air, answers=of_near(answers)
    )
    seen = np.flatnonzero(chance[near] < found * (1.0 - preset.crosstalk))
    near, distance = near[seen], distance[seen]
    distance += noise[near] * (preset.sigma_m + preset.sigma_share * distance)
    if not preset.compensated and air.temperature_c != REFERENCE_C:
        distance *= float(uncompensated_scale(air.temperature_c))
    reading = np.full(range_m.size, NO_ECHO_CM, dtype=np.int16)
    reading[near] = _cm(distance, preset)
    # The upper end of the same draw decides on cross-talk, since the two events exclude each other,
    # and where in that end it lies, on the reading.
    stray = np.flatnonzero(chance >= 1.0 - preset.crosstalk)
    along = (chance[stray] - (1.0 - preset.crosstalk)) / max(preset.crosstalk, 1e-9)
    reading[stray] = _cm(preset.min_m + (preset.max_m - preset.min_m) * along, preset)
    return reading.reshape(range_m.shape)


def _cm(distance_m: FloatArray, preset: UltrasonicPreset) -> FloatArray:
    """Whole centimetres within the sensor's range."""
    return np.rint(np.minimum(np.maximum(distance_m, preset.min_m), preset.max_m) * 100.0)
