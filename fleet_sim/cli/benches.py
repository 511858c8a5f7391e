"""Commands that measure: `fleet-sim bench`."""

import os
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from fleet_sim.cli.common import Examples, fail, json_option, reports_errors
from fleet_sim.engine.verdict import ExitCode


@click.group()
def bench() -> None:
    """Measure fleet-sim itself on this machine."""


@bench.command(
    "physics",
    cls=Examples,
    examples="fleet-sim bench physics\nfleet-sim bench physics -n 5000 --json",
)
@click.option(
    "-n",
    "--vehicles",
    "sizes",
    multiple=True,
    type=click.IntRange(1),
    default=(1_000, 10_000, 100_000),
    show_default=True,
    help="Fleet size; may be repeated.",
)
@click.option("--seconds", default=20.0, show_default=True, help="Simulated time a size.")
@json_option
@reports_errors
def bench_physics(sizes: tuple[int, ...], seconds: float, as_json: bool) -> None:
    """CPU time of the world by part, us a vehicle and tick of 0.1 s, and memory a vehicle."""
    from fleet_sim.engine.bench.physics import bench_physics as measure
    from fleet_sim.engine.bench.physics import physics_table

    results = [measure(n, seconds) for n in sizes]
    if as_json:
        click.echo(msgspec.json.encode(results))
    else:
        Console(highlight=False, width=112).print(physics_table(results))  # figures, not dots


@bench.command(
    "parking",
    cls=Examples,
    examples="fleet-sim bench parking --quick\n"
    "fleet-sim bench parking --osm west-oakland.osm.bz2 --out docs/accuracy.md\n"
    "fleet-sim bench parking --learn",
)
@click.option("--quick", is_flag=True, help="One short case: some ten seconds.")
@click.option(
    "--osm",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Extract to drive in too; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the Markdown page here.")
@click.option(
    "--learn", is_flag=True, help="Instead: learn from four hours of passes where cars may park."
)
@json_option
@reports_errors
def bench_parking(
    quick: bool, osm: tuple[Path, ...], out: Path | None, learn: bool, as_json: bool
) -> None:
    """How right the processor's parking map is against the truth, by fleet and speed. No cloud."""
    from rich.table import Table

    from fleet_sim.engine.bench import kerb, parking, parking_page

    if learn:
        if quick or out is not None:
            raise click.UsageError("--learn goes with neither --quick nor --out")
        learned = [kerb.learn_kerb(case) for case in kerb.cases([str(path) for path in osm])]
        if as_json:
            click.echo(msgspec.json.encode(learned))
        else:
            click.echo(parking_page.markdown(parking_page.kerbs(learned)))
        return
    results = []
    console = Console(highlight=False, stderr=True)
    for case, ablate in parking_page.cases([str(path) for path in osm], quick=quick):
        results.append(parking.drive(case, ablate=ablate))
        console.print(*parking_page.rows(results)[-1], sep="  ")
    if out is not None:
        learned = [kerb.learn_kerb(case) for case in kerb.cases([str(path) for path in osm])]
        out.write_text(parking_page.page(results, learned))
    if as_json:
        click.echo(msgspec.json.encode(results))
        return
    tables = [parking_page.rows(results)]
    tables += [parking_page.parts(result) for result in results if len(result.scores) > 2]
    for heading, *body in tables:
        table = Table(*heading, box=None)
        for row in body:
            table.add_row(*row)
        Console(highlight=False).print(table)


@bench.command(
    "report",
    cls=Examples,
    examples="fleet-sim bench report\nfleet-sim bench report --vehicles 10000 --duration 1000s",
)
@click.option("--vehicles", type=click.IntRange(1), default=2_000, show_default=True)
@click.option("--duration", metavar="TIME", default="10m", show_default=True)
@click.option("--period", metavar="TIME", default="1s", show_default=True, help="Of a vehicle.")
@click.option("--stalls", type=click.IntRange(1), default=5_000, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Keep the made-up run folder there; new or empty.",
)
@json_option
@reports_errors
def bench_report(
    vehicles: int, duration: str, period: str, stalls: int, out: Path | None, as_json: bool
) -> None:
    """What the end of a made-up run takes, from merging ledgers to the report: time, memory, and
    the size of the page."""
    import tempfile

    from rich.table import Table

    from fleet_sim.engine.bench.made_up import Size
    from fleet_sim.engine.bench.report import measure
    from fleet_sim.report.render import render
    from fleet_sim.scenario import Duration

    seconds = {}
    for option, text in (("--duration", duration), ("--period", period)):
        try:
            seconds[option] = float(Duration.parse(text))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
    with tempfile.TemporaryDirectory() as folder:
        size = Size(vehicles, seconds["--duration"], seconds["--period"], stalls)
        found = measure(out or Path(folder) / "run", size, render)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for name, value in msgspec.structs.asdict(found).items():
        if name != "parts":
            click.echo(
                f"{name:16} {value:,.2f}" if isinstance(value, float) else f"{name:16} {value:,}"
            )
    table = Table("part", "wall", "CPU", "peak memory", box=None)
    for name, part in found.parts.items():
        table.add_row(
            name, f"{part.wall_s:.2f} s", f"{part.cpu_s:.2f} s", f"{part.peak_mb:,.0f} MB"
        )
    Console(highlight=False).print(table)


@bench.command("processor", cls=Examples, examples="fleet-sim bench processor --json")
@click.option("--seconds", type=click.IntRange(10), default=60, show_default=True)
@json_option
@reports_errors
def bench_processor(seconds: int, as_json: bool) -> None:
    """CPU of the telemetry processor, µs a record of 20 samples, without its services."""
    from fleet_sim.engine.bench.processor import bench_processor as measure

    found = measure(seconds)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for name, value in msgspec.structs.asdict(found).items():
        click.echo(f"{name:16} {value:.2f}" if isinstance(value, float) else f"{name:16} {value}")


@bench.command(
    "tls", cls=Examples, examples="fleet-sim bench tls\nfleet-sim bench tls -n 500 --json"
)
@click.option("-n", "--vehicles", type=click.IntRange(1), default=200, show_default=True)
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Of a vehicle in a round.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@json_option
@reports_errors
def bench_tls(vehicles: int, messages: int, rounds: int, as_json: bool) -> None:
    """CPU of connecting, returning and a message: plain, TLS full and by ticket, WebSocket.

    Starts a mosquitto on this machine, which must be installed.
    """
    from fleet_sim.engine.bench.tls import bench_tls as measure
    from fleet_sim.engine.bench.tls import tls_table

    costs = measure(vehicles, messages, rounds)
    if as_json:
        click.echo(msgspec.json.encode(costs))
    else:
        Console(highlight=False).print(tls_table(costs))


@bench.command(
    "ci",
    cls=Examples,
    examples="""
    fleet-sim bench ci
    fleet-sim bench ci --runs 0 --markdown bench.md
    fleet-sim bench ci --write
    """,
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("tests/bench/baseline.json"),
    show_default=True,
    help="What to compare with.",
)
@click.option("--write", is_flag=True, help="Make this the baseline instead of comparing.")
@click.option(
    "--runs", type=click.IntRange(0), default=9, show_default=True, help="Of the whole pipeline."
)
@click.option(
    "--rounds", type=click.IntRange(5), default=11, show_default=True, help="Of its parts."
)
@click.option(
    "--markdown",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the table there too; GITHUB_STEP_SUMMARY gets it, if it is set.",
)
@click.option(
    "--plant",
    metavar="SHARE",
    default="0%",
    help="Slow everything down by so much (20%), to see that it is found.",
)
@json_option
@reports_errors
def bench_ci(
    baseline: Path,
    write: bool,
    runs: int,
    rounds: int,
    page: Path | None,
    plant: str,
    as_json: bool,
) -> None:
    """CPU of parts and of the whole pipeline, and its latency by stage, against a baseline.

    Everything is a ratio to a calibration loop, so that another machine's speed is no regression.
    Exit codes: 0 no regression, 99 slower, 2 no baseline, 3 a run failed. Uploads nothing.
    """
    from rich.table import Table

    from fleet_sim.engine.bench import ci
    from fleet_sim.engine.bench.ci_run import BenchError
    from fleet_sim.scenario import Fraction

    try:
        planted = float(Fraction.parse(plant))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--plant") from None
    if planted and write:
        raise click.UsageError("--write: not of a planted slowdown (allowed: without --plant)")
    try:
        base = None if write else ci.read_baseline(baseline)
    except ci.BaselineError as error:
        fail(ExitCode.INVALID, str(error))
    try:
        found = ci.measure(
            runs=runs,
            rounds=rounds,
            plant=planted,
            on_progress=lambda line: click.echo(line, err=True),
        )
    except BenchError as error:
        fail(ExitCode.TARGET, str(error))
    rows = ci.compare_all(found, base)
    text = ci.markdown(rows, found, base)
    step = os.environ.get("GITHUB_STEP_SUMMARY")
    if page is not None:
        page.write_text(text, encoding="utf-8")
    if step:
        with Path(step).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    if as_json:
        click.echo(msgspec.json.encode({"bench": found, "rows": rows}))
    else:
        head, *body = ci.told(rows)
        table = Table(*head, box=None)
        for cells in body:
            table.add_row(*cells)
        console = Console(highlight=False, width=112)
        console.print(table)
        console.print(f"calibration loop: {found.calibration_s * 1e3:.1f} ms of CPU")
        for name in ci.missing(found, base) if base else ():
            console.print(f"not measured: {name}")
        for sentence in ci.unlike(found, base) if base else ():
            console.print(sentence)
    if write:
        ci.write_baseline(baseline, found)
        click.echo(f"baseline: {baseline}", err=True)
    slower = any(row.compared and row.compared.verdict == "slower" for row in rows)
    sys.exit(ExitCode.THRESHOLD if slower else ExitCode.PASSED)


@bench.command(
    "engine",
    cls=Examples,
    examples="""
    fleet-sim bench engine
    fleet-sim bench engine --vehicles 1000 --rounds 1 --only ours-fixed --only floor
    fleet-sim bench engine --write docs/performance.md
    """,
)
@click.option("--vehicles", type=click.IntRange(50), default=3_000, show_default=True)
@click.option(
    "--duration", metavar="TIME", default="8s", show_default=True, help="Measured, each round."
)
@click.option("--period", metavar="TIME", default="1s", show_default=True, help="Of a vehicle.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--broker",
    metavar="[mosquitto|embedded|mqtt://HOST:PORT]",
    help="Default: mosquitto where it is installed, else the embedded one.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Of these contestants; may be repeated."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the JSON and the plot.")
@click.option(
    "--write",
    "page",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Put table and plot into this page.",
)
@json_option
@reports_errors
def bench_engine(
    vehicles: int,
    duration: str,
    period: str,
    rounds: int,
    broker: str | None,
    only: tuple[str, ...],
    out: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """What a message costs this engine, a bare loop, aiomqtt, awscrt and Locust, side by side.

    Each in a process of its own against the same broker, in rounds that take turns. Missing
    libraries are left out: pip install 'fleet-sim[bench]'.
    """
    import datetime as dt

    from fleet_sim.engine.bench.engine import brokers
    from fleet_sim.engine.bench.engine import page as pages
    from fleet_sim.engine.bench.engine.contest import NAMES, Setting, contest
    from fleet_sim.scenario import Duration

    for name in only:
        if name not in NAMES:
            raise click.BadParameter(f"{name!r} (allowed: {', '.join(NAMES)})", param_hint="--only")
    seconds = {}
    for option, text in (("--duration", duration), ("--period", period)):
        try:
            seconds[option] = float(Duration.parse(text))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
    with brokers.running(broker, vehicles) as at:
        setting = Setting(
            at.host,
            at.port,
            at.name,
            vehicles=vehicles,
            period_s=seconds["--period"],
            duration_s=seconds["--duration"],
            rounds=rounds,
            names=only or NAMES,
        )
        found = contest(setting, f"{dt.date.today()}", lambda line: click.echo(line, err=True))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "engine.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
        pages.draw(found, out / "engine.png")
    if page is not None:
        try:
            pages.write_page(found, page)
        except ValueError as error:
            fail(ExitCode.INVALID, str(error))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        Console(highlight=False).print(pages.table(found), *pages.remarks(found), sep="\n")
