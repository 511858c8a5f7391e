"""What a load test is told: where the stack is, how many users when, and what must hold.

It travels as JSON to the processes of Locust, which import the files of `loadtests/`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fleet_sim.cloud import deploy
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.target import Target
from fleet_sim.engine.operate import find_target
from fleet_sim.measure.load import METRICS
from fleet_sim.measure.thresholds import check_threshold, parse_metric
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.load import Load, Mix
from fleet_sim.world import City

KINDS = ("drivers", "dashboards", "probes", "operators", "vehicles")
"""Of users: a weight of the mix each, and a file of `loadtests/`."""
BEGIN = "begin"
"""File in a run's `load/` that says when the first phase began, s since the epoch."""
READY = "ready"
"""File there that says that Locust is up and waits for it."""
CROWD_SHARE = 0.8
"""Of searches during an event that are for a stall near it (assumption)."""
CROWD_SPREAD_M = 250.0
"""Standard deviation of where they look, each way (assumption)."""
SPARE_VEHICLES = 2
DEFAULT_VEHICLES = 20
"""Connections of a process, when no scenario says how many users publish."""


class Hot(msgspec.Struct, frozen=True):
    """Where many look at the same time."""

    lat: float
    lon: float
    share: float
    """Of all searches, 0-1."""
    spread_m: float = CROWD_SPREAD_M


class Spell(msgspec.Struct, frozen=True):
    """A phase in wall seconds since the first one's beginning."""

    name: str
    start_s: float
    end_s: float
    users: int
    hot: tuple[Hot, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """A deployed stack, as far as users of it need to know."""

    target: Target
    api_url: str
    campaigns_url: str
    vehicle_policy: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """See the module."""

    place: Place
    run: str
    """Run id of what the load test itself publishes: no run of vehicles has it."""
    identities: str
    """Folder for the certificates of vehicles that publish."""
    spells: tuple[Spell, ...] = ()
    """Empty: as many users, for as long, as Locust's own options say."""
    spawn_rate: float = 1.0
    mix: dict[str, int] = {}
    """Weight by kind of user; a kind that is not in it keeps what its file says."""
    vehicles: int = DEFAULT_VEHICLES
    """Connections of each process."""
    thresholds: dict[str, tuple[str, ...]] = {}
    out: str = ""
    """Folder for `load.json` and the percentile tables; empty: nowhere."""
    waits: bool = False
    """Whether the spells begin when the file `begin` in `out` says so, and not at once."""

    def at(self, elapsed_s: float) -> Spell | None:
        """The spell of that moment; the first before it has begun, None after the last."""
        for spell in self.spells:
            if elapsed_s < spell.end_s:
                return spell
        return None


def load_run(run: str) -> str:
    """Run id of what a load test publishes. The processor takes the id that sorts last for the
    newest run, whose registry and clock are the map's: this one sorts before those of all runs."""
    return f"0load-{run}"


def place_of(target: Target, outputs: StackOutputs) -> Place:
    """Of a stack whose outputs are known."""
    return Place(target, outputs.api_url, outputs.campaigns_url, outputs.vehicle_policy)


def find_place(target: str, stack: str, region: str | None, state_dir: Path) -> Place:
    """Of the stack of that name, asked of CloudFormation. `TargetError`, `DeployError`."""
    found = find_target(state_dir, target, stack, region)
    return place_of(found, deploy.outputs(found))


def spells_of(scenario: Scenario, cities: Sequence[City]) -> tuple[Spell, ...]:
    """The scenario's phases with their users. Where an event's crowd comes, drivers search."""
    load = scenario.load or Load()
    found: list[Spell] = []
    begin_s = 0.0
    for phase in scenario.phases:
        end_s = begin_s + phase.duration_s / scenario.clock.speed
        event = phase.parking.event
        hot: tuple[Hot, ...] = ()
        if event is not None and event.attendance is not None:
            points = [city.degrees_of(event.at) for city in cities]
            hot = tuple(Hot(lat, lon, CROWD_SHARE / len(points)) for lat, lon in points)
        users = load.phases.get(phase.name, load.users)
        found.append(Spell(phase.name, begin_s, end_s, users, hot))
        begin_s = end_s
    return tuple(found)


def load_thresholds(conditions: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Those on what a load test measures."""
    return {
        metric: tuple(rules)
        for metric, rules in conditions.items()
        if parse_metric(metric)[0] in METRICS
    }


def parse_threshold(text: str) -> tuple[str, str]:
    """`load_ms{name:near_spots}: p(95)<500` → metric and condition. `ValueError` when it is none,
    or about something else than a load test measures."""
    metric, _, condition = text.rpartition(":")
    metric, condition = metric.strip(), condition.strip()
    if not metric:
        raise ValueError(f"threshold {text!r}: no ':' (allowed: METRIC: CONDITION)")
    check_threshold(metric, condition)
    if parse_metric(metric)[0] not in METRICS:
        allowed = ", ".join(METRICS)
        raise ValueError(f"threshold {text!r}: not a metric of load (allowed: {allowed})")
    return metric, condition


def vehicles_needed(mix: Mix, users: int, workers: int) -> int:
    """Connections of each process so that every user who publishes has its own, at most."""
    weights = sum(int(getattr(mix, kind)) for kind in KINDS)
    publish = mix.probes + mix.vehicles
    if not publish:
        return 0
    return math.ceil(users * publish / weights / workers) + SPARE_VEHICLES


def plan_of(
    scenario: Scenario, cities: Sequence[City], place: Place, run: str, folder: Path, out: Path
) -> Plan:
    """Of a scenario with a `load`. `folder`: for identities."""
    load = scenario.load or Load()
    spells = spells_of(scenario, cities)
    most = max(spell.users for spell in spells)
    return Plan(
        place=place,
        run=load_run(run),
        identities=str(folder.resolve()),
        spells=spells,
        spawn_rate=load.spawn_rate,
        mix={kind: getattr(load.mix, kind) for kind in KINDS},
        vehicles=vehicles_needed(load.mix, most, load.workers),
        thresholds=load_thresholds(scenario.conditions),
        out=str(out.resolve()),
    )
