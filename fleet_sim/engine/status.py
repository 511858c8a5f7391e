"""How a shard is doing, in a few numbers that travel twice a second."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.live import LiveStats, merged

RECONNECT_S = 10.0
"""A vehicle may take so long to come back once its radio does: the backoff has grown meanwhile."""

_PAGE_MB = 4096 / 1e6


class Sample(msgspec.Struct, frozen=True):
    """One row of the per-second series."""

    t_s: float
    connected: int
    in_flight: int
    stored: int
    occupancy: float
    loop_lag_ms: float
    attempts: int = 0
    """To connect, since the sample before."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Of one shard now, or of all together."""

    vehicles: int = 0
    connected: int = 0
    reachable: int = 0
    """Vehicles whose radio link has been there for a while: they should be online."""
    opened: int = 0
    """Messages so far."""
    in_flight: int = 0
    stored: int = 0
    sent_per_s: int = 0
    """Of the messages that were due in the second before the last."""
    acknowledged_per_s: int = 0
    lateness_p99_ms: float | None = None
    """Null while there was none; of all together: the worst shard's."""
    acknowledged_p99_ms: float | None = None
    visible_p50_ms: float | None = None
    driving: int = 0
    occupied: int = 0
    """Stalls that are taken, of `stalls`."""
    stalls: int = 0
    cpu_s: float = 0.0
    """Of the process, since it began."""
    rss_mb: float = 0.0
    overloaded: str = ""
    """Why it gave up its schedule; empty while it holds it."""
    failures: dict[str, int] = {}
    """Most frequent reasons why connections failed."""
    reconnects: int = 0
    """Attempts to connect since the first phase began."""
    probe_timeouts: int | None = None
    """Messages that the API did not show within a minute; null without a probe."""
    live: dict[str, LiveStats] = {}
    """By metric with tags: what was measured so far."""

    def reasons(self) -> str:
        """Why connections failed so far, most frequent first, as the end of a sentence."""
        return reasons_text(self.failures)


def reasons_text(failures: dict[str, int]) -> str:
    """Most frequent first, as the end of a sentence."""
    return "".join(f"; {n} × {reason}" for reason, n in Counter(failures).most_common(3))


def total(parts: Sequence[Status]) -> Status:
    """All shards together: sums, and the worst of what is no sum."""
    summed: dict[str, Any] = {
        name: sum(getattr(part, name) for part in parts)
        for name in Status.__struct_fields__
        if not name.endswith("_ms")
        and name not in ("overloaded", "failures", "probe_timeouts", "live")
    }
    for name in ("lateness_p99_ms", "acknowledged_p99_ms", "visible_p50_ms"):
        known = [value for part in parts if (value := getattr(part, name)) is not None]
        summed[name] = max(known) if known else None
    failures: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures)
    overloaded = next((part.overloaded for part in parts if part.overloaded), "")
    timeouts = [part.probe_timeouts for part in parts if part.probe_timeouts is not None]
    live = {
        name: merged([part.live[name] for part in parts if name in part.live])
        for name in dict.fromkeys(name for part in parts for name in part.live)
    }
    return Status(
        **summed,
        overloaded=overloaded,
        failures=dict(failures),
        probe_timeouts=sum(timeouts) if timeouts else None,
        live=live,
    )


def sum_samples(series: Sequence[Sequence[Sample]], stalls: Sequence[int]) -> list[Sample]:
    """The series of all shards as one: second by second, as far as the longest goes. A shard that
    ended early counts nothing from there on; occupancy is weighted by its stalls."""
    merged = []
    for rows in _by_second(series):
        present = [(row, weight) for row, weight in zip(rows, stalls, strict=True) if row]
        weights = sum(weight for _, weight in present)
        taken = sum(row.occupancy * weight for row, weight in present)
        parts = [row for row, _ in present]
        merged.append(
            Sample(
                t_s=min(row.t_s for row in parts),
                connected=sum(row.connected for row in parts),
                in_flight=sum(row.in_flight for row in parts),
                stored=sum(row.stored for row in parts),
                occupancy=taken / weights if weights else 0.0,
                loop_lag_ms=max(row.loop_lag_ms for row in parts),
                attempts=sum(row.attempts for row in parts),
            )
        )
    return merged


def _by_second(series: Sequence[Sequence[Sample]]) -> list[list[Sample | None]]:
    """The samples of each second over all shards; None where a shard has none."""
    seconds = sorted({round(sample.t_s) for samples in series for sample in samples})
    by_second = [{round(sample.t_s): sample for sample in samples} for samples in series]
    return [[of.get(second) for of in by_second] for second in seconds]


def p99_ms(batches: Sequence[NDArray[np.int64]]) -> float | None:
    """Of ns in batches; None when there are none."""
    values = np.concatenate(batches) if batches else np.zeros(0, np.int64)
    return float(np.percentile(values, 99)) / 1e6 if values.size else None


def resident_mb() -> float:
    """Memory that this process holds in RAM now, 1e6 bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MB
