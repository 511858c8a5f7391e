"""Noise that belongs to a vehicle and a moment, whoever else is looked at.

A generator's stream gives whoever is asked next the next number, so what one vehicle senses would
depend on which others are observed, and on how many processes share the fleet. Here every number
is a hash of (seed, vehicle, tick, count): Weyl increments and the finalizer of SplitMix64 (Steele,
Lea, Flood, OOPSLA 2014; constants by Stafford, "mix13"). A hash of 64 bits gives two uniform
numbers, or four normal ones out of a table: sensors draw so many that whole hashes, logarithms and
cosines would cost more than all else they do.
"""

from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fleet_sim.models.arrays import FloatArray, IntArray

_U64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_TO_UNIT = 2.0**-32
_MASK = (1 << 64) - 1


class Random(Protocol):
    """What models draw of: `Draws` here, or a `numpy.random.Generator`."""

    def standard_normal(self, size: tuple[int, ...], /) -> FloatArray: ...

    def random(self, size: tuple[int, ...], /) -> FloatArray: ...


class Noise:
    """One sensor's noise of a whole fleet. `seed`: any integer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed & _MASK

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Noise":
        """Seeded by a stream's next number."""
        return cls(int(rng.integers(2**63)))

    def at(self, vehicles: IntArray, tick: int) -> "Draws":
        """Draws of `vehicles` [k] at a tick: the same numbers for the same vehicle, tick and order
        of calls."""
        # The tick goes through the hash once, so that (vehicle, tick) pairs do not line up.
        with np.errstate(over="ignore"):
            base = _mix(np.array([self._seed + tick * 0xD1342543DE82EF95 & _MASK], np.uint64))
            return Draws(_mix(vehicles.astype(np.uint64) * _GOLDEN + base))


class Draws:
    """Numbers for k vehicles at one moment. The first axis of every `size` is theirs."""

    def __init__(self, keys: _U64) -> None:
        self._keys = keys
        self._count = 0

    def take(self, rows: IntArray) -> "Draws":
        """Of some of the vehicles only, by their rows here: each goes on where it is."""
        part = Draws(self._keys[rows])
        part._count = self._count
        return part

    def random(self, size: tuple[int, ...], /) -> FloatArray:
        """Uniform in [0, 1), 32 bits."""
        return np.asarray(self._cut(size, np.dtype(np.uint32)) * _TO_UNIT)

    def standard_normal(self, size: tuple[int, ...], /) -> FloatArray:
        """Standard normal, up to 4.3 standard deviations: one of 65,536 quantiles."""
        return np.asarray(_quantiles().take(self._cut(size, np.dtype(np.uint16))))

    def _cut(self, size: tuple[int, ...], part: np.dtype[np.unsignedinteger]) -> NDArray[Any]:
        """Hashes cut into parts: of each vehicle as many as `size` asks for."""
        rows, each = size[0], int(np.prod(size[1:], dtype=np.int64))
        if rows != self._keys.size:
            raise ValueError(f"noise: {rows} rows for {self._keys.size} vehicles")
        hashes = -(-each * part.itemsize // 8)
        steps = np.arange(self._count + 1, self._count + hashes + 1, dtype=np.uint64)
        self._count += hashes
        with np.errstate(over="ignore"):
            parts = _mix(self._keys[:, None] + steps * _GOLDEN).view(part)
        return parts[:, :each].reshape(size)


@cache
def _quantiles() -> FloatArray:
    """The middles of 65,536 equally likely parts of the normal distribution."""
    return np.asarray(ndtri((np.arange(1 << 16) + 0.5) / (1 << 16)))


def _mix(z: _U64) -> _U64:
    """SplitMix64's finalizer, in place."""
    z ^= z >> _S30
    z *= _MIX_1
    z ^= z >> _S27
    z *= _MIX_2
    z ^= z >> _S31
    return z
