"""Latency histograms with bounded relative error, filled from arrays.

The counting is HdrHistogram's (Gil Tene, hdrhistogram.org): 1 µs resolution, 3 significant digits,
up to one hour. The Python port records one value a call, so arrays are grouped into its own
buckets first: a million latencies become at most some 23,000 calls.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from fleet_sim.measure.blocks import blocks

HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
TICKS_PER_HALF_DISTANCE = 5
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

Stats = Mapping[str, float]
"""`count`, and if that is not 0 `min`, `mean`, `max` and percentiles (`p50`, `p99.9`) in ms;
`negative` and `out_of_range` when there were such values, which the others leave out."""


def percentile_key(percentile: float) -> str:
    """`95.0` → `p95`, `99.9` → `p99.9`."""
    return f"p{percentile:.10g}"


class Counted(NamedTuple):
    """Latencies on their way to a histogram: how many are in each of its buckets, and what buckets
    cannot say."""

    lowest_us: Sequence[int]
    """Of each bucket, µs."""
    counts: Sequence[int]
    sum_us: int
    min_us: int
    max_us: int


def counted(micros: NDArray[np.int64]) -> Counted:
    """Of at least one latency, whole µs within 0 s - 1 h."""
    return _counted(
        np.bincount(_bucket(micros)), int(micros.sum()), int(micros.min()), int(micros.max())
    )


class LatencyHistogram:
    """Counts latencies; what cannot be counted as one is counted apart and never clamped."""

    def __init__(self) -> None:
        self._hdr = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
        self._sum_us = 0
        self._min_us = HIGHEST_US
        self._max_us = 0
        self.count = 0
        """Latencies within 0 s - 1 h."""
        self.negative = 0
        """Values below zero: the clocks of the two ends disagree."""
        self.out_of_range = 0
        """Values above one hour: percentiles without them are too low."""

    def record_ns(self, latencies_ns: NDArray[np.int64]) -> None:
        """Add latencies in ns, any shape; they are rounded to whole µs."""
        self.record_parts([latencies_ns])

    def record_parts(self, parts: Iterable[NDArray[np.int64]]) -> None:
        """Add all arrays' latencies, as `record_ns`: buckets are filled once and not for each."""
        counts = np.zeros(_BUCKETS, np.int64)
        sum_us, min_us, max_us = 0, HIGHEST_US, 0
        for values in (part.ravel()[block] for part in parts for block in blocks(part.size)):
            below = values < 0
            negative = int(np.count_nonzero(below))
            if negative:
                self.negative += negative
                values = values[~below]
            micros = (values + 500) // 1000
            above = micros > HIGHEST_US
            out_of_range = int(np.count_nonzero(above))
            if out_of_range:
                self.out_of_range += out_of_range
                micros = micros[~above]
            if micros.size:
                counts += np.bincount(_bucket(micros), minlength=_BUCKETS)
                sum_us += int(micros.sum())
                min_us = min(min_us, int(micros.min()))
                max_us = max(max_us, int(micros.max()))
        if counts.any():
            self.add(_counted(counts, sum_us, min_us, max_us))

    def include(self, other: "LatencyHistogram") -> None:
        """Add all that another one has counted."""
        self.negative += other.negative
        self.out_of_range += other.out_of_range
        if other.count:
            filled = other._filled()
            self.add(
                Counted(
                    [bucket.highest_us for bucket in filled],
                    [bucket.latencies for bucket in filled],
                    other._sum_us,
                    other._min_us,
                    other._max_us,
                )
            )

    def add(self, part: Counted) -> None:
        """Add what another process has counted: nothing is rounded twice."""
        for value, count in zip(part.lowest_us, part.counts, strict=True):
            if not self._hdr.record_value(value, count):
                raise ValueError(f"histogram: {count} values of {value} us were refused")
        self._sum_us += part.sum_us
        self._min_us = min(self._min_us, part.min_us)
        self._max_us = max(self._max_us, part.max_us)
        self.count += sum(part.counts)

    def stats(self, percentiles: Sequence[float] = PERCENTILES) -> dict[str, float]:
        """See `Stats`. min, mean and max are exact; a percentile (nearest rank) is at most 0.1 %
        too high."""
        stats: dict[str, float] = {"count": self.count}
        if self.count:
            stats["min"] = self._min_us / 1000
            stats["mean"] = self._sum_us / self.count / 1000
            filled = self._filled()
            below = np.cumsum([bucket.latencies for bucket in filled])
            for percentile in percentiles:
                # The port rounds a rank to the nearest: p99 of 70 would be the second largest.
                rank = max(1, math.ceil(percentile / 100 * self.count - 1e-9))
                highest_us = filled[int(np.searchsorted(below, rank))].highest_us
                # The upper end of a bucket may lie above the largest value that is in it.
                value_us = max(self._min_us, min(self._max_us, highest_us))
                stats[percentile_key(percentile)] = value_us / 1000
            stats["max"] = self._max_us / 1000
        if self.negative:
            stats["negative"] = self.negative
        if self.out_of_range:
            stats["out_of_range"] = self.out_of_range
        return stats

    def hgrm(self) -> str:
        """Percentile table in HdrHistogram's text format, values in ms.

        Written here and not by the Python port, whose steps are not the reference's: it leaves out
        the median, among others.
        """
        lines = [
            f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}",
            "",
        ]
        level = 0.0
        value_ms = 0.0
        total = 0
        filled = self._filled()
        for bucket in filled:
            value_ms = bucket.highest_us / 1000
            total += bucket.latencies
            while 100 * total / self.count >= level:
                share = level / 100
                lines.append(f"{value_ms:12.3f} {share:.12f} {total:10d} {1 / (1 - share):14.2f}")
                # Half the distance to 100 % is walked in five steps, then half of the rest.
                halvings = int(math.log(100 / (100 - level)) / math.log(2)) + 1
                level += 100 / (TICKS_PER_HALF_DISTANCE * 2**halvings)
                if total == self.count:
                    break
        if self.count:
            lines.append(f"{value_ms:12.3f} {1:.12f} {self.count:10d}")
        n = max(self.count, 1)
        mean_us = sum(b.middle_us * b.latencies for b in filled) / n
        variance = sum((b.middle_us - mean_us) ** 2 * b.latencies for b in filled) / n
        mean_ms, deviation_ms = mean_us / 1000, math.sqrt(variance) / 1000
        buckets, sub_buckets = self._hdr.bucket_count, self._hdr.sub_bucket_count
        lines += [
            f"#[Mean    = {mean_ms:12.3f}, StdDeviation   = {deviation_ms:12.3f}]",
            f"#[Max     = {value_ms:12.3f}, Total count    = {self.count:12d}]",
            f"#[Buckets = {buckets:12d}, SubBuckets     = {sub_buckets:12d}]",
        ]
        return "\n".join(lines) + "\n"

    def _filled(self) -> "list[_Bucket]":
        """The buckets with counts, in order. The port's own iterator computes with each of 23,000:
        a table took it a fifth of a second."""
        counts = np.asarray(self._hdr.counts)
        found = []
        for index in np.flatnonzero(counts).tolist():
            lowest = self._hdr.get_value_from_index(index)
            highest = self._hdr.get_highest_equivalent_value(lowest)
            middle = lowest + (highest + 1 - lowest) // 2
            found.append(_Bucket(highest, middle, int(counts[index])))
        return found


class _Bucket(NamedTuple):
    highest_us: int
    middle_us: int
    """As the reference implementation has it: the lowest value and half of the width, whole µs."""
    latencies: int


def _bucket(micros: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the HDR bucket of each value, in the order of values.

    With 2,048 sub-buckets (the power of two above 2 x 10^3) a value keeps its 11 leading bits.
    """
    # frexp's exponent is the bit length; float64 holds these integers exactly.
    shift = np.frexp(micros.astype(np.float64))[1].astype(np.int64)
    shift -= 11
    np.maximum(shift, 0, out=shift)
    number: NDArray[np.int64] = micros >> shift
    number += shift * _HALF
    return number


def _counted(counts: NDArray[np.int64], sum_us: int, min_us: int, max_us: int) -> Counted:
    """`counts`: by number of the bucket."""
    number = np.flatnonzero(counts)
    shift = np.maximum(number // _HALF - 1, 0)
    lowest = (number - shift * _HALF) << shift
    return Counted(lowest.tolist(), counts[number].tolist(), sum_us, min_us, max_us)


_HALF = 1024
"""Sub-buckets that a doubling adds."""
_BUCKETS = int(_bucket(np.array([HIGHEST_US]))[0]) + 1
