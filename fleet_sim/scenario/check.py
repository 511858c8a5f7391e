"""Rules that span several fields of a scenario: does it fit together?"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from fleet_sim.scenario.campaign import check_campaign
from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.load import check_load
from fleet_sim.scenario.model import Scenario
from fleet_sim.scenario.mqtt import check_mqtt
from fleet_sim.scenario.presets import OWN_KINDS
from fleet_sim.scenario.problems import Path, unknown_name
from fleet_sim.scenario.threshold import Threshold
from fleet_sim.scenario.units import Duration, shown

CheckThreshold: TypeAlias = Callable[[str, str], None]
"""Takes a metric and a condition; `ValueError` when they cannot be evaluated."""

MIN_WALL_PERIOD_S = 0.05
"""Between two messages of one vehicle. AWS IoT Core takes 100 a second of a connection."""
MAX_MESSAGES_PER_S = 1_000_000
"""Of the whole fleet, by the wall clock. Far above what one machine generates: it catches slips."""
MAX_VEHICLES = 1_000_000
MAX_CROSSINGS = 8_192
"""The tables of shortest paths grow with the square of it."""
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_SLACK_S = 1e-6
"""Sums of decimal fractions are off by less."""

Finding: TypeAlias = tuple[Path, str]
CheckPresets: TypeAlias = Callable[[Scenario], Iterable[Finding]]
"""Answers what does not fit in a scenario's own presets."""


def check(
    scenario: Scenario,
    *,
    catalog: Catalog | None = None,
    check_threshold: CheckThreshold | None = None,
) -> list[Finding]:
    """All that does not fit together: the path of the field, and one line that says why.

    `catalog` is looked at for the metrics of thresholds only: preset names are checked when the
    fields are read.
    """
    return [
        *_duplicates("fleet", "group", [group.group for group in scenario.fleet]),
        *_duplicates("phases", "name", [phase.name for phase in scenario.phases]),
        *_clock(scenario),
        *_city(scenario),
        *_fleet(scenario),
        *_presets(scenario, catalog),
        *_events(scenario),
        *_faults(scenario),
        *check_mqtt(scenario.mqtt),
        *check_campaign(scenario.campaign, scenario.fleet),
        *check_load(scenario.load, [phase.name for phase in scenario.phases]),
        *_thresholds(scenario, catalog, check_threshold),
    ]


def _duplicates(items: str, field: str, names: Sequence[str]) -> Iterator[Finding]:
    for i, name in enumerate(names):
        first = names.index(name)
        if first < i:
            yield (
                (items, i, field),
                f"{name!r} is the name of {items}[{first}] too (allowed: a name of its own)",
            )


def _clock(scenario: Scenario) -> Iterator[Finding]:
    start = scenario.clock.start
    if not _EARLIEST <= start <= _LATEST:
        allowed = f"{_EARLIEST.year}..{_LATEST.year}"
        yield ("clock", "start"), f"{start.isoformat()} is not allowed (allowed: {allowed})"


def _city(scenario: Scenario) -> Iterator[Finding]:
    if scenario.city.generate is None:
        return
    if scenario.city.osm is not None:
        yield (
            ("city", "osm"),
            "is given beside generate (allowed: one of the two; --set city.generate=null)",
        )
    columns, rows = scenario.city.generate.blocks
    crossings = (columns + 1) * (rows + 1)
    if crossings > MAX_CROSSINGS:
        yield (
            ("city", "generate", "blocks"),
            f"[{columns}, {rows}] is not allowed, it has {crossings} crossings "
            f"(allowed: at most {MAX_CROSSINGS} crossings, such as [89, 89])",
        )


def _fleet(scenario: Scenario) -> Iterator[Finding]:
    speed = scenario.clock.speed
    shortest = Duration(MIN_WALL_PERIOD_S * speed)
    for i, group in enumerate(scenario.fleet):
        low, high = group.soc
        if low > high:
            yield ("fleet", i, "soc"), f"[{low}, {high}] is not allowed (allowed: low before high)"
        period = group.telemetry.period_s
        if period < shortest * (1 - 1e-9):
            yield (
                ("fleet", i, "telemetry", "period"),
                f"{period} is not allowed at clock.speed {speed:g} (allowed: at least {shortest}, "
                "20 messages a second of wall time)",
            )
    if scenario.vehicles > MAX_VEHICLES:
        yield (
            ("fleet",),
            f"{scenario.vehicles} vehicles are not allowed (allowed: {MAX_VEHICLES} in all groups)",
        )
    rate = sum(group.count / group.telemetry.period_s for group in scenario.fleet) * speed
    if rate > MAX_MESSAGES_PER_S:
        yield (
            ("fleet",),
            f"{rate:.0f} messages a second of wall time are not allowed (allowed: at most "
            f"{MAX_MESSAGES_PER_S}; make period longer, or counts or clock.speed smaller)",
        )


def _presets(scenario: Scenario, catalog: Catalog | None) -> Iterator[Finding]:
    for kind in OWN_KINDS:
        own = getattr(scenario.presets, kind)
        built_in = getattr(catalog, kind) if catalog else ()
        for name in own:
            path: Path = ("presets", kind, name)
            if name in built_in:
                yield path, f"{name!r} is a built-in preset (allowed: another name, base: {name})"
            way = [name]
            while (base := own[way[-1]].base) in own and base not in way:
                way.append(base)
            if base == name:
                circle = " → ".join([*way, name])
                yield (*path, "base"), f"{circle} is a circle (allowed: bases that end)"


def _events(scenario: Scenario) -> Iterator[Finding]:
    attended: set[str] = set()
    for i, phase in enumerate(scenario.phases):
        event = phase.parking.event
        if event is None:
            continue
        path: Path = ("phases", i, "parking", "event")
        if event.attendance is not None:
            attended.add(event.at)
        elif event.leaves is None:
            yield path, "neither attendance nor leaves is given (allowed: one of them, or both)"
        if event.peak_before_s is not None:
            if event.attendance is None:
                yield (
                    (*path, "peak_before"),
                    f"{event.peak_before_s} is not allowed without attendance "
                    "(allowed: attendance beside it)",
                )
            if event.peak_before_s > phase.duration_s:
                yield (
                    (*path, "peak_before"),
                    f"{event.peak_before_s} is longer than the phase {phase.name!r} "
                    f"(allowed: 0s..{phase.duration_s})",
                )
        if event.leaves is not None and event.at not in attended:
            yield (
                (*path, "leaves"),
                f"{event.leaves} is not allowed: nobody has come to {event.at!r} by the phase "
                f"{phase.name!r} (allowed: after an event there with attendance)",
            )


def _faults(scenario: Scenario) -> Iterator[Finding]:
    end_s = scenario.duration_s
    end = Duration(round(end_s, 6))
    for i, fault in enumerate(scenario.faults):
        if (fault.radio is None) == (fault.broker is None):
            given = "neither radio nor broker is" if fault.radio is None else "radio and broker are"
            yield ("faults", i), f"{given} given (allowed: one of the two)"
        if fault.at_s >= end_s:
            yield (
                ("faults", i, "at"),
                f"{fault.at_s} is not before the end of the phases (allowed: less than {end})",
            )
        elif fault.at_s + fault.for_s > end_s + _SLACK_S:
            longest = Duration(round(end_s - fault.at_s, 6))
            yield (
                ("faults", i, "for"),
                f"{fault.for_s} from {fault.at_s} on ends after the phases, which last {end} "
                f"(allowed: at most {longest})",
            )


def _thresholds(
    scenario: Scenario, catalog: Catalog | None, check_threshold: CheckThreshold | None
) -> Iterator[Finding]:
    known = catalog.metrics if catalog else ()
    for metric, conditions in scenario.thresholds.items():
        name = metric.partition("{")[0]
        if known and name not in known:
            what = f"{shown(name)} is not a metric"
            yield ("thresholds", metric), unknown_name(what, name, known)
            continue
        yield from _tags(scenario, metric)
        if check_threshold is None:
            continue
        for i, rule in enumerate(conditions):
            condition = rule.threshold if isinstance(rule, Threshold) else rule
            try:
                check_threshold(metric, condition)
            except ValueError as error:
                yield ("thresholds", metric, i), " ".join(str(error).split())
                continue
            live = catalog.live_metrics if catalog else ()
            ends = isinstance(rule, Threshold) and rule.abort_on_fail
            if ends and live and metric.replace(" ", "") not in live:
                yield (
                    ("thresholds", metric, i, "abort_on_fail"),
                    f"{shown(metric)} is known only when the run is over "
                    f"(allowed: {', '.join(live)})",
                )


_TAG = re.compile(r"[{,]\s*(group|phase)\s*:\s*([^{}:,]*?)\s*(?=[,}])")


def _tags(scenario: Scenario, metric: str) -> Iterator[Finding]:
    """A metric of a part of the messages names one that there is."""
    there = {
        "group": [group.group for group in scenario.fleet],
        "phase": [phase.name for phase in scenario.phases],
    }
    if metric.startswith("load_") and scenario.load is None:
        yield ("thresholds", metric), "this scenario has no load (allowed: with load beside it)"
    for tag, name in _TAG.findall(metric):
        if name not in there[tag]:
            what = f"{shown(name)} is not a {tag} of this scenario"
            yield ("thresholds", metric), unknown_name(what, name, there[tag])


def related(path: Path, parents: Iterable[Path]) -> bool:
    """Whether a path is at, below or above one of others."""
    return any(path[: len(p)] == p[: len(path)] for p in parents)
