"""From what a run measured and collected to its summary and its folder."""

import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.backend import Collected
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.probe import VisibleProbe
from fleet_sim.engine.record import parking_map, write_ledger, write_series
from fleet_sim.engine.shard import Shard
from fleet_sim.engine.watch import Stop, Watch
from fleet_sim.measure.audit import AuditResult, audit
from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.measure.junit import junit_xml
from fleet_sim.measure.stages import (
    service_histogram,
    stage_histograms,
    stage_metrics,
    stage_times,
)
from fleet_sim.measure.summary import (
    EXIT_CODES,
    Environment,
    Event,
    Generator,
    PhaseSpan,
    Run,
    Summary,
    Verdict,
    to_json,
)
from fleet_sim.measure.thresholds import ThresholdResult, evaluate, percentiles_needed
from fleet_sim.scenario import Scenario

LATE_NS = 50_000_000
"""A message opened later than this after its intended time counts as `late`."""
OVERLOADED_P99_NS = 1_000_000_000
"""Beyond this p99 lateness the figures are the generator's and not the target's."""

MOST_NOTES = 10
"""Notes of one kind in a report: the most frequent ones."""

ALWAYS = {"audit_unexplained": ("count==0",)}
"""Holds in every run, whatever the scenario asks for."""

_VERSIONS = ("fleet-sim", "numpy", "mqtt5", "uvloop", "msgspec", "boto3", "ministack")


class Outcome(NamedTuple):
    """Everything a run left in memory."""

    run: str
    scenario: Scenario
    target: str
    started: dt.datetime
    wall_s: float
    connected: int
    """Vehicles online when the first phase began."""
    shard: Shard
    probe: VisibleProbe | None
    watch: Watch
    collected: Collected | None
    collect_problem: str
    """Why `collected` is None although the target has a cloud; empty otherwise."""
    command: str


def conclude(outcome: Outcome, folder: RunFolder) -> Summary:
    """Audit, judge, and write everything but the HTML page."""
    shard, scenario = outcome.shard, outcome.scenario
    columns = shard.ledger.columns()
    collected = outcome.collected
    audited = _audit(outcome)
    stored_ns = visible_ns = None
    if outcome.probe is not None:
        stored_ns, visible_ns = outcome.probe.times(len(columns.seq))
    in_cloud = audited is not None and collected is not None
    times = stage_times(
        columns,
        stream_ns=audited.stream_ns if audited and in_cloud else None,
        processed_ns=audited.processed_ns if audited and in_cloud else None,
        stored_ns=stored_ns,
        visible_ns=visible_ns,
    )
    histograms = stage_histograms(columns.intended_ns, times)
    service = service_histogram(columns)
    thresholds = {**ALWAYS, **scenario.thresholds} if audited else dict(scenario.thresholds)
    wanted = {name: sorted(found) for name, found in percentiles_needed(thresholds).items()}
    metrics: dict[str, dict[str, float]] = {
        **stage_metrics(histograms, service, wanted),
        "connected_ratio": {"value": outcome.connected / shard.world.n},
        "messages": {"count": len(columns.seq), "rate": _rate(shard)},
    }
    if collected is not None:
        metrics["failure_queue"] = {"count": len(collected.failures)}
    if outcome.probe is not None:
        metrics["probe_timeouts"] = {"count": outcome.probe.timed_out}
    if audited is not None:
        metrics |= audited.report.metrics()
    map_, correct = parking_map(shard, collected, scenario)
    if correct is not None:
        metrics |= correct.metrics()
    generator = _generator(outcome)
    metrics["lateness_ms"] = {k: v for k, v in generator.lateness_ms.items() if v is not None}
    results = evaluate(thresholds, metrics)
    verdict, reasons = _verdict(outcome, generator, results)
    summary = Summary(
        run=Run(
            id=outcome.run,
            scenario=scenario.name,
            seed=scenario.seed,
            target=outcome.target,
            started=outcome.started.isoformat(timespec="seconds"),
            wall_s=outcome.wall_s,
            verdict=verdict,
            exit_code=EXIT_CODES[verdict],
            reasons=reasons,
            command=outcome.command,
        ),
        metrics={name: dict(stats) for name, stats in metrics.items()},
        thresholds=results,
        audit=audited.report if audited else None,
        generator=generator,
        accuracy=correct,
        phases=_phases(outcome),
        events=_events(outcome),
        environment=environment(),
    )
    folder.write("summary.json", to_json(summary))
    folder.write("junit.xml", junit_xml(summary))
    for stage, histogram in histograms.items():
        folder.write(f"latency_{stage}.hgrm", histogram.hgrm())
    if map_ is not None:
        folder.write("map.json", msgspec.json.encode(map_))
    write_series(shard, outcome.probe, folder, times)
    write_ledger(shard, audited, folder)
    return summary


# --- parts ----------------------------------------------------------------------------------------


def _audit(outcome: Outcome) -> AuditResult | None:
    """None when what the cloud recorded could not be read: then nothing can be said of it."""
    if outcome.collect_problem:
        return None
    shard, collected = outcome.shard, outcome.collected
    return audit(
        shard.ledger.columns(),
        collected.archive if collected else None,
        collected.applied if collected else None,
        collected.newest if collected else None,
        shard.world.vins,
        outages=outcome.watch.outages,
        qos0=shard.qos0,
        t0_ns=shard.t0_ns,
    )


def _verdict(
    outcome: Outcome, generator: Generator, results: list[ThresholdResult]
) -> tuple[Verdict, list[str]]:
    broken = [result.message for result in results if not result.passed]
    watch = outcome.watch
    if watch.stopped is Stop.TARGET:
        return "target_failed", [f"the run ended early: {watch.reason}"]
    if watch.stopped is Stop.INTERRUPTED:
        return "interrupted", ["interrupted by a signal"]
    if outcome.collect_problem:
        problem = outcome.collect_problem
        return "target_failed", [f"what the cloud recorded could not be read: {problem}", *broken]
    p99_ms = generator.lateness_ms.get("p99")
    if p99_ms is not None and p99_ms * 1e6 > OVERLOADED_P99_NS:
        return "generator_overloaded", [
            f"the generator could not hold the schedule: its p99 lateness is {p99_ms:.0f} ms "
            f"(allowed: {OVERLOADED_P99_NS / 1e6:.0f} ms), so the latencies are its own",
            *broken,
        ]
    return ("threshold_broken", broken) if broken else ("passed", [])


def _generator(outcome: Outcome) -> Generator:
    shard = outcome.shard
    columns = shard.ledger.columns()
    sent = int(np.count_nonzero(columns.sent_ns))
    lateness = (
        np.concatenate(shard.lateness_ns) if shard.lateness_ns else np.zeros(0, dtype=np.int64)
    )
    lags_ns = np.array([sample.loop_lag_ms * 1e6 for sample in shard.samples]).astype(np.int64)
    return Generator(
        vehicles=shard.world.n,
        connected=outcome.connected,
        scheduled=shard.scheduled_total,
        sent=sent,
        acknowledged=int(columns.acknowledged.sum()),
        late=int(np.count_nonzero(lateness > LATE_NS)),
        dropped=int(np.count_nonzero(columns.cause)),
        lateness_ms=_stats(lateness),
        cpu_s=shard.cpu_s,
        cpu_us_per_message=shard.cpu_s / sent * 1e6 if sent else None,
        event_loop_lag_ms=_stats(np.maximum(lags_ns, 0)),
    )


def _stats(values_ns: NDArray[np.int64]) -> dict[str, float | None]:
    histogram = LatencyHistogram()
    histogram.record_ns(values_ns)
    return dict(histogram.stats())


def _rate(shard: Shard) -> float:
    """Messages sent a second, over the time from the first phase's beginning to its end."""
    seconds = (shard.end_ns - shard.t0_ns) / 1e9
    sent = int(np.count_nonzero(shard.ledger.column("sent_ns")))
    return sent / seconds if seconds > 0 else 0.0


def _phases(outcome: Outcome) -> list[PhaseSpan]:
    """Phases as far as they came."""
    shard, speed = outcome.shard, outcome.scenario.clock.speed
    ended_s = (shard.end_ns - shard.t0_ns) / 1e9
    spans = []
    begin = 0.0
    for phase in outcome.scenario.phases:
        if begin >= ended_s:
            break
        end = begin + phase.duration_s / speed
        spans.append(PhaseSpan(name=phase.name, start_s=begin, end_s=min(end, ended_s)))
        begin = end
    return spans


def _events(outcome: Outcome) -> list[Event]:
    speed = outcome.scenario.clock.speed
    events = [
        Event(
            t_s=fault.at_s / speed,
            end_s=(fault.at_s + fault.for_s) / speed,
            kind="fault",
            text=f"radio {fault.radio.state}: {fault.radio.district}",
        )
        for fault in outcome.scenario.faults
        if fault.at_s / speed <= (outcome.shard.end_ns - outcome.shard.t0_ns) / 1e9
    ]
    t0_ns = outcome.shard.t0_ns
    events += [
        Event(
            t_s=(outage.start_ns - t0_ns) / 1e9,
            end_s=(outage.end_ns - t0_ns) / 1e9,
            kind="outage",
            text=outage.what,
        )
        for outage in outcome.watch.outages
    ]
    if outcome.watch.stopped and t0_ns:
        ended = (outcome.shard.end_ns - t0_ns) / 1e9
        events.append(Event(t_s=ended, kind="note", text=f"ended early: {outcome.watch.reason}"))
    if outcome.collected is not None:
        for problem, count in Counter(outcome.collected.problems).most_common(MOST_NOTES):
            events.append(Event(t_s=0.0, kind="note", text=f"collecting: {count} × {problem}"))
        for (source, reason), count in Counter(outcome.collected.failures).most_common(MOST_NOTES):
            text = f"failure queue: {count} × by the {source}: {reason}"
            events.append(Event(t_s=0.0, kind="note", text=text))
    if outcome.probe is not None:
        for reason, count in outcome.probe.problems.most_common(MOST_NOTES):
            events.append(Event(t_s=0.0, kind="note", text=f"API probe: {count} × {reason}"))
    return sorted(events, key=lambda event: event.t_s)


def environment() -> Environment:
    """Of this process."""
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"  # run from a source tree that nothing installed
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        cpus=os.cpu_count() or 1,
        versions=versions,
    )
