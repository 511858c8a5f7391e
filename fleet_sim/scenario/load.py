"""People who use the API while the fleet runs: the part `load` of a scenario."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta, field

from fleet_sim.scenario.problems import Path, unknown_name
from fleet_sim.scenario.strict import Strict
from fleet_sim.scenario.units import shown

Weight = Annotated[int, Meta(ge=0, le=1_000)]
Users = Annotated[int, Meta(ge=0, le=100_000)]


class Mix(Strict, frozen=True, kw_only=True):
    """Who the users are: weights, of which a user of each kind has its share."""

    drivers: Weight = 80
    """Look for parking near where they go."""
    dashboards: Weight = 15
    """Ask for the map and the counts again and again, by ETag."""
    probes: Weight = 5
    """Publish a marked observation and wait until the API shows it."""
    operators: Weight = 0
    """Look after update campaigns, and run small ones that start no vehicle; calls are signed."""
    vehicles: Weight = 0
    """Publish telemetry over MQTT by our transport, in a process of their own."""


class Load(Strict, frozen=True, kw_only=True):
    """Locust against the API while the fleet runs."""

    users: Users = 100
    """At the same time, in phases that `phases` does not name; 0 is nobody."""
    spawn_rate: Annotated[float, Meta(gt=0, le=10_000)] = 10.0
    """Users a second of wall time that come, or go, when their number changes."""
    phases: dict[str, Users] = field(default_factory=dict)
    """Phase to the number of users in it."""
    mix: Mix = field(default_factory=Mix)
    """Who they are."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that share the users; with more than one, another one leads them."""

    @property
    def anybody(self) -> bool:
        """Whether there are users at any time."""
        return bool(self.users or any(self.phases.values()))


def check_load(load: Load | None, phases: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """What does not fit: the path of the field, and one line that says why."""
    if load is None:
        return
    for name in load.phases:
        if name not in phases:
            what = f"{shown(name)} is not a phase of this scenario"
            yield ("load", "phases", name), unknown_name(what, name, phases)
    mix = load.mix
    if not any((mix.drivers, mix.dashboards, mix.probes, mix.operators, mix.vehicles)):
        yield ("load", "mix"), "all weights are 0 (allowed: at least one above 0)"
