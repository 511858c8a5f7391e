"""Commands about the backend and who may connect to it."""

import sys
from pathlib import Path

import click
from rich.console import Console

from fleet_sim.cli.common import (
    STATE_DIR,
    Examples,
    json_option,
    region_option,
    reports_errors,
    set_option,
    stack_option,
    target_option,
)
from fleet_sim.engine.verdict import ExitCode


@click.command(cls=Examples, examples="fleet-sim up\nfleet-sim run scenarios/smoke.yaml")
@stack_option
@reports_errors
def up(stack: str) -> None:
    """Start the local AWS in the background and deploy to it; `run` then uses it."""
    from fleet_sim.engine.operate import up as start

    start(STATE_DIR, stack, Console(highlight=False))


@click.command(cls=Examples, examples="fleet-sim down")
@reports_errors
def down() -> None:
    """Stop the local AWS that `up` started. Its data is gone with it."""
    from fleet_sim.engine.operate import down as stop

    stop(STATE_DIR, Console(highlight=False))


@click.command(
    cls=Examples,
    examples="""
    fleet-sim deploy --target aws --stack fleet-sim --region eu-central-1
    fleet-sim deploy --parameter StreamShards=2
    fleet-sim deploy --city scenarios/parking_surge.yaml
    """,
)
@target_option
@stack_option
@region_option
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Template parameter."
)
@click.option(
    "--city",
    metavar="SCENARIO",
    type=click.Path(path_type=Path),
    help="Upload this scenario's stalls and streets too (a run uploads its own).",
)
@click.option("--delete", is_flag=True, help="Delete the stacks and what they hold instead.")
@reports_errors
def deploy(
    target: str,
    stack: str,
    region: str | None,
    parameters: tuple[str, ...],
    city: Path | None,
    delete: bool,
) -> None:
    """Create or update the stacks by change set, showing each resource."""
    from fleet_sim.engine.operate import deploy_stacks

    pairs: dict[str, str] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} (allowed: NAME=VALUE)", param_hint="--parameter")
        pairs[name] = value
    console = Console(highlight=False)
    deploy_stacks(STATE_DIR, target, stack, region, pairs, console, delete=delete, city=city)


@click.command(
    cls=Examples,
    examples="""
    fleet-sim provision --target mqtts://127.0.0.1:8883 --vehicles 1000 --broker-out broker/
    fleet-sim provision my.yaml --target mqtts://broker.example:8883 --ca-out ca.pem
    fleet-sim provision scenarios/parking_surge.yaml --target aws --stack fleet-sim
    """,
)
@click.argument("scenario", required=False, type=click.Path(path_type=Path))
@click.option(
    "--target", required=True, help="local, aws, mqtts://HOST:PORT or wss://HOST:PORT/PATH."
)
@click.option(
    "--vehicles", type=click.IntRange(1), help="How many; default: as SCENARIO says, else 1000."
)
@set_option
@click.option(
    "--ca-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also put the certificate that the broker must trust here.",
)
@click.option(
    "--broker-out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also make a certificate and key for the broker itself, in this folder.",
)
@click.option(
    "--broker-ca",
    metavar="FILE",
    help="Who vouches for the broker: a PEM file, or system; default: our own authority.",
)
@stack_option
@region_option
@reports_errors
def provision(
    scenario: Path | None,
    target: str,
    vehicles: int | None,
    overrides: tuple[str, ...],
    ca_out: Path | None,
    broker_out: Path | None,
    broker_ca: str | None,
    stack: str,
    region: str | None,
) -> None:
    """Give vehicles their certificates once; runs against the same target then use them.

    Without SCENARIO they are those of a fleet of one group.
    """
    from fleet_sim.engine.options import Options, load_for_run
    from fleet_sim.engine.provisioning import Order, vins_of
    from fleet_sim.engine.provisioning import provision as make

    loaded = None
    if scenario is not None:
        loaded = load_for_run(scenario, Options(vehicles=vehicles, overrides=overrides))
    elif overrides:
        raise click.BadParameter("needs a SCENARIO (allowed: without it)", param_hint="--set")
    order = Order(
        target=target,
        vehicles=vehicles,
        ca_out=ca_out,
        broker_out=broker_out,
        broker_ca=broker_ca,
        stack=stack,
        region=region,
        state_dir=STATE_DIR,
    )
    make(order, vins_of(loaded, vehicles), Console(highlight=False))


@click.command(cls=Examples, examples="fleet-sim status\nfleet-sim status --target aws --json")
@target_option
@stack_option
@region_option
@json_option
@reports_errors
def status(target: str, stack: str, region: str | None, as_json: bool) -> None:
    """Show what is deployed and where."""
    from fleet_sim.engine.operate import show_status

    healthy = show_status(
        STATE_DIR, target, stack, region, Console(highlight=False), as_json=as_json
    )
    sys.exit(ExitCode.PASSED if healthy else ExitCode.TARGET)
