"""Latency by stage: how long after its intended time a message was where.

Every stage is measured from the *intended* time, so that a generator or a broker that stalls
cannot hide the messages it held up (coordinated omission; Gil Tene, "How NOT to Measure Latency").
Service time, from the send, is kept apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.blocks import BLOCK_ROWS, blocks
from fleet_sim.measure.histogram import PERCENTILES, LatencyHistogram, percentile_key
from fleet_sim.measure.ledger import REJECTED_FROM, LedgerColumns

STAGES = ("sent", "acknowledged", "stream", "processed", "stored", "visible")
"""In the order in which a message passes them. `sent` is the generator's own lateness."""

SERIES_PERCENTILES = (50.0, 95.0, 99.0)

_S = 1_000_000_000

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
        "acknowledged": acknowledged_ns(columns),
        "stream": stream_ns,
        "processed": processed_ns,
        "stored": stored_ns,
        "visible": visible_ns,
    }
    return {stage: at for stage, at in times.items() if at is not None}


def acknowledged_ns(columns: LedgerColumns) -> NsArray:
    """When each message was acknowledged by a PUBACK that reports success, `[n]`."""
    acked_ns = columns.acked_ns
    for block in blocks(len(acked_ns)):
        if (columns.reason[block] >= REJECTED_FROM).any():
            return np.where(columns.acknowledged, acked_ns, 0)
    return acked_ns  # and no copy of it: mostly nothing was refused


def latencies_ns(since_ns: NsArray, at_ns: NsArray) -> NsArray:
    """`at - since` of the rows in which both are known."""
    known = (at_ns != 0) & (since_ns != 0)
    took: NsArray = at_ns[known] - since_ns[known]
    return took


def latency_blocks(since_ns: NsArray, at_ns: NsArray) -> Iterator[NsArray]:
    """`latencies_ns`, block by block."""
    for block in blocks(len(at_ns)):
        yield latencies_ns(since_ns[block], at_ns[block])


def stage_histograms(
    intended_ns: NsArray, times: Mapping[str, NsArray]
) -> dict[str, LatencyHistogram]:
    """One histogram a stage, from the intended time."""
    histograms = {}
    for stage, at_ns in times.items():
        histograms[stage] = LatencyHistogram()
        histograms[stage].record_parts(latency_blocks(intended_ns, at_ns))
    return histograms


def service_histogram(columns: LedgerColumns) -> LatencyHistogram:
    """From the (first) send to the acknowledgement."""
    histogram = LatencyHistogram()
    histogram.record_parts(latency_blocks(columns.sent_ns, acknowledged_ns(columns)))
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
    lines: list[tuple[NDArray[np.float64], str, NDArray[np.float64]]] = []
    moments = {"scheduled": intended_ns}
    moments |= {kind: times[kind] for kind in ("sent", "acknowledged") if kind in times}
    spans = [span for at_ns in moments.values() if (span := _span(at_ns)) is not None]
    first = (min(low for low, _ in spans) - t0_ns) // _S
    last = (max(high for _, high in spans) - t0_ns) // _S
    axis = np.arange(first, last + 1, dtype=np.float64)
    for kind, at_ns in moments.items():
        counts = np.zeros(len(axis), np.int64)
        for block in blocks(len(at_ns)):
            at = at_ns[block]
            counts += np.bincount((at[at != 0] - t0_ns) // _S - first, minlength=len(axis))
        lines.append((axis, f"rate{{kind:{kind}}}", counts.astype(np.float64)))
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]]
    found = {stage: [] for stage in times}
    for rows in _whole_seconds(intended_ns, t0_ns):
        intended = intended_ns[rows]
        second = (intended - t0_ns) // _S
        for stage, at_ns in times.items():
            at = at_ns[rows]
            known = (at != 0) & (intended != 0)
            found[stage].append(
                _percentiles_by_group(second[known], (at - intended)[known], percentiles)
            )
    for stage, parts in found.items():
        t_s = np.concatenate([t for t, _ in parts])
        values = np.concatenate([value for _, value in parts], axis=1)
        for row, percentile in zip(values, percentiles, strict=True):
            name = f"latency_ms{{stage:{stage},q:{percentile_key(percentile)}}}"
            lines.append((t_s, name, row))
    return Timeline(
        np.concatenate([t for t, _, _ in lines]),
        np.repeat([name for _, name, _ in lines], [len(t) for t, _, _ in lines]),
        np.concatenate([value for _, _, value in lines]),
    )


def _span(at_ns: NsArray) -> tuple[int, int] | None:
    """First and last known time."""
    found = [at[at != 0] for at in (at_ns[block] for block in blocks(len(at_ns)))]
    ends = [(int(at.min()), int(at.max())) for at in found if at.size]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _whole_seconds(intended_ns: NsArray, t0_ns: int) -> Iterator[slice | NDArray[np.intp]]:
    """Rows in order of time, some `BLOCK_ROWS` of them at once, and all of a second."""
    n = len(intended_ns)
    order: NDArray[np.intp] | None = None
    if any((np.diff(intended_ns[max(b.start - 1, 0) : b.stop]) < 0).any() for b in blocks(n)):
        order = np.argsort(intended_ns, kind="stable")
    begin = 0
    while begin < n:
        end = min(begin + BLOCK_ROWS, n)
        newest = int(intended_ns[end - 1 if order is None else order[end - 1]])
        next_s = ((newest - t0_ns) // _S + 1) * _S + t0_ns
        end = int(np.searchsorted(intended_ns, next_s, sorter=order))
        yield slice(begin, end) if order is None else order[begin:end]
        begin = end


def _percentiles_by_group(
    group: NDArray[np.int64], value_ns: NDArray[np.int64], percentiles: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Groups in order, and nearest-rank percentiles `[len(percentiles), groups]` of each, ms."""
    if not len(group):
        return np.zeros(0), np.zeros((len(percentiles), 0))
    first, low = int(group.min()), int(value_ns.min())
    span = int(value_ns.max()) - low + 1
    packed = (int(group.max()) - first + 1) * span < 2**63
    if packed:
        # One number a row: sorting these is several times faster than sorting by two keys.
        value_ns = (group - first) * span + (value_ns - low)
        value_ns.sort()
        group = value_ns // span
    else:
        order = np.lexsort((value_ns, group))
        group, value_ns = group[order], value_ns[order]
    start = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    count = np.diff(start, append=len(group))
    fraction = np.asarray(percentiles)[:, None] / 100
    rank = np.maximum(np.ceil(fraction * count - 1e-9), 1).astype(np.int64)
    group, value_ns = group[start], value_ns[start + rank - 1]
    if packed:
        value_ns = value_ns - group * span + low
        group = group + first
    return group.astype(np.float64), value_ns / 1e6
