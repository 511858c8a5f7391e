"""What one place of a surface makes of a pulse: whether it answers, and how loudly.

A parked car is no flat plate. Panels, wheel arches, gaps and glass answer or do not, and what they
answer adds up or cancels out within the beam. So echoes are lost along the surface, patch by patch,
and a car that drives by slowly loses several samples in a row. The draws are hashes of the place,
not of the pulse: they stay the same however often and in whatever steps a patch is looked at.
"""

import numpy as np
import numpy.typing as npt

from fleet_sim.models.arrays import FloatArray, IntArray

PATCH_M = 0.5
"""Length of surface that answers alike: about what half the beam covers at 2 m (assumption)."""
CAR_SPREAD_DB = 4.0
"""Standard deviation between cars of their flank's strength: shape, height, dirt (assumption)."""
FLANK_RADIUS_M = 0.5
"""Of a car's flank from sill to window (assumption). Like a corner's, it spreads the pulse."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_UNIT = 2.0**-32


def spread_loss_db(range_m: FloatArray, radius_m: float) -> FloatArray:
    """What a convex surface costs: `10 log10(1 + R/a)`, the divergence of a pulse reflected by a
    cylinder of radius `a`, dB."""
    return np.asarray(10.0 * np.log10(1.0 + range_m / radius_m))


def patch_of(body: IntArray, along_m: FloatArray) -> IntArray:
    """Key of the patch at `along_m` from the middle of a body with the key `body`, [k]."""
    patch = np.floor(along_m * (1.0 / PATCH_M)).astype(np.int64).view(np.uint64)
    return np.asarray(((patch + np.uint64(1)) * _GOLDEN + body.view(np.uint64)).view(np.int64))


def body_strength_db(body: IntArray) -> FloatArray:
    """How much stronger than the mean car's this car's echoes are, dB [k]; the same on all passes.

    Uniform, with the standard deviation `CAR_SPREAD_DB`.
    """
    low, _ = _halves(_mixed(body.view(np.uint64)))
    return np.asarray((low - 0.5) * (CAR_SPREAD_DB * 12**0.5))


def patch_draws(patch: IntArray, sensor_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A uniform number that decides whether the patch answers, and the strength it answers with.

    Strength: dB over its mean, exponential in power (Swerling's first case: many scatterers of
    like size that add up at random). `sensor_m`: where the sensor is across the lane. How echoes
    add up depends on it to a fraction of the wavelength of 7 mm, so another vehicle on the same
    street meets other draws, and the same vehicle the same ones throughout a pass.
    """
    seed = patch.view(np.uint64) ^ (np.ascontiguousarray(sensor_m).view(np.uint64) * _GOLDEN)
    answers, strength = _halves(_mixed(seed))
    return answers, np.asarray(10.0 * np.log10(-np.log(np.maximum(strength, _UNIT))))


def _mixed(seed: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): every bit in changes half of all
    bits out."""
    z = seed + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX[0]
    z = (z ^ (z >> np.uint64(27))) * _MIX[1]
    return np.asarray(z ^ (z >> np.uint64(31)))


def _halves(bits: npt.NDArray[np.uint64]) -> tuple[FloatArray, FloatArray]:
    """Two uniform numbers in [0, 1) of each word."""
    return (
        np.asarray((bits & _LOW).astype(np.float64) * _UNIT),
        np.asarray((bits >> np.uint64(32)).astype(np.float64) * _UNIT),
    )
