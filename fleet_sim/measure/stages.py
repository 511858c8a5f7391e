"""Latency by stage: how long after its intended time a message was where.

Every stage is measured from the *intended* time, so that a generator or a broker that stalls
cannot hide the messages it held up (coordinated omission; Gil Tene, "How NOT to Measure Latency").
Service time, from the send, is kept apart.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.histogram import PERCENTILES, LatencyHistogram, percentile_key
from fleet_sim.measure.ledger import LedgerColumns

STAGES = ("sent", "acknowledged", "stream", "processed", "stored", "visible")
"""In the order in which a message passes them. `sent` is the generator's own lateness."""

SERIES_PERCENTILES = (50.0, 95.0, 99.0)

NsArray = NDArray[np.int64]
"""`[n]`, ns since the epoch, one a ledger row; 0 is "never" or "not known"."""


class Timeline(NamedTuple):
    """Rows of `timeseries.parquet`, three columns of one length."""

    t_s: NDArray[np.float64]
    """Seconds since the first phase began; the start of the second that a row describes."""
    name: NDArray[np.str_]
    value: NDArray[np.float64]


def stage_times(
    columns: LedgerColumns,
    *,
    stream_ns: NsArray | None = None,
    processed_ns: NsArray | None = None,
    stored_ns: NsArray | None = None,
    visible_ns: NsArray | None = None,
) -> dict[str, NsArray]:
    """When each message reached each stage, by stage; stages that are None are left out.

    A PUBACK that reports a failure acknowledges nothing.
    """
    times = {
        "sent": columns.sent_ns,
        "acknowledged": np.where(columns.acknowledged, columns.acked_ns, 0),
        "stream": stream_ns,
        "processed": processed_ns,
        "stored": stored_ns,
        "visible": visible_ns,
    }
    return {stage: at for stage, at in times.items() if at is not None}


def latencies_ns(since_ns: NsArray, at_ns: NsArray) -> NsArray:
    """`at - since` of the rows in which both are known."""
    known = (at_ns != 0) & (since_ns != 0)
    took: NsArray = at_ns[known] - since_ns[known]
    return took


def stage_histograms(
    intended_ns: NsArray, times: Mapping[str, NsArray]
) -> dict[str, LatencyHistogram]:
    """One histogram a stage, from the intended time."""
    histograms = {}
    for stage, at_ns in times.items():
        histograms[stage] = LatencyHistogram()
        histograms[stage].record_ns(latencies_ns(intended_ns, at_ns))
    return histograms


def service_histogram(columns: LedgerColumns) -> LatencyHistogram:
    """From the (first) send to the acknowledgement."""
    histogram = LatencyHistogram()
    ok = columns.acknowledged
    histogram.record_ns(latencies_ns(columns.sent_ns[ok], columns.acked_ns[ok]))
    return histogram


def stage_metrics(
    histograms: Mapping[str, LatencyHistogram],
    service: LatencyHistogram,
    percentiles: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, dict[str, float]]:
    """`latency_ms{stage:S}` and `service_ms{stage:acknowledged}` with their statistics.

    `percentiles`: further ones by metric, as `thresholds.percentiles_needed` gives them.
    """
    found = {f"latency_ms{{stage:{stage}}}": h for stage, h in histograms.items()}
    found["service_ms{stage:acknowledged}"] = service
    wanted = percentiles or {}
    return {
        name: histogram.stats(sorted({*PERCENTILES, *wanted.get(name, ())}))
        for name, histogram in found.items()
    }


def series(
    intended_ns: NsArray,
    times: Mapping[str, NsArray],
    t0_ns: int,
    percentiles: Sequence[float] = SERIES_PERCENTILES,
) -> Timeline:
    """Per-second rates and latency percentiles.

    `rate{kind:scheduled|sent|acknowledged}` counts messages by the second in which they were
    intended, sent or acknowledged, with a row for every second of the run.
    `latency_ms{stage:S,q:pN}` is by the second in which messages were *intended* (nearest rank,
    exact), with rows only for seconds that have a message.
    """
    if not intended_ns.size:
        empty = np.zeros(0)
        return Timeline(empty, np.zeros(0, np.str_), empty)
    blocks: list[tuple[NDArray[np.float64], str, NDArray[np.float64]]] = []
    moments = {"scheduled": intended_ns}
    moments |= {kind: times[kind] for kind in ("sent", "acknowledged") if kind in times}
    seconds = {kind: (at[at != 0] - t0_ns) // 1_000_000_000 for kind, at in moments.items()}
    first = min(int(s.min()) for s in seconds.values() if s.size)
    last = max(int(s.max()) for s in seconds.values() if s.size)
    axis = np.arange(first, last + 1, dtype=np.float64)
    for kind, second in seconds.items():
        counts = np.bincount(second - first, minlength=len(axis)).astype(np.float64)
        blocks.append((axis, f"rate{{kind:{kind}}}", counts))
    for stage, at_ns in times.items():
        known = (at_ns != 0) & (intended_ns != 0)
        latency_ms = (at_ns[known] - intended_ns[known]) / 1e6
        second = (intended_ns[known] - t0_ns) // 1_000_000_000
        t_s, values = _percentiles_by_group(second, latency_ms, percentiles)
        for row, percentile in zip(values, percentiles, strict=True):
            name = f"latency_ms{{stage:{stage},q:{percentile_key(percentile)}}}"
            blocks.append((t_s, name, row))
    return Timeline(
        np.concatenate([t for t, _, _ in blocks]),
        np.repeat([name for _, name, _ in blocks], [len(t) for t, _, _ in blocks]),
        np.concatenate([value for _, _, value in blocks]),
    )


def _percentiles_by_group(
    group: NDArray[np.int64], value: NDArray[np.float64], percentiles: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Groups in order, and nearest-rank percentiles `[len(percentiles), groups]` of each."""
    order = np.lexsort((value, group))
    group, value = group[order], value[order]
    groups, start, count = np.unique(group, return_index=True, return_counts=True)
    fraction = np.asarray(percentiles)[:, None] / 100
    rank = np.maximum(np.ceil(fraction * count - 1e-9), 1).astype(np.int64)
    found: NDArray[np.float64] = value[start + rank - 1]
    return groups.astype(np.float64), found
