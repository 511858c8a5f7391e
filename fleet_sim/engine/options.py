"""What the command line adds to a scenario, and the scenario with it."""

import datetime as dt
import secrets
from pathlib import Path
from typing import NamedTuple

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import Duration, Scenario, scale_fleet, with_duration
from fleet_sim.transport import Kind


class Options(NamedTuple):
    """What the command line adds to the scenario."""

    target: str = "local"
    vehicles: int | None = None
    duration: str | None = None
    overrides: tuple[str, ...] = ()
    connect_timeout: str = "2m"
    """For all vehicles together."""
    out: Path | None = None
    stack: str = "fleet-sim"
    region: str | None = None
    state_dir: Path = Path(".fleet-sim")
    shards: str = "1"
    """Processes that share the vehicles, or `auto`: one a core."""
    cluster: str | None = None
    """`ray`: shards are actors of a Ray cluster."""
    ray_address: str | None = None
    """Of the cluster; default: what `RAY_ADDRESS` says, else one on this machine."""
    source_ips: str = ""
    """Addresses to connect from, or a range of them."""
    transport: Kind = "native"
    prometheus: str | None = None
    """Address of an endpoint that Prometheus scrapes while the run goes on."""
    otlp: bool = False
    """Send figures to an OpenTelemetry collector while the run goes on."""


def new_run_id() -> str:
    """Sorts by start time, and no two runs share one."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def load_for_run(path: Path, options: Options) -> Scenario:
    """The scenario with the options' overrides, vehicles and duration."""
    scenario = load_scenario(path, overrides=options.overrides)
    if options.vehicles is not None:
        scenario = scale_fleet(scenario, options.vehicles)
    if options.duration is not None:
        scenario = with_duration(scenario, seconds("--duration", options.duration))
    return scenario


def seconds(option: str, text: str) -> float:
    """Of an option's duration; `PreflightError` when it is none."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise PreflightError(f"{option}: {error}") from None
