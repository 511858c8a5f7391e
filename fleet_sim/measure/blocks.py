"""Ledgers are read block by block: a temporary array of ten million rows is 80 MB."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 1 << 18


def blocks(n: int, rows: int = BLOCK_ROWS) -> Iterator[slice]:
    """`n` rows, so many at a time."""
    for begin in range(0, n, rows):
        yield slice(begin, min(begin + rows, n))


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted. `np.unique` hashes integers, which takes ten million of them several seconds."""
    if len(values) <= BLOCK_ROWS:
        return _once(values)
    return _once(np.concatenate([_once(values[block]) for block in blocks(len(values))]))


def _once(values: NDArray[np.int64]) -> NDArray[np.int64]:
    ordered = np.sort(values)
    once: NDArray[np.int64] = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return once
