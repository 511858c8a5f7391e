"""Metrics of a part of the messages: a group's, a phase's. Computed for the thresholds that ask."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.blocks import blocks
from fleet_sim.measure.histogram import PERCENTILES, LatencyHistogram
from fleet_sim.measure.ledger import LedgerColumns
from fleet_sim.measure.stages import NsArray, acknowledged_ns, latencies_ns
from fleet_sim.measure.thresholds import canonical_metric, parse_metric


class Parts(NamedTuple):
    """Into which the messages of a run fall."""

    groups: Mapping[str, int]
    """Vehicles by group, in the order of the fleet."""
    phases: Sequence[tuple[str, int, int]]
    """Name, begin and end, ns since the epoch."""

    def rows(
        self, columns: LedgerColumns, group: str | None, phase: str | None
    ) -> NDArray[np.bool_]:
        """`[n]` messages of a group's vehicles that were due in a phase; None: of any."""
        chosen = np.ones(len(columns.seq), np.bool_)
        if group is not None:
            ends = np.cumsum(list(self.groups.values()))
            which = np.searchsorted(ends, columns.vehicle, side="right")
            chosen &= which == list(self.groups).index(group)
        if phase is not None:
            due = np.zeros_like(chosen)
            for name, begin_ns, end_ns in self.phases:
                if name == phase:
                    due |= (columns.intended_ns >= begin_ns) & (columns.intended_ns < end_ns)
            chosen &= due
        return chosen


def submetrics(
    asked: Iterable[str],
    parts: Parts,
    columns: LedgerColumns,
    times: Mapping[str, NsArray],
    percentiles: Mapping[str, Sequence[float]],
) -> dict[str, dict[str, float]]:
    """By canonical name, those of `asked` that have a `group` or a `phase`, as far as they were
    measured: `latency_ms`, `service_ms` and `messages`."""
    found: dict[str, dict[str, float]] = {}
    for text in asked:
        name, tags = parse_metric(text)
        group, phase = tags.pop("group", None), tags.pop("phase", None)
        stage = tags.pop("stage", None)
        if tags or (group is None and phase is None):
            continue
        if group is not None and group not in parts.groups:
            continue
        key = canonical_metric(text)
        chosen = _chosen(parts, columns, group, phase)
        if name == "messages" and stage is None:
            found[key] = {"count": sum(len(rows) for rows in chosen)}
            continue
        if name == "latency_ms" and stage is not None and stage in times:
            since_ns, at_ns = columns.intended_ns, times[stage]
        elif name == "service_ms" and stage == "acknowledged":
            since_ns, at_ns = columns.sent_ns, acknowledged_ns(columns)
        else:
            continue
        histogram = LatencyHistogram()
        histogram.record_parts(latencies_ns(since_ns[rows], at_ns[rows]) for rows in chosen)
        found[key] = histogram.stats(sorted({*PERCENTILES, *percentiles.get(key, ())}))
    return found


def _chosen(
    parts: Parts, columns: LedgerColumns, group: str | None, phase: str | None
) -> Iterator[NDArray[np.intp]]:
    """Numbers of the rows, block by block."""
    for block in blocks(len(columns.seq)):
        yield np.flatnonzero(parts.rows(columns.at(block), group, phase)) + block.start
