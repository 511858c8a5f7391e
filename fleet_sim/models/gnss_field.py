"""What errors are made of: processes in time, fields in space."""

import numpy as np

from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.gnss_presets import ATM_REGION_M, ATM_SIGMA_M, ATM_TAU_S

_LATTICE = 128
_WRAP = _LATTICE - 1
"""A power of two, so that a bit mask wraps, also below zero."""


def gauss_markov_step(
    b: FloatArray, dt_s: float, tau_s: float, sigma: float, rng: np.random.Generator
) -> FloatArray:
    """Advance a stationary first-order Gauss-Markov process by any `dt_s`: exact in law."""
    phi = np.exp(-dt_s / tau_s)
    return np.asarray(phi * b + sigma * np.sqrt(1.0 - phi * phi) * rng.standard_normal(b.shape))


class Atmosphere:
    """Ionosphere, troposphere and orbits: one error for neighbours, others far away.

    A Gauss-Markov process at each corner of a square of 624 km around the city, interpolated so
    that the variance is the same everywhere; outside, the nearest edge's. Within a city of 10 km
    it is one process to within 0.1 %.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.corners: FloatArray = ATM_SIGMA_M * rng.standard_normal((4, 2))
        """[corner, axis], m"""

    def step(self, dt_s: float) -> None:
        self.corners = gauss_markov_step(self.corners, dt_s, ATM_TAU_S, ATM_SIGMA_M, self._rng)

    def at(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Error at points [k], metres east and north of the city's centre → [k, 2], m."""
        u = np.minimum(np.maximum(x_m / ATM_REGION_M + 0.5, 0.0), 1.0)
        v = np.minimum(np.maximum(y_m / ATM_REGION_M + 0.5, 0.0), 1.0)
        return _blend(u, v).T @ self.corners


class LatticeFields:
    """Standard normal fields in the plane: bilinear value noise, unit variance everywhere.

    One pair of independent fields for each lattice spacing, all evaluated in one pass. A pair is
    periodic with `128 * spacing` (4.2 km for multipath): beyond that distance it repeats.
    """

    def __init__(self, spacings_m: tuple[float, ...], rng: np.random.Generator) -> None:
        pairs = len(spacings_m)
        self._values = rng.standard_normal((pairs * _LATTICE * _LATTICE, 2))
        self._per_m: FloatArray = 1.0 / np.array(spacings_m)[:, None]
        self._first: IntArray = np.arange(pairs)[:, None] * _LATTICE * _LATTICE

    def at(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Fields at points: float64 [k] and [k] → [spacings, k, 2]."""
        u, v = x_m * self._per_m, y_m * self._per_m
        iu, iv = np.floor(u), np.floor(v)
        column, row = iu.astype(np.int64), iv.astype(np.int64)
        left, right = column & _WRAP, (column + 1) & _WRAP
        low = (row & _WRAP) * _LATTICE + self._first
        high = ((row + 1) & _WRAP) * _LATTICE + self._first
        index = np.empty((4, *u.shape), dtype=np.int64)
        np.add(low, left, out=index[0])
        np.add(low, right, out=index[1])
        np.add(high, left, out=index[2])
        np.add(high, right, out=index[3])
        return np.asarray(np.einsum("cpk,cpkf->pkf", _blend(u - iu, v - iv), self._values[index]))


def _blend(u: FloatArray, v: FloatArray) -> FloatArray:
    """Bilinear weights of a cell's corners (0,0), (1,0), (0,1), (1,1) [4, ...], divided by
    their norm: interpolation averages variance away between the corners."""
    a, b = 1.0 - u, 1.0 - v
    norm = 1.0 / np.sqrt((a * a + u * u) * (b * b + v * v))
    b *= norm
    top = v * norm
    weights = np.empty((4, *u.shape))
    np.multiply(a, b, out=weights[0])
    np.multiply(u, b, out=weights[1])
    np.multiply(a, top, out=weights[2])
    np.multiply(u, top, out=weights[3])
    return weights
