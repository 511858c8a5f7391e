"""The command line: parse, call, exit code."""

import click

from fleet_sim import __version__
from fleet_sim.cli import benches, comparing, costs, load, operating, running, scenarios


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fleet-sim")
def main() -> None:
    """Drive a fleet of virtual vehicles over MQTT, and audit what became of every message."""


for _command in (
    running.run,
    running.generate,
    running.rehearse,
    running.report,
    comparing.compare,
    scenarios.validate,
    scenarios.init,
    scenarios.city,
    scenarios.presets,
    scenarios.schema,
    operating.up,
    operating.status,
    operating.deploy,
    operating.provision,
    operating.down,
    load.load,
    benches.bench,
    costs.cost,
):
    main.add_command(_command)
