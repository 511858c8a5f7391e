"""Locust against a deployed stack, with the load tests that travel with the package."""

import importlib.util
import os
import sys

import click

from fleet_sim.cli.common import Examples, fail
from fleet_sim.engine.verdict import ExitCode
from fleet_sim.resources import data_dir

KINDS = ("drivers", "dashboards", "probes", "operators", "vehicles")


@click.command(
    cls=Examples,
    # Everything that is not ours is Locust's, its own --help excepted: `locust --help` has that.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples="""
    fleet-sim load -u 200 -r 20 -t 2m --html load.html --results load/
    fleet-sim load --only drivers -u 200 -t 2m --threshold 'load_ms{name:near_spots}: p(95)<500'
    fleet-sim load --scenario my.yaml --results load/
    fleet-sim load --scenario my.yaml --target aws --stack-name fleet-sim --region eu-central-1
    fleet-sim load --web
    """,
)
@click.option(
    "--only",
    type=click.Choice(KINDS),
    multiple=True,
    help="Users of this kind and no others; again for more kinds.",
)
@click.option("--web", is_flag=True, help="Locust's page in place of a headless test.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF LOCUST]...")
def load(only: tuple[str, ...], web: bool, arguments: tuple[str, ...]) -> None:
    """Users of a deployed stack: drivers, dashboards, probes, operators, MQTT vehicles.

    It is `locust -f loadtests/ --headless`, with every other option as Locust's or as
    docs/load.md tells, and with its exit codes: 99 when a threshold is broken. --only and --web
    come first.
    """
    if importlib.util.find_spec("locust") is None:
        fail(
            ExitCode.INVALID,
            "load: locust is not installed (allowed: pip install 'fleet-sim[load]')",
        )
    folder = data_dir("loadtests")
    files = [str(folder / f"{kind}.py") for kind in only] or [str(folder)]
    command = [sys.executable, "-m", "locust", "-f", ",".join(files)]
    if not web:
        command.append("--headless")
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *arguments])  # its signals and its exit code are Locust's
