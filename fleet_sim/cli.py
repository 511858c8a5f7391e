"""The command line: parse, call, exit code."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
import msgspec
from rich.console import Console

from fleet_sim import __version__
from fleet_sim.engine.verdict import ExitCode

if TYPE_CHECKING:
    from fleet_sim.transport import Kind

DEFAULT = click.core.ParameterSource.DEFAULT
P = ParamSpec("P")
R = TypeVar("R")

STATE_DIR = Path(".fleet-sim")
"""Where `up` keeps the local AWS, and `run` its vehicles' identities."""


def fail(code: ExitCode, message: str) -> NoReturn:
    """Say on stderr what is wrong, one line a problem, and exit."""
    for line in message.splitlines():
        click.echo(f"error: {line}", err=True)
    sys.exit(code)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can mend into a line and an exit code. Others are bugs, and
    keep their traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        # Imported here: `--help` should not wait for NumPy and boto3.
        from fleet_sim.cloud.identities import IdentityError
        from fleet_sim.cloud.local import LocalAwsError
        from fleet_sim.cloud.package import PackageError
        from fleet_sim.cloud.registry import RegistryError
        from fleet_sim.cloud.stacks import DeployError
        from fleet_sim.cloud.target import TargetError
        from fleet_sim.engine.bench_engine.contest import ContestError
        from fleet_sim.engine.embedded import EmbeddedBrokerError
        from fleet_sim.engine.preflight import PreflightError
        from fleet_sim.scenario import ScenarioError
        from fleet_sim.transport import ConnectError, TransportError

        try:
            return command(*args, **kwargs)
        except (ScenarioError, PreflightError, TransportError) as error:
            fail(ExitCode.INVALID, str(error))
        except (
            TargetError,
            DeployError,
            PackageError,
            LocalAwsError,
            IdentityError,
            RegistryError,
            EmbeddedBrokerError,
            ContestError,
            ConnectError,
        ) as error:
            fail(ExitCode.TARGET, str(error))
        except KeyboardInterrupt:
            fail(ExitCode.INTERRUPTED, "interrupted")

    return wrapped


class Examples(click.Command):
    """A command whose help ends with examples, kept line by line."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fleet-sim")
def main() -> None:
    """Drive a fleet of virtual vehicles over MQTT, and audit what became of every message."""


stack_option = click.option("--stack", default="fleet-sim", show_default=True, help="Stack prefix.")
region_option = click.option("--region", help="AWS region; default: the AWS configuration's.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field, such as fleet.taxis.count=100. May be repeated.",
)
scenario_argument = click.argument("scenario", type=click.Path(path_type=Path))


@main.command(
    cls=Examples,
    examples="""
    fleet-sim run scenarios/parking_surge.yaml
    fleet-sim run scenarios/parking_surge.yaml --vehicles 50 --duration 30s
    fleet-sim run my.yaml --set fleet.taxis.telemetry.qos=0 --out reports/qos0
    fleet-sim run my.yaml --target aws --stack fleet-sim --region eu-central-1
    fleet-sim run my.yaml --target mqtt://127.0.0.1:1883
    fleet-sim run my.yaml --broker embedded
    fleet-sim run my.yaml --shards 4 --source-ip 127.0.1.0/28
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
    from fleet_sim.engine.run import Options, run_scenario
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
    )
    # With --json stdout belongs to the document.
    console = Console(stderr=as_json, highlight=False)
    summary, folder = run_scenario(scenario, options, console)
    page = render(folder)
    console.print(summary_table(summary))
    console.print(f"report: {page}", soft_wrap=True)
    if as_json:
        click.echo(msgspec.json.encode(summary))
    sys.exit(summary.run.exit_code)


@main.command(
    cls=Examples,
    examples="""
    fleet-sim generate scenarios/parking_surge.yaml --out data/surge
    fleet-sim generate my.yaml --vehicles 10000 --duration 24h --set fleet.taxis.telemetry.period=1m
    """,
)
@scenario_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A new or empty folder."
)
@click.option("--vehicles", type=click.IntRange(1), help="Scale the fleet to this many.")
@click.option("--duration", metavar="TIME", help="Scale the phases to last this long, as 24h.")
@click.option("--sonar", is_flag=True, help="With the ultrasonic samples: most of the size.")
@set_option
@reports_errors
def generate(
    scenario: Path,
    out: Path,
    vehicles: int | None,
    duration: str | None,
    sonar: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write a dataset with no network, faster than real time: telemetry, truth and trips."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from fleet_sim.engine.generate import generate as write
    from fleet_sim.engine.run import Options, load_for_run

    loaded = load_for_run(
        scenario, Options(vehicles=vehicles, duration=duration, overrides=overrides)
    )
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


@main.command(
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

    All vehicles get the job at once. Exit code 0: nobody was left without a bootable image, without
    an end, or with a status that is not the truth; else 99.
    """
    from fleet_sim.engine.ota_fleet import rehearse as drive
    from fleet_sim.engine.run import Options, load_for_run

    loaded = load_for_run(scenario, Options(vehicles=vehicles, overrides=overrides))
    outcome = drive(loaded)
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        for name, value in msgspec.structs.asdict(outcome).items():
            click.echo(
                f"{name:<18} {value:g}" if isinstance(value, float) else f"{name:<18} {value}"
            )
    sys.exit(ExitCode.PASSED if outcome.sound else ExitCode.THRESHOLD)


@main.group()
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
    from fleet_sim.engine.bench import bench_physics as measure
    from fleet_sim.engine.bench import physics_table

    results = [measure(n, seconds) for n in sizes]
    if as_json:
        click.echo(msgspec.json.encode(results))
    else:
        Console(highlight=False, width=112).print(physics_table(results))  # figures, not dots


@bench.command(
    "parking",
    cls=Examples,
    examples="fleet-sim bench parking --quick\n"
    "fleet-sim bench parking --osm west-oakland.osm.bz2 --out docs/accuracy.md",
)
@click.option("--quick", is_flag=True, help="One short case: some ten seconds.")
@click.option(
    "--osm",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Extract to drive in too; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the Markdown page here.")
@json_option
@reports_errors
def bench_parking(quick: bool, osm: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """How right the processor's parking map is against the truth, by fleet and speed. No cloud."""
    from rich.table import Table

    from fleet_sim.engine import parking, parking_page

    results = []
    console = Console(highlight=False, stderr=True)
    for case, ablate in parking_page.cases([str(path) for path in osm], quick=quick):
        results.append(parking.drive(case, ablate=ablate))
        console.print(*parking_page.rows(results)[-1], sep="  ")
    if out is not None:
        out.write_text(parking_page.page(results))
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


@bench.command("processor", cls=Examples, examples="fleet-sim bench processor --json")
@click.option("--seconds", type=click.IntRange(10), default=60, show_default=True)
@json_option
@reports_errors
def bench_processor(seconds: int, as_json: bool) -> None:
    """CPU of the telemetry processor, µs a record of 20 samples, without its services."""
    from fleet_sim.engine.processor import bench_processor as measure

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
    from fleet_sim.engine.bench_tls import bench_tls as measure
    from fleet_sim.engine.bench_tls import tls_table

    costs = measure(vehicles, messages, rounds)
    if as_json:
        click.echo(msgspec.json.encode(costs))
    else:
        Console(highlight=False).print(tls_table(costs))


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

    from fleet_sim.engine.bench_engine import brokers
    from fleet_sim.engine.bench_engine import page as pages
    from fleet_sim.engine.bench_engine.contest import NAMES, Setting, contest
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


@main.command(cls=Examples, examples="fleet-sim validate scenarios/*.yaml")
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
            click.echo(
                f"{path}: ok: {loaded.vehicles} vehicles, {len(loaded.phases)} phases, "
                f"{loaded.duration_s:g} s"
            )
    sys.exit(ExitCode.INVALID if broken else ExitCode.PASSED)


@main.command(
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


@main.command(cls=Examples, examples="fleet-sim schema > scenario.schema.json")
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors and other tools."""
    from fleet_sim.engine.catalog import scenario_schema

    click.echo(msgspec.json.format(msgspec.json.encode(scenario_schema()), indent=2))


@main.command(
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


@main.command(cls=Examples, examples="fleet-sim init my.yaml")
@click.argument("path", type=click.Path(path_type=Path), default=Path("scenario.yaml"))
@reports_errors
def init(path: Path) -> None:
    """Write a commented starter scenario to PATH (default: scenario.yaml)."""
    from fleet_sim.scenario import write_starter

    write_starter(path)
    click.echo(f"{path} written; try: fleet-sim run {path}")


@main.command(cls=Examples, examples="fleet-sim report reports/latest")
@click.argument("run_dir", type=click.Path(path_type=Path))
@reports_errors
def report(run_dir: Path) -> None:
    """Render the HTML report of a finished run again."""
    from fleet_sim.report.render import render

    try:
        click.echo(f"{render(run_dir)}")
    except ValueError as error:
        fail(ExitCode.INVALID, str(error))


@main.command(cls=Examples, examples="fleet-sim up\nfleet-sim run scenarios/smoke.yaml")
@stack_option
@reports_errors
def up(stack: str) -> None:
    """Start the local AWS in the background and deploy to it; `run` then uses it."""
    from fleet_sim.engine.operate import up as start

    start(STATE_DIR, stack, Console(highlight=False))


@main.command(cls=Examples, examples="fleet-sim down")
@reports_errors
def down() -> None:
    """Stop the local AWS that `up` started. Its data is gone with it."""
    from fleet_sim.engine.operate import down as stop

    stop(STATE_DIR, Console(highlight=False))


target_option = click.option(
    "--target",
    type=click.Choice(["local", "aws"]),
    default="local",
    show_default=True,
    help="Where to.",
)


@main.command(
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


@main.command(
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
    from fleet_sim.engine.provisioning import Order, vins_of
    from fleet_sim.engine.provisioning import provision as make
    from fleet_sim.engine.run import Options, load_for_run

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


@main.command(cls=Examples, examples="fleet-sim status\nfleet-sim status --target aws --json")
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
