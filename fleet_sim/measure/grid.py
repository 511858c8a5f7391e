"""Counts of messages by slot of time and bin of latency: what a stream of ledger rows leaves.

Bins are logarithmic, 64 an octave, so that a percentile read from them is within 1.1 % and any
number of rows takes the room of the grid. Below 1 µs is bin 0; an hour is in the last.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS_AN_OCTAVE = 64
HIGHEST_US = 3_600_000_000
BINS = int(np.log2(HIGHEST_US) * BINS_AN_OCTAVE) + 2

NsArray = NDArray[np.int64]


class Grid(NamedTuple):
    """Latencies of one stage."""

    counts: NDArray[np.int64]
    """`[slots, BINS]`"""
    left_out: NDArray[np.int64]
    """`[slots]`: negative ones, and those above an hour."""


def empty(slots: int) -> Grid:
    return Grid(np.zeros((slots, BINS), np.int64), np.zeros(slots, np.int64))


def bins_of(latency_ns: NsArray) -> NDArray[np.int64]:
    """Bin of each latency of 0 ns to an hour."""
    micros = np.maximum(latency_ns / 1000.0, 0.5)
    # 1 µs and more begin at bin 1; what lies between 0.5 and 1 µs falls below it.
    found: NDArray[np.int64] = np.floor(np.log2(micros) * BINS_AN_OCTAVE).astype(np.int64) + 1
    return np.maximum(found, 0)


def edges_ms() -> NDArray[np.float64]:
    """`[BINS + 1]`: bin `k` is from `edges[k]` to `edges[k + 1]`."""
    upper = 2.0 ** (np.arange(BINS) / BINS_AN_OCTAVE) / 1000
    return np.concatenate([[0.0], upper])


def add(grid: Grid, slot: NDArray[np.int64], latency_ns: NsArray) -> None:
    """Count rows, arrays of one length; `slot` indexes the grid."""
    fits = (latency_ns >= 0) & (latency_ns <= HIGHEST_US * 1000)
    if not fits.all():
        np.add.at(grid.left_out, slot[~fits], 1)
        slot, latency_ns = slot[fits], latency_ns[fits]
    if not len(slot):
        return
    # A batch covers a few slots only: their part of the grid is counted, and not all of it.
    first, last = int(slot.min()), int(slot.max()) + 1
    flat = (slot - first) * BINS + bins_of(latency_ns)
    counted = np.bincount(flat, minlength=(last - first) * BINS)
    grid.counts[first:last] += counted.reshape(last - first, BINS)


def quantiles_ms(
    counts: NDArray[np.float64], shares: NDArray[np.float64], first: int = 0
) -> NDArray[np.float64]:
    """Nearest-rank quantiles `[rows, len(shares)]` of histograms `[rows, bins]` whose bins are the
    grid's from `first` on, placed within their bin by their rank; NaN for a row without a message.
    """
    edges = edges_ms()[first:]
    below = np.cumsum(counts, axis=1)
    total = below[:, -1]
    found = np.full((len(counts), len(shares)), np.nan)
    for row in np.flatnonzero(total > 0):
        rank = np.maximum(np.ceil(shares * total[row] - 1e-9), 1e-9)
        at = np.minimum(np.searchsorted(below[row], rank, side="left"), counts.shape[1] - 1)
        before = below[row, at] - counts[row, at]
        within = (rank - before) / np.maximum(counts[row, at], 1e-9)
        low, high = edges[at], edges[at + 1]
        found[row] = low + (high - low) * np.clip(within, 0, 1)
    return found
