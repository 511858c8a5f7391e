"""Commands about scenario files."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from fleet_sim.cli.common import (
    Examples,
    json_option,
    reports_errors,
    scenario_argument,
    set_option,
)
from fleet_sim.engine.verdict import ExitCode


@click.command(cls=Examples, examples="fleet-sim validate scenarios/*.yaml")
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
@reports_errors
def validate(scenarios: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check scenario files: one line a problem, with file, line, field, value, what is allowed."""
    from fleet_sim.engine.catalog import load_scenario
    from fleet_sim.engine.drawing import build_city
    from fleet_sim.engine.preflight import PreflightError
    from fleet_sim.scenario import ScenarioError

    broken = 0
    for path in scenarios:
        try:
            loaded = load_scenario(path, overrides=overrides)
            if loaded.city.osm is not None:
                build_city(path, loaded)
        except (ScenarioError, PreflightError) as error:
            broken += 1
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
        else:
            vehicles, phases = loaded.vehicles, len(loaded.phases)
            click.echo(
                f"{path}: ok: {vehicles} vehicle{'s' * (vehicles != 1)}, "
                f"{phases} phase{'s' * (phases != 1)}, {loaded.duration_s:g} s"
            )
    sys.exit(ExitCode.INVALID if broken else ExitCode.PASSED)


@click.command(
    cls=Examples,
    examples="""
    fleet-sim city scenarios/parking_surge.yaml
    fleet-sim city scenarios/parking_surge.yaml --after 60s --out surge.svg
    """,
)
@scenario_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("city.html"),
    show_default=True,
    help="An .svg, or an .html that pans and zooms.",
)
@click.option("--after", metavar="TIME", help="Draw the vehicles too, after so much of the run.")
@set_option
@reports_errors
def city(scenario: Path, out: Path, after: str | None, overrides: tuple[str, ...]) -> None:
    """Draw the city of SCENARIO: streets, one-ways, signals, stalls, venues and districts."""
    from fleet_sim.engine.drawing import draw

    click.echo(draw(scenario, out, overrides=overrides, after=after))


@click.command(
    cls=Examples,
    examples="""
    fleet-sim schema > scenario.schema.json
    fleet-sim schema --summary > summary.schema.json
    """,
)
@click.option("--summary", is_flag=True, help="Of summary.json, which a run leaves.")
def schema(summary: bool) -> None:
    """Print the JSON Schema of scenario files, for editors and other tools."""
    from fleet_sim.engine.catalog import scenario_schema
    from fleet_sim.measure.schema import summary_schema

    document = summary_schema() if summary else scenario_schema()
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


@click.command(
    cls=Examples,
    examples="""
    fleet-sim presets
    fleet-sim presets vehicles
    fleet-sim presets radios --json
    fleet-sim presets vehicles --scenario scenarios/winter_vans.yaml
    """,
)
@click.argument(
    "kind",
    required=False,
    type=click.Choice(["vehicles", "radios", "receivers", "sensors"]),
)
@click.option(
    "--scenario", type=click.Path(path_type=Path), help="List the presets of this scenario too."
)
@set_option
@json_option
@click.option("--markdown", is_flag=True, help="The tables of docs/presets.md.")
@reports_errors
def presets(
    kind: str | None,
    scenario: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    markdown: bool,
) -> None:
    """List the built-in presets with their figures and where those come from."""
    from fleet_sim.engine.catalog import load_scenario
    from fleet_sim.engine.presets import KINDS, presets_json, presets_markdown, presets_tables

    kinds = KINDS if kind is None else (kind,)
    loaded = None if scenario is None else load_scenario(scenario, overrides=overrides)
    if as_json:
        click.echo(msgspec.json.encode(presets_json(kinds, loaded)))
    elif markdown:
        click.echo(presets_markdown(), nl=False)
    else:
        console = Console(highlight=False)
        for each in kinds:
            table, sources = presets_tables(each, loaded)
            console.print(table)
            for line in sources:
                console.print(f"[bold]{line.partition(':')[0]}[/]:{line.partition(':')[2]}")
            console.print()


@click.command(cls=Examples, examples="fleet-sim init my.yaml")
@click.argument("path", type=click.Path(path_type=Path), default=Path("scenario.yaml"))
@reports_errors
def init(path: Path) -> None:
    """Write a commented starter scenario to PATH (default: scenario.yaml)."""
    from fleet_sim.scenario import write_starter

    write_starter(path)
    click.echo(f"{path} written; try: fleet-sim run {path}")
