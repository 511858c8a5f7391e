"""What has been measured so far, while it goes on: histograms that add up over shards.

Buckets are 1 % wide, so that a percentile is off by half a percent at most; those of the finished
run are HDR histograms' (`histogram`). The sums travel twice a second, and are cumulative: one that
is lost is made good by the next.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.histogram import PERCENTILES, percentile_key
from fleet_sim.measure.ledger import REJECTED_FROM, Ledger

_LOG = math.log(1.01)
_BUCKETS = math.ceil(math.log(3_600_000_000) / _LOG) + 1
"""From 1 µs to an hour."""
_SENT, _ACKED, _UNCONFIRMED = 1, 2, 4

STAGE_SENT = "latency_ms{stage:sent}"
STAGE_ACKNOWLEDGED = "latency_ms{stage:acknowledged}"
STAGE_VISIBLE = "latency_ms{stage:visible}"
SERVICE = "service_ms{stage:acknowledged}"
LATENESS = "lateness_ms"


class LiveStats(msgspec.Struct, frozen=True):
    """A histogram on its way: bucket to count, and what a bucket cannot say. ms."""

    counts: dict[int, int]
    sum_ms: float = 0.0
    min_ms: float = 0.0
    max_ms: float = 0.0
    negative: int = 0
    """Values below zero, counted apart: the clocks of the two ends disagree."""

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def at_most(self, limit_ms: float) -> int:
        """How many are not above `limit_ms`, to a bucket."""
        last = _bucket(limit_ms)
        return sum(count for bucket, count in self.counts.items() if bucket <= last)

    def stats(self, percentiles: Sequence[float] = PERCENTILES) -> dict[str, float]:
        """As `LatencyHistogram.stats`."""
        count = self.count
        found: dict[str, float] = {"count": count}
        if count:
            found |= {"min": self.min_ms, "mean": self.sum_ms / count, "max": self.max_ms}
            buckets = np.array(sorted(self.counts), np.int64)
            total = np.cumsum([self.counts[int(bucket)] for bucket in buckets])
            for percentile in percentiles:
                rank = max(1, math.ceil(percentile / 100 * count - 1e-9))
                bucket = buckets[np.searchsorted(total, rank)]
                middle_ms = math.exp((float(bucket) + 0.5) * _LOG) / 1000
                value = min(self.max_ms, max(self.min_ms, middle_ms))
                found[percentile_key(percentile)] = value
        if self.negative:
            found["negative"] = self.negative
        return found


def _bucket(value_ms: float) -> int:
    return min(_BUCKETS - 1, int(math.log(max(1.0, value_ms * 1000)) / _LOG))


def merged(parts: Sequence[LiveStats]) -> LiveStats:
    """Of several shards."""
    full = [part for part in parts if part.counts]
    counts: dict[int, int] = {}
    for part in full:
        for bucket, count in part.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
    return LiveStats(
        counts,
        sum(part.sum_ms for part in full),
        min((part.min_ms for part in full), default=0.0),
        max((part.max_ms for part in full), default=0.0),
        sum(part.negative for part in parts),
    )


class LiveHistogram:
    """Counts; `snapshot` is what travels."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._sum_ms, self._min_ms, self._max_ms = 0.0, math.inf, 0.0
        self._negative = 0

    def record_ns(self, values_ns: NDArray[np.int64]) -> None:
        """Values above an hour are in the last bucket."""
        kept = values_ns[values_ns >= 0]
        self._negative += int(values_ns.size - kept.size)
        if not kept.size:
            return
        micros = np.maximum(kept, 1000) / 1000
        buckets = np.minimum((np.log(micros) / _LOG).astype(np.int64), _BUCKETS - 1)
        self._counts += np.bincount(buckets, minlength=_BUCKETS)
        self._sum_ms += float(kept.sum()) / 1e6
        self._min_ms = min(self._min_ms, float(kept.min()) / 1e6)
        self._max_ms = max(self._max_ms, float(kept.max()) / 1e6)

    def snapshot(self) -> LiveStats:
        filled = np.flatnonzero(self._counts)
        counts = dict(zip(filled.tolist(), self._counts[filled].tolist(), strict=True))
        least = self._min_ms if counts else 0.0
        return LiveStats(counts, self._sum_ms, least, self._max_ms, self._negative)


class LiveLedger:
    """Reads a ledger that is being written, each row once a stage.

    `unconfirmed` says of ledger vehicles which are never acknowledged (QoS 0)."""

    def __init__(
        self, ledger: Ledger, unconfirmed: Callable[[NDArray[np.uint32]], NDArray[np.bool_]]
    ) -> None:
        self._ledger = ledger
        self._unconfirmed = unconfirmed
        self._from = 0  # rows before it have nothing new to come
        self._state = np.zeros(0, np.uint8)  # of the rows from there on
        self._histograms = {
            name: LiveHistogram() for name in (STAGE_SENT, STAGE_ACKNOWLEDGED, SERVICE)
        }

    def look(self) -> dict[str, LiveStats]:
        """Of all rows so far, by metric."""
        rows = slice(self._from, len(self._ledger))
        column = {
            name: self._ledger.column(name)[rows]
            for name in ("vehicle", "intended_ns", "sent_ns", "acked_ns", "reason", "cause")
        }
        known = self._state.size
        never = self._unconfirmed(column["vehicle"][known:])
        state = np.concatenate([self._state, never.astype(np.uint8) * np.uint8(_UNCONFIRMED)])
        intended, sent, acked = column["intended_ns"], column["sent_ns"], column["acked_ns"]
        new = (sent != 0) & (state & _SENT == 0)
        state[new] |= _SENT
        self._histograms[STAGE_SENT].record_ns(sent[new] - intended[new])
        new = (acked != 0) & (state & _ACKED == 0)
        state[new] |= _ACKED
        good = new & (column["reason"] < REJECTED_FROM)
        self._histograms[STAGE_ACKNOWLEDGED].record_ns(acked[good] - intended[good])
        self._histograms[SERVICE].record_ns((acked - sent)[good & (sent != 0)])
        over = (state & _ACKED != 0) | (column["cause"] != 0)
        over |= (state & _UNCONFIRMED != 0) & (state & _SENT != 0)
        open_ = np.flatnonzero(~over)
        done = int(open_[0]) if open_.size else over.size
        self._from += done
        self._state = state[done:].copy()
        return {name: histogram.snapshot() for name, histogram in self._histograms.items()}
