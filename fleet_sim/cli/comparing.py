"""`fleet-sim compare`: two runs beside each other."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from fleet_sim.cli.common import Examples, fail, json_option, reports_errors
from fleet_sim.engine.verdict import ExitCode


@click.command(
    cls=Examples,
    examples="""
    fleet-sim compare reports/before reports/after
    fleet-sim compare reports/before reports/after --html difference.html
    fleet-sim compare A B --fail-on 'latency_ms{stage:acknowledged}.p95>10%' --fail-on undelivered
    """,
)
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    metavar="FIGURE[>N%]",
    help="Exit with 99 when B is shown to be worse there (by more than N % of A): worse (any "
    "figure), METRIC or METRIC.AGGREGATE. May be repeated.",
)
@click.option(
    "--block",
    metavar="TIME",
    help="Length of the blocks that are resampled, longer than what happens at once; default: a "
    "24th of the run, 2s to 30s.",
)
@click.option(
    "--percentile",
    "percentiles",
    multiple=True,
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    help="Instead of 50, 95 and 99; may be repeated.",
)
@click.option(
    "--confidence",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.5, 0.999),
    help="Of the intervals.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page there.")
@json_option
@reports_errors
def compare(
    run_a: Path,
    run_b: Path,
    conditions: tuple[str, ...],
    block: str | None,
    percentiles: tuple[float, ...],
    confidence: float,
    html: Path | None,
    as_json: bool,
) -> None:
    """What differs between two finished runs, and whether it is more than noise.

    Percentiles by stage, throughput, loss and the map's accuracy, with intervals of the difference.
    """
    from fleet_sim.measure.compare import PERCENTILES, broken, parse_condition
    from fleet_sim.report import compare as comparing
    from fleet_sim.report.compare_page import difference_text, headline, page, terminal
    from fleet_sim.report.folder import read
    from fleet_sim.scenario import Duration

    try:
        wanted = [parse_condition(text) for text in conditions]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fail-on") from None
    try:
        block_s = None if block is None else float(Duration.parse(block))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--block") from None
    try:
        a, b = read(run_a), read(run_b)
        found = comparing.compare_runs(
            a,
            b,
            block_s=block_s,
            percentiles=percentiles or PERCENTILES,
            confidence=confidence,
        )
        worse = [row for condition in wanted for row in broken(condition, found.rows)]
        if html is not None:
            html.write_text(page(found, a, b), encoding="utf-8")
    except ValueError as error:
        fail(ExitCode.INVALID, str(error))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        console = Console(highlight=False)
        console.print(headline(found))
        for doubt in found.doubts:
            console.print(f"beware: {doubt}", soft_wrap=True, markup=False)
        for line in terminal(found):
            console.print(line, soft_wrap=True)
    for row in dict.fromkeys((row.name, row.aggregate) for row in worse):
        shown = next(r for r in found.rows if (r.name, r.aggregate) == row)
        click.echo(f"worse: {shown.name} {shown.aggregate}: {difference_text(shown)}", err=True)
    sys.exit(ExitCode.THRESHOLD if worse else ExitCode.PASSED)
