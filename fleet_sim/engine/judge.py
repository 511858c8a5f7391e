"""The verdict of a run, and the load generator's own figures that it rests on."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.leavings import Driven, Ended
from fleet_sim.engine.watch import Stop
from fleet_sim.measure.audit import Outage
from fleet_sim.measure.fates import Fate
from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.measure.ledger import DropCause
from fleet_sim.measure.summary import Generator, ShardFigures, Verdict
from fleet_sim.measure.thresholds import ThresholdResult

OVERLOADED_P99_NS = 1_000_000_000
"""Beyond this p99 lateness the figures are the generator's and not the target's."""


class Watched(Protocol):
    """What is asked of the `Watch` when the run is over."""

    stopped: Stop | None
    reason: str
    outages: list[Outage]


def judge(
    driven: Driven,
    generator: Generator,
    results: Sequence[ThresholdResult],
    watch: Watched,
    collect_problem: str,
    *,
    planned_s: float,
    fate: NDArray[np.uint8] | None,
) -> tuple[Verdict, list[str]]:
    """How the run ended, and why, the most important reason first. `planned_s`: wall time of all
    phases; `fate` [messages]: what the audit found, if there was one."""
    broken = [result.message for result in results if not result.passed]
    died = [_death(driven, left, fate) for left in driven.lost]
    overload = _overload(driven, generator, watch, planned_s)
    if watch.stopped is Stop.TARGET:
        return "target_failed", [f"the run ended early: {watch.reason}", *died]
    if watch.stopped is Stop.INTERRUPTED:
        return "interrupted", ["interrupted by a signal", *died]
    if collect_problem:
        why = f"what the cloud recorded could not be read: {collect_problem}"
        return "target_failed", [why, *died, *overload, *broken]
    if died or overload:
        held = sum(result.passed for result in results)
        if held:
            overload.append(
                f"{held} of {len(results)} thresholds held, of a load that was not the scenario's"
            )
        return "generator_overloaded", [*died, *overload, *broken]
    if watch.stopped is Stop.THRESHOLD:
        return "threshold_broken", [f"the run ended early: {watch.reason}", *broken]
    return ("threshold_broken", broken) if broken else ("passed", [])


def _overload(driven: Driven, generator: Generator, watch: Watched, planned_s: float) -> list[str]:
    """What says that the generator could not hold the schedule; empty when it did."""
    reasons = []
    p99_ms = generator.lateness_ms.get("p99")
    skipped = int(np.count_nonzero(driven.columns.cause == DropCause.LATE_SKIPPED))
    if watch.stopped is Stop.OVERLOAD:
        reasons.append(f"it gave up: {watch.reason}")
    if p99_ms is not None and p99_ms * 1e6 > OVERLOADED_P99_NS:
        allowed = f"allowed: {OVERLOADED_P99_NS / 1e6:.0f} ms"
        reasons.append(f"its p99 lateness is {p99_ms:.0f} ms ({allowed})")
    if skipped:
        reasons.append(f"it dropped {skipped:,} messages that it could not open in time")
    if not reasons:
        return []
    wall_s = (driven.end_ns - driven.t0_ns) / 1e9
    asked = driven.scheduled / planned_s
    held = generator.sent / wall_s if wall_s else 0.0
    busiest = max(part.cpu_s / wall_s if wall_s else 0.0 for part in generator.shards)
    first = (
        f"the generator could not hold the schedule: asked {asked:,.0f} messages/s, held "
        f"{held:,.0f}, CPU of its busiest process {busiest:.0%}; {reasons[0]}, so the latencies "
        "are its own"
    )
    return [first, *reasons[1:]]


def _death(driven: Driven, left: Ended, fate: NDArray[np.uint8] | None) -> str:
    """What a dead shard did not do, apart from what may have become of what it did."""
    mine = np.isin(driven.columns.vehicle, left.share.ids)
    open_ = mine & (driven.columns.cause == DropCause.SHARD_LOST)
    if fate is not None:  # what the cloud has, it has
        open_ &= fate == Fate.DROPPED
    unknown = int(np.count_nonzero(open_))
    took = "its ledger went with it: " if left.ledger_lost else ""
    at_s = (left.facts.end_ns - left.facts.t0_ns) / 1e9
    return (
        f"shard {left.share.number + 1} of {left.share.of} died {at_s:.1f} s into the run "
        f"({left.lost}) and its {left.share.n:,} vehicles with it: "
        f"{left.facts.scheduled - left.messages:,} messages were not offered; {took}of {unknown:,} "
        "it is not known whether they arrived"
    )


def generator_figures(driven: Driven) -> Generator:
    """Of all shards together, and of each."""
    columns = driven.columns
    sent = int(np.count_nonzero(columns.sent_ns))
    lags_ns = np.array([sample.loop_lag_ms * 1e6 for sample in driven.samples]).astype(np.int64)
    lags = LatencyHistogram()
    lags.record_ns(np.maximum(lags_ns, 0))
    return Generator(
        vehicles=driven.vehicles,
        connected=driven.connected,
        scheduled=driven.scheduled,
        not_offered=driven.not_offered,
        sent=sent,
        acknowledged=int(columns.acknowledged.sum()),
        late=driven.late,
        # What a dead shard had was not given up: the audit says what became of it.
        dropped=int(np.count_nonzero(~np.isin(columns.cause, (0, DropCause.SHARD_LOST)))),
        lateness_ms=dict(driven.lateness.stats()),
        cpu_s=driven.cpu_s,
        cpu_us_per_message=driven.cpu_s / sent * 1e6 if sent else None,
        event_loop_lag_ms=dict(lags.stats()),
        shards=[_figures(left) for left in driven.shards],
    )


def _figures(left: Ended) -> ShardFigures:
    return ShardFigures(
        vehicles=left.share.n,
        connected=left.facts.connected,
        messages=left.messages,
        sent=left.sent,
        cpu_s=left.facts.cpu_s,
        rss_mb=left.facts.rss_mb,
        lateness_ms=dict(left.lateness.stats()),
        died=left.lost,
    )
