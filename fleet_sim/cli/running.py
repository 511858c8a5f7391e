"""Commands that run a scenario, and the report of a run."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console

from fleet_sim.cli.common import (
    STATE_DIR,
    Examples,
    fail,
    json_option,
    region_option,
    reports_errors,
    scenario_argument,
    set_option,
    stack_option,
    target_option,
)
from fleet_sim.engine.verdict import ExitCode

if TYPE_CHECKING:
    from fleet_sim.scenario import Scenario
    from fleet_sim.transport import Kind

MAX_BACKFILL_DAYS = 90
"""As long as the archive keeps raw telemetry (`ArchiveDays`)."""
DEFAULT = click.core.ParameterSource.DEFAULT


@click.command(
    cls=Examples,
    examples="""
    fleet-sim run scenarios/parking_surge.yaml
    fleet-sim run scenarios/parking_surge.yaml --vehicles 50 --duration 30s
    fleet-sim run my.yaml --set fleet.taxis.telemetry.period=5s --out reports/slow
    fleet-sim run my.yaml --target aws --stack fleet-sim --region eu-central-1
    fleet-sim run my.yaml --target mqtt://127.0.0.1:1883
    fleet-sim run my.yaml --broker embedded
    fleet-sim run my.yaml --shards 4 --source-ip 127.0.1.0/28
    fleet-sim run my.yaml --prometheus 127.0.0.1:9464
    fleet-sim run my.yaml --shards auto --cluster ray --ray-address 10.0.0.5:6379
    """,
)
@scenario_argument
@click.option(
    "--target",
    default="local",
    show_default=True,
    help="local, aws (aws:443), or a broker without a cloud behind it: mqtt://HOST:PORT (several "
    "with commas), mqtts://, ws://HOST:PORT/PATH, wss://.",
)
@click.option(
    "--broker",
    metavar="[embedded|mqtt://HOST:PORT]",
    help="A broker without a cloud behind it, in place of --target; embedded starts one.",
)
@click.option(
    "--transport",
    type=click.Choice(["native", "aiomqtt", "awscrt", "awscrt-sigv4", "memory"]),
    default="native",
    show_default=True,
    help="The vehicles' MQTT client: ours, or a library's (pip install 'fleet-sim[transports]').",
)
@click.option("--vehicles", type=click.IntRange(1), help="Scale the fleet to this many.")
@click.option("--duration", metavar="TIME", help="Scale the phases to last this long, as 2m.")
@set_option
@click.option(
    "--connect-timeout",
    default="2m",
    show_default=True,
    metavar="TIME",
    help="How long all vehicles together may take to connect.",
)
@click.option(
    "--shards",
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Processes that share the vehicles; auto: one a core.",
)
@click.option(
    "--cluster",
    type=click.Choice(["ray"]),
    help="Run the shards as actors of a Ray cluster, on any number of machines.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Of the cluster; default: RAY_ADDRESS, else one is started on this machine.",
)
@click.option(
    "--source-ip",
    "source_ips",
    default="",
    metavar="ADDRESS,…",
    help="Connect from these addresses, or a range such as 127.0.1.0/28, in turn.",
)
@click.option(
    "--prometheus",
    metavar="HOST:PORT",
    envvar="FLEET_SIM_PROMETHEUS",
    help="Serve metrics for Prometheus there while it runs (docs/metrics.md).",
)
@click.option(
    "--otlp",
    is_flag=True,
    envvar="FLEET_SIM_OTLP",
    help="Send metrics to an OpenTelemetry collector while it runs, as OTEL_* variables say.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page of Markdown there; GITHUB_STEP_SUMMARY gets it too, if it is set.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: reports/RUN.")
@stack_option
@region_option
@json_option
@reports_errors
def run(
    scenario: Path,
    target: str,
    broker: str | None,
    transport: "Kind",
    vehicles: int | None,
    duration: str | None,
    overrides: tuple[str, ...],
    connect_timeout: str,
    shards: str,
    cluster: str | None,
    ray_address: str | None,
    source_ips: str,
    prometheus: str | None,
    otlp: bool,
    markdown: Path | None,
    out: Path | None,
    stack: str,
    region: str | None,
    as_json: bool,
) -> None:
    """Run SCENARIO against a target and write a report.

    Exit codes: 0 passed, 99 threshold broken, 2 invalid scenario or arguments, 3 target unreachable
    or deployment failed, 4 the generator could not hold the schedule, 130 interrupted.
    """
    if broker and click.get_current_context().get_parameter_source("target") is not DEFAULT:
        raise click.UsageError("--broker: a target of its own (allowed: --broker or --target)")
    if broker in ("local", "aws"):
        raise click.BadParameter(
            f"{broker!r} is no broker (allowed: embedded, mqtt://HOST:PORT)",
            param_hint="--broker",
        )
    from fleet_sim.engine.options import Options
    from fleet_sim.engine.run import run_scenario
    from fleet_sim.report.markdown import write_markdown
    from fleet_sim.report.render import render
    from fleet_sim.report.terminal import summary_table

    options = Options(
        target=broker or target,
        transport=transport,
        vehicles=vehicles,
        duration=duration,
        overrides=overrides,
        connect_timeout=connect_timeout,
        shards=shards,
        cluster=cluster,
        ray_address=ray_address,
        source_ips=source_ips,
        out=out,
        stack=stack,
        region=region,
        state_dir=STATE_DIR,
        prometheus=prometheus,
        otlp=otlp,
    )
    # With --json stdout belongs to the document.
    console = Console(stderr=as_json, highlight=False)
    summary, folder = run_scenario(scenario, options, console)
    page = render(folder)
    write_markdown(summary, markdown, os.environ.get("GITHUB_STEP_SUMMARY"))
    console.print(summary_table(summary))
    console.print(f"report: {page}", soft_wrap=True)
    if as_json:
        click.echo(msgspec.json.encode(summary))
    sys.exit(summary.run.exit_code)


@click.command(
    cls=Examples,
    examples="""
    fleet-sim generate scenarios/parking_surge.yaml --out data/surge
    fleet-sim generate my.yaml --vehicles 10000 --duration 24h --set fleet.taxis.telemetry.period=1m
    fleet-sim generate my.yaml --backfill 30d
    """,
)
@scenario_argument
@click.option("--out", type=click.Path(path_type=Path), help="A new or empty folder.")
@click.option(
    "--backfill",
    metavar="TIME",
    help="Instead put so many days of survey drives, as 30d, into the archive of --target, and "
    "count their trends.",
)
@target_option
@stack_option
@region_option
@click.option("--vehicles", type=click.IntRange(1), help="Scale the fleet to this many.")
@click.option("--duration", metavar="TIME", help="Scale the phases to last this long, as 24h.")
@click.option("--sonar", is_flag=True, help="With the ultrasonic samples: most of the size.")
@set_option
@reports_errors
def generate(
    scenario: Path,
    out: Path | None,
    backfill: str | None,
    target: str,
    stack: str,
    region: str | None,
    vehicles: int | None,
    duration: str | None,
    sonar: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write a dataset with no network, faster than real time: telemetry, truth and trips."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from fleet_sim.engine.generate import generate as write
    from fleet_sim.engine.options import Options, load_for_run

    loaded = load_for_run(
        scenario, Options(vehicles=vehicles, duration=duration, overrides=overrides)
    )
    if backfill is not None:
        _write_history(loaded, backfill, out, (target, stack, region))
        return
    if out is None:
        raise click.UsageError("--out: missing (allowed: a new or empty folder, or --backfill)")
    columns = (BarColumn(), TextColumn("{task.percentage:.0f} % of {task.total:,.0f} s"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=loaded.duration_s)
        done = write(
            loaded, out, sonar=sonar, on_progress=lambda now, _: bar.update(task, completed=now)
        )
    for name, rows in done.rows.items():
        size = (out / f"{name}.parquet").stat().st_size
        click.echo(f"{out / name}.parquet  {rows:,} rows  {size / 1e6:,.1f} MB")
    if done.simulated_s < loaded.duration_s:
        held, whole = done.simulated_s, loaded.duration_s
        fail(ExitCode.INTERRUPTED, f"interrupted: the files hold {held:,.0f} of {whole:,.0f} s")


def _write_history(
    loaded: "Scenario", backfill: str, out: Path | None, where: tuple[str, str, str | None]
) -> None:
    from fleet_sim.engine.history import write_history
    from fleet_sim.scenario import Duration

    if out is not None:
        raise click.UsageError("--out: not together with --backfill, which writes to --target")
    try:
        days = Duration.parse(backfill) / 86_400
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--backfill") from None
    if not (1 <= days <= MAX_BACKFILL_DAYS and days == int(days)):
        raise click.BadParameter(
            f"{backfill!r} (allowed: 1d..{MAX_BACKFILL_DAYS}d, whole days)", param_hint="--backfill"
        )
    target, stack, region = where
    console = Console(highlight=False)
    write_history(STATE_DIR, target, stack, region, loaded, int(days), console)


@click.command(
    cls=Examples,
    examples="""
    fleet-sim rehearse my.yaml
    fleet-sim rehearse my.yaml --vehicles 10000 --set campaign.firmware.attack=replay
    """,
)
@scenario_argument
@click.option("--vehicles", type=click.IntRange(1), help="Scale the fleet to this many.")
@set_option
@json_option
@reports_errors
def rehearse(
    scenario: Path, vehicles: int | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Drive the scenario's update campaign over its fleet with no network and no cloud.

    The campaign service's own rules decide. Exit code 0: nobody was left without a bootable image,
    without an end, or with a status that is not the truth, and the scenario's thresholds about the
    campaign hold; else 99.
    """
    from fleet_sim.engine.options import Options, load_for_run
    from fleet_sim.engine.ota.fleet import rehearse as drive
    from fleet_sim.measure.ota import campaign_thresholds
    from fleet_sim.report.ota import campaign_lines

    loaded = load_for_run(scenario, Options(vehicles=vehicles, overrides=overrides))
    outcome = drive(loaded)
    results = campaign_thresholds(loaded.conditions, outcome)
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        for line in campaign_lines(outcome):
            click.echo(line)
        for result in results:
            click.echo(f"{'passed' if result.passed else 'FAILED'} {result.message}")
    held = outcome.sound and all(result.passed for result in results)
    sys.exit(ExitCode.PASSED if held else ExitCode.THRESHOLD)


@click.command(cls=Examples, examples="fleet-sim report reports/latest")
@click.argument("run_dir", type=click.Path(path_type=Path))
@reports_errors
def report(run_dir: Path) -> None:
    """Render the HTML report of a finished run again."""
    from fleet_sim.report.render import render

    try:
        click.echo(f"{render(run_dir)}")
    except ValueError as error:
        fail(ExitCode.INVALID, str(error))
