"""What a fleet would cost on AWS."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from fleet_sim.cli.common import Examples, fail, json_option, reports_errors
from fleet_sim.engine.verdict import ExitCode

DEFAULT = click.core.ParameterSource.DEFAULT
_OF_A_FLEET = ("vehicles", "rate", "size", "hours")


@click.command(
    cls=Examples,
    examples="""
    fleet-sim cost reports/latest
    fleet-sim cost reports/latest --region eu-central-1
    fleet-sim cost --vehicles 10000 --rate 1 --size 600 --hours 720
    fleet-sim cost --vehicles 1000000 --rate 0.1 --stream on-demand --basic-ingest --json
    fleet-sim cost --vehicles 10000 --hours 720 --updates 10000 --firmware 500
    """,
)
@click.argument("run_dir", required=False, type=click.Path(path_type=Path))
@click.option("--vehicles", type=click.IntRange(1, 100_000_000), help="Connected all the time.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages a second of one vehicle.",
)
@click.option(
    "--size",
    type=click.IntRange(1, 128 * 1024),
    default=350,
    show_default=True,
    help="Bytes of a message's payload.",
)
@click.option(
    "--hours",
    type=click.FloatRange(0, 100_000, min_open=True),
    default=730.0,
    show_default=True,
    help="How long; 730 is a month.",
)
@click.option("--region", help="AWS region of the prices; default: the run's, or us-east-1.")
@click.option(
    "--stream",
    type=click.Choice(["provisioned", "on-demand"]),
    default="provisioned",
    show_default=True,
    help="Mode of the Kinesis stream.",
)
@click.option("--basic-ingest", is_flag=True, help="Vehicles publish straight to the rule.")
@click.option(
    "--architecture",
    type=click.Choice(["x86_64", "arm64"]),
    default="x86_64",
    show_default=True,
    help="Processor of the functions.",
)
@click.option(
    "--lambda-ms",
    type=click.FloatRange(1, 900_000),
    help="Duration of an invocation; default: as measured, else 60 ms and 0.5 ms a record.",
)
@click.option("--api-rate", type=click.FloatRange(0), default=0.0, help="API requests a second.")
@click.option("--updates", type=click.FloatRange(0), default=0.0, help="Vehicles updated.")
@click.option("--firmware", type=click.FloatRange(0), default=0.0, help="MB of one download.")
@json_option
@reports_errors
def cost(
    run_dir: Path | None,
    vehicles: int | None,
    rate: float,
    size: int,
    hours: float,
    region: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """What RUN_DIR, or a fleet that is described, would cost on AWS; what would lower it; and which
    quotas it would meet. Exit code 99: one of them is exceeded."""
    from fleet_sim.measure.cost import RegionError, Workload, estimate
    from fleet_sim.report.cost import cost_table

    if run_dir is not None:
        work, priced = _of_run(run_dir)
        region = region or priced
    elif vehicles is None:
        raise click.UsageError("neither RUN_DIR nor --vehicles is given (allowed: one of the two)")
    else:
        work = Workload(
            vehicles=vehicles, messages_per_s=vehicles * rate, sizes={size: 1.0}, hours=hours
        )
    changed = {_FIELDS[name]: _scaled(name, value) for name, value in asked.items() if _given(name)}
    work = msgspec.structs.replace(work, **changed)
    try:
        found = estimate(work, region or "us-east-1")
    except RegionError as error:
        fail(ExitCode.INVALID, f"--region: {error}")
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(cost_table(found))
    sys.exit(ExitCode.THRESHOLD if any(n.hit for n in found.capacity) else ExitCode.PASSED)


_FIELDS = {
    "stream": "stream",
    "basic_ingest": "basic_ingest",
    "architecture": "architecture",
    "lambda_ms": "lambda_ms",
    "api_rate": "api_per_s",
    "updates": "updates",
    "firmware": "firmware_bytes",
}


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is not DEFAULT


def _scaled(name: str, value: Any) -> Any:
    if name == "firmware":
        return value * 1e6
    return value.replace("-", "_") if name == "stream" else value


def _of_run(run_dir: Path) -> tuple[Any, str]:
    """Its workload and region."""
    from fleet_sim.report.folder import read

    given = [f"--{name}" for name in _OF_A_FLEET if _given(name)]
    if given:
        raise click.UsageError(f"{given[0]}: a run has its own (allowed: RUN_DIR or --vehicles)")
    try:
        summary = read(run_dir).summary
    except ValueError as error:
        fail(ExitCode.INVALID, str(error))
    if summary.cost is None:
        fail(
            ExitCode.INVALID,
            f"{run_dir / 'summary.json'}: cost: null, nothing was sent or an older fleet-sim wrote "
            "it (allowed: --vehicles and --rate in place of a run)",
        )
    return summary.cost.workload, summary.cost.bill.region
