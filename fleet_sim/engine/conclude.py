"""From what a run measured and collected to its summary and its folder."""

import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from fleet_sim.engine.backend import Collected
from fleet_sim.engine.costing import DEFAULT_REGION, cost_of, prices_of
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.hosts import qos0_of
from fleet_sim.engine.judge import Watched, generator_figures, judge
from fleet_sim.engine.leavings import Driven
from fleet_sim.engine.ota.record import campaign_growth, write_campaign
from fleet_sim.engine.progress import what_breaks
from fleet_sim.engine.record import parking_map, write_ledger, write_series
from fleet_sim.engine.snapshots import every_s
from fleet_sim.measure.audit import AuditResult, audit
from fleet_sim.measure.clock import ClockOffset, clock_offset
from fleet_sim.measure.histogram import PERCENTILES
from fleet_sim.measure.junit import junit_xml
from fleet_sim.measure.load import LoadResult
from fleet_sim.measure.maphistory import MapHistory
from fleet_sim.measure.ota_judge import Campaigned, judge_campaign
from fleet_sim.measure.stages import (
    NsArray,
    service_histogram,
    stage_histograms,
    stage_metrics,
    stage_times,
)
from fleet_sim.measure.submetrics import Parts, submetrics
from fleet_sim.measure.summary import (
    EXIT_CODES,
    Environment,
    Event,
    PhaseSpan,
    Run,
    Summary,
    to_json,
)
from fleet_sim.measure.thresholds import evaluate, percentiles_needed
from fleet_sim.scenario import Scenario
from fleet_sim.world import City

MOST_NOTES = 10
"""Notes of one kind in a report: the most frequent ones."""

ALWAYS = {"audit_unexplained": ("count==0",)}
"""Holds in every run, whatever the scenario asks for."""

ALWAYS_OF_CAMPAIGNS = {
    f"ota_{name}": ("count==0",)
    for name in ("false_success", "unbootable", "installed_twice", "attack_installed")
}
"""Holds in every update campaign."""

ALWAYS_OF_LOADS = {"load_problems": ("count==0",)}
"""Holds in every run with a load test."""

_VERSIONS = ("fleet-sim", "numpy", "mqtt5", "uvloop", "msgspec", "boto3", "ministack")


class Outcome(NamedTuple):
    """Everything a run left in memory."""

    run: str
    scenario: Scenario
    target: str
    started: dt.datetime
    wall_s: float
    driven: Driven
    cities: Sequence[City]
    vins: Sequence[str]
    """By a vehicle's index in the whole fleet."""
    watch: Watched
    collected: Collected | None
    collect_problem: str
    """Why `collected` is None although the target has a cloud; empty otherwise."""
    command: str
    region: str = DEFAULT_REGION
    """Whose prices are asked for."""
    campaign: Campaigned | None = None
    """Record and truth of an update campaign, if there was one."""
    load: LoadResult | None = None
    """What Locust found beside the run, if it ran."""


def conclude(
    outcome: Outcome, folder: RunFolder, on_part: Callable[[str], None] = lambda name: None
) -> Summary:
    """Audit, judge, and write everything but the HTML page. `on_part` is told what begins."""
    on_part("audit")
    driven, scenario = outcome.driven, outcome.scenario
    columns = driven.columns
    collected = outcome.collected
    audited = _audit(outcome)
    on_part("latencies")
    stored_ns = visible_ns = None
    if driven.probe is not None:
        stored_ns, visible_ns = driven.stored_ns, driven.visible_ns
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
    campaign = (
        judge_campaign(outcome.campaign, prices_of(outcome.region)) if outcome.campaign else None
    )
    thresholds = {
        **(ALWAYS if audited else {}),
        **(ALWAYS_OF_CAMPAIGNS if campaign else {}),
        **(ALWAYS_OF_LOADS if outcome.load else {}),
        **scenario.conditions,
    }
    wanted = {name: sorted(found) for name, found in percentiles_needed(thresholds).items()}
    metrics: dict[str, dict[str, float]] = {
        **stage_metrics(histograms, service, wanted),
        "connected_ratio": {"value": driven.connected / driven.vehicles},
        "reconnects": _reconnects(driven),
        "messages": {"count": len(columns.seq), "rate": _rate(driven)},
        **submetrics(thresholds, _parts(outcome), columns, times, wanted),
    }
    if collected is not None:
        metrics["failure_queue"] = {"count": len(collected.failures)}
    if driven.probe is not None:
        metrics["probe_timeouts"] = {"count": driven.probe.timed_out}
    if audited is not None:
        metrics |= audited.report.metrics()
    if campaign is not None:
        metrics |= campaign.metrics()
    if outcome.load is not None:
        metrics |= outcome.load.metrics
        metrics["load_problems"] = {"count": int(bool(outcome.load.report.problem))}
    map_, correct = parking_map(driven, outcome.cities, collected, scenario)
    if correct is not None:
        metrics |= correct.metrics()
    generator = generator_figures(driven)
    metrics["lateness_ms"] = driven.lateness.stats(
        sorted({*PERCENTILES, *wanted.get("lateness_ms", ())})
    )
    results = evaluate(thresholds, metrics)
    problem = outcome.collect_problem
    planned_s = scenario.duration_s / scenario.clock.speed
    verdict, reasons = judge(
        driven,
        generator,
        results,
        outcome.watch,
        problem,
        planned_s=planned_s,
        fate=audited.fate if audited else None,
    )
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
        ota=campaign,
        load=outcome.load.report if outcome.load is not None else None,
        phases=_phases(outcome),
        events=_events(outcome),
        environment=environment(),
        clock=_clock(times, metrics),
        cost=cost_of(scenario, driven, times, outcome.target, outcome.region, campaign),
    )
    folder.write("summary.json", to_json(summary))
    folder.write("junit.xml", junit_xml(summary))
    for stage, histogram in histograms.items():
        folder.write(f"latency_{stage}.hgrm", histogram.hgrm())
    if map_ is not None:
        folder.write("map.json", msgspec.json.encode(map_))
        if driven.shots:
            history = MapHistory(every_s(scenario.duration_s / scenario.clock.speed), driven.shots)
            folder.write("map_history.json", msgspec.json.encode(history))
    on_part("series")
    growth = campaign_growth(outcome.campaign, driven)
    write_series(driven, folder, times, growth, outcome.load.series if outcome.load else ())
    if outcome.campaign is not None:
        write_campaign(outcome.campaign, outcome.vins, folder)
    on_part("ledger")
    write_ledger(driven, audited, folder)
    return summary


# --- parts ----------------------------------------------------------------------------------------


def _audit(outcome: Outcome) -> AuditResult | None:
    """None when what the cloud recorded could not be read: then nothing can be said of it."""
    if outcome.collect_problem:
        return None
    driven, collected = outcome.driven, outcome.collected
    return audit(
        driven.columns,
        collected.archive if collected else None,
        collected.applied if collected else None,
        collected.newest if collected else None,
        outcome.vins,
        outages=outcome.watch.outages,
        qos0=qos0_of(outcome.scenario),
        t0_ns=driven.t0_ns,
    )


def _clock(
    times: Mapping[str, NsArray], metrics: Mapping[str, Mapping[str, float]]
) -> ClockOffset | None:
    """None for a target without a cloud that was asked."""
    stream_ns, stored_ns, visible_ns = (times.get(s) for s in ("stream", "stored", "visible"))
    if stream_ns is None or stored_ns is None or visible_ns is None:
        return None
    negative = {
        stage: int(metrics.get(f"latency_ms{{stage:{stage}}}", {}).get("negative", 0))
        for stage in times
    }
    return clock_offset(times["sent"], stream_ns, stored_ns, visible_ns, negative)


def _rate(driven: Driven) -> float:
    """Messages sent a second, over the time from the first phase's beginning to its end."""
    seconds = (driven.end_ns - driven.t0_ns) / 1e9
    sent = int(np.count_nonzero(driven.columns.sent_ns))
    return sent / seconds if seconds > 0 else 0.0


def _parts(outcome: Outcome) -> Parts:
    t0_ns = outcome.driven.t0_ns
    return Parts(
        {group.group: group.count for group in outcome.scenario.fleet},
        [
            (span.name, t0_ns + round(span.start_s * 1e9), t0_ns + round(span.end_s * 1e9))
            for span in _phases(outcome)
        ],
    )


def _phases(outcome: Outcome) -> list[PhaseSpan]:
    """Phases as far as they came."""
    driven, speed = outcome.driven, outcome.scenario.clock.speed
    ended_s = (driven.end_ns - driven.t0_ns) / 1e9
    spans = []
    begin = 0.0
    for phase in outcome.scenario.phases:
        if begin >= ended_s:
            break
        end = begin + phase.duration_s / speed
        spans.append(PhaseSpan(name=phase.name, start_s=begin, end_s=min(end, ended_s)))
        begin = end
    return spans


def _reconnects(driven: Driven) -> dict[str, float]:
    """Attempts to connect after the first phase began: all, and most in a second."""
    attempts = [sample.attempts for sample in driven.samples]
    return {"count": sum(attempts), "max": max(attempts, default=0)}


def _events(outcome: Outcome) -> list[Event]:
    speed = outcome.scenario.clock.speed
    events = [
        Event(
            t_s=fault.at_s / speed,
            end_s=(fault.at_s + fault.for_s) / speed,
            kind="fault",
            text=what_breaks(fault),
        )
        for fault in outcome.scenario.faults
        if fault.at_s / speed <= (outcome.driven.end_ns - outcome.driven.t0_ns) / 1e9
    ]
    driven = outcome.driven
    t0_ns = driven.t0_ns
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
        ended = (driven.end_ns - t0_ns) / 1e9
        events.append(Event(t_s=ended, kind="note", text=f"ended early: {outcome.watch.reason}"))
    if outcome.collected is not None:
        for problem, count in Counter(outcome.collected.problems).most_common(MOST_NOTES):
            events.append(Event(t_s=0.0, kind="note", text=f"collecting: {count} × {problem}"))
        for (source, reason), count in Counter(outcome.collected.failures).most_common(MOST_NOTES):
            text = f"failure queue: {count} × by the {source}: {reason}"
            events.append(Event(t_s=0.0, kind="note", text=text))
    for left in driven.lost:
        text = f"shard {left.share.number + 1} died, with {left.share.n} vehicles: {left.lost}"
        events.append(Event(t_s=(left.facts.end_ns - t0_ns) / 1e9, kind="note", text=text))
    missed: Counter[str] = Counter()
    for left in driven.shards:
        missed.update(left.facts.shot_problems)
    for reason, count in missed.most_common(MOST_NOTES):
        text = f"map during the run: {count} × {reason}, not recorded"
        events.append(Event(t_s=0.0, kind="note", text=text))
    if outcome.load is not None:
        events += _load_notes(outcome.load)
    if driven.probe is not None:
        for reason, count in Counter(driven.probe.problems).most_common(MOST_NOTES):
            events.append(Event(t_s=0.0, kind="note", text=f"API probe: {count} × {reason}"))
    return sorted(events, key=lambda event: event.t_s)


def _load_notes(load: LoadResult) -> list[Event]:
    report = load.report
    notes = [f"load test: {report.problem}"] if report.problem else []
    if report.cpu_warning:
        notes.append("load test: Locust took more than 90 % of a core; latencies may be its own")
    notes += [f"load test: {count} × {reason}" for reason, count in report.reasons.items()]
    return [Event(t_s=max(0.0, report.start_s), kind="note", text=text) for text in notes]


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
