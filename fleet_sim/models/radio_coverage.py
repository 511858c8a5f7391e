"""Where the network is bad: a seeded field in space, so that every pass meets the same places.

The field is standard normal with Gudmundson's correlation `exp(-d / L)` (1991). Places where it is
lowest are holes, those a little better are weak, the others good.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int8Array

GOOD, WEAK, HOLE = range(3)
_WAVES = 384
_CHUNK = 4096


class SignalField:
    """A sum of plane waves: no lattice, no period, the same in every direction.

    Wave vectors follow the spectrum of `exp(-d / L)` in the plane, a Cauchy law with scale 1/L.
    """

    def __init__(self, correlation_m: float, rng: np.random.Generator) -> None:
        vectors = rng.standard_normal((2, _WAVES))
        self._waves = vectors / np.abs(rng.standard_normal(_WAVES)) / correlation_m
        self._phase = rng.uniform(0.0, 2.0 * np.pi, _WAVES)

    def at(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Field at points: [k] and [k] → [k]. 384 cosines a point: for tables, not for ticks."""
        out = np.empty(x_m.size)
        for i in range(0, x_m.size, _CHUNK):
            part = slice(i, i + _CHUNK)
            angle = np.outer(x_m[part], self._waves[0]) + np.outer(y_m[part], self._waves[1])
            out[part] = np.cos(angle + self._phase).sum(axis=1)
        return np.asarray(out * np.sqrt(2.0 / _WAVES))


class Coverage:
    """The class of every place for one network: `GOOD`, `WEAK` or `HOLE`.

    `shares` are the three classes' shares of the area; a city of few correlation lengths has its
    own, as any one draw does.
    """

    def __init__(
        self, shares: Sequence[float], correlation_m: float, rng: np.random.Generator
    ) -> None:
        self._field = SignalField(correlation_m, rng)
        hole, bad = shares[HOLE], shares[WEAK] + shares[HOLE]
        self._limits = np.array([_quantile(hole), _quantile(bad)])

    def at(self, x_m: FloatArray, y_m: FloatArray) -> Int8Array:
        """Class of each point: [k] and [k] → int8 [k]."""
        if np.isneginf(self._limits).all():
            return np.zeros(x_m.size, dtype=np.int8)  # good everywhere: spare the waves
        field = self._field.at(x_m, y_m)
        return (HOLE - np.searchsorted(self._limits, field, side="right")).astype(np.int8)


def _quantile(share: float) -> float:
    if 0.0 < share < 1.0:
        return NormalDist().inv_cdf(share)
    return np.inf if share else -np.inf
