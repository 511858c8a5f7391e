"""One run, from the scenario file to the report: sets up, drives, drains, collects, concludes."""

import asyncio
import contextlib
import datetime as dt
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop
from rich.console import Console

from fleet_sim.cloud.campaigns import CampaignError
from fleet_sim.engine.backend import Backend, Collected, EmbeddedBackend, open_backend
from fleet_sim.engine.clock import MonotonicEpoch
from fleet_sim.engine.cluster import Cluster
from fleet_sim.engine.conclude import Outcome, conclude
from fleet_sim.engine.connection import read_password, with_mqtt
from fleet_sim.engine.costing import DEFAULT_REGION
from fleet_sim.engine.drain import Cloud, drain
from fleet_sim.engine.endpoint import parse_all
from fleet_sim.engine.exports import Exporter, exporting
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.guard import Guard
from fleet_sim.engine.hosts import Host, LocalHost
from fleet_sim.engine.leavings import Driven
from fleet_sim.engine.load.plan import place_of, plan_of
from fleet_sim.engine.load.run import LoadRun, check_load_test
from fleet_sim.engine.options import Options, load_for_run, new_run_id, seconds
from fleet_sim.engine.ota.live import SUBSCRIPTIONS, Brought
from fleet_sim.engine.ota.run import LiveCampaign, live_campaign
from fleet_sim.engine.outages import BrokerFaults, check_faults
from fleet_sim.engine.preflight import (
    PreflightError,
    build_share,
    build_towns,
    check_client,
    check_clock,
    check_encodings,
    check_machine,
    check_target,
    cores,
    shard_count,
    source_addresses,
)
from fleet_sim.engine.process import ProcessHost
from fleet_sim.engine.progress import ConsoleSteps, LiveView
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.engine.watch import Stop, Watch
from fleet_sim.engine.worker import Job, Worker, bug_handler, job_of
from fleet_sim.measure.ota_judge import Campaigned
from fleet_sim.measure.summary import Summary
from fleet_sim.scenario import Scenario
from fleet_sim.transport import ConnectError, LinkSettings, check_settings, check_transport
from fleet_sim.world import City, Share, Simulated, share_out
from fleet_sim.world.towns import cities_of, fleet_vins

PROBE_SETTLE_S = 15.0
"""Longest wait for the API to show what was asked for last."""
SHARDS = "shards"
"""Folder of the run folder in which each shard writes its ledger while it runs."""


class _Run(NamedTuple):
    """What the steps of one run share."""

    id: str
    scenario: Scenario
    shares: list[Share]
    name: str
    """Of the scenario's file, for errors."""
    cities: tuple[City, ...]
    world: Simulated | None
    """Of the only shard, when it runs in this process."""
    cluster: Cluster | None
    vins: list[str]
    backend: Backend
    folder: RunFolder
    options: Options
    connect_timeout_s: float
    console: Console
    exports: Sequence[Exporter]
    campaign: LiveCampaign | None
    load: LoadRun | None = None


def run_scenario(path: Path, options: Options, console: Console) -> tuple[Summary, Path]:
    """Run the scenario and write its folder, all but the HTML page. Answers the summary, with the
    verdict and the exit code, and the folder.

    Raises what keeps a run from starting: `ScenarioError`, `PreflightError`, `TargetError`,
    `DeployError`, `LocalAwsError`, `IdentityError`, `ConnectError`, `TransportError`.
    """
    scenario = load_for_run(path, options)
    connect_timeout_s = seconds("--connect-timeout", options.connect_timeout)
    check_transport(options.transport)
    check_client(options.transport, options.target)
    check_faults(scenario, options.target, path)
    check_load_test(scenario, options.target)
    check_encodings(scenario, options.target, str(path))
    read_password(scenario.mqtt)  # or why not, before anything is started
    sources = source_addresses(options.source_ips)
    if sources and options.transport != "native":
        raise PreflightError(
            f"--source-ip: {options.transport} chooses its address itself (allowed: --transport "
            "native)"
        )
    cluster = None
    if options.cluster is None:
        shares = share_out(scenario, shard_count(options.shards, scenario.vehicles, cores()))
        check_machine(scenario, shares, sources, max(1, len(parse_all(options.target))))
    else:
        if sources:
            raise PreflightError("--source-ip: not with --cluster (allowed: nodes' own addresses)")
        cluster = Cluster(options.ray_address)
        shares = share_out(scenario, shard_count(options.shards, scenario.vehicles, cluster.cores))
        cluster.check(len(shares))
    run = new_run_id()
    about = {"run": run, "scenario": scenario.name, "target": options.target}
    try:
        with exporting(options.prometheus, options.otlp, about) as exports:
            plan = _Plan(
                run, path, scenario, shares, sources, cluster, options, connect_timeout_s, exports
            )
            return _set_up(plan, console)
    finally:
        if cluster is not None:
            cluster.close()


class _Plan(NamedTuple):
    """What is settled before anything is built or opened."""

    run: str
    path: Path
    scenario: Scenario
    shares: list[Share]
    sources: tuple[str, ...]
    cluster: Cluster | None
    options: Options
    connect_timeout_s: float
    exports: Sequence[Exporter]


def _set_up(plan: _Plan, console: Console) -> tuple[Summary, Path]:
    run, path, scenario, shares, sources, cluster, options, connect_timeout_s, exports = plan
    with ConsoleSteps(console) as steps:
        steps.step("building the city")
        # The only shard's world is built here and now: what does not fit is found before anything
        # is started. Others find it when they start.
        here = len(shares) == 1 and cluster is None
        world = build_share(scenario, shares[0], str(path)) if here else None
        cities = cities_of(world) if world else build_towns(scenario, str(path))
        folder = RunFolder.create(options.out or Path("reports") / run, scenario)
        stalls = sum(city.stalls.n for city in cities)
        where = f"{len(cities)} towns" if len(cities) > 1 else "city"
        steps.done(
            f"{where} of {stalls:,} stalls, {scenario.vehicles} vehicles, seed {scenario.seed}"
        )
        for city in cities:
            if city.dropped:
                steps.done(f"left out of the map: {city.dropped}")
        backend = open_backend(
            options.target, options.stack, options.region, options.state_dir, steps, console
        )
    try:
        vins = fleet_vins(scenario)
        campaign = live_campaign(scenario, backend, run, vins, console)
        summary = _run(
            _Run(
                id=run,
                scenario=scenario,
                shares=shares,
                name=str(path),
                cities=cities,
                world=world,
                cluster=cluster,
                vins=vins,
                backend=backend,
                folder=folder,
                options=options,
                connect_timeout_s=connect_timeout_s,
                console=console,
                exports=exports,
                campaign=campaign,
            ),
            sources,
        )
    finally:
        backend.close()
    return summary, folder.path


def _run(this: _Run, sources: tuple[str, ...]) -> Summary:
    backend, folder = this.backend, this.folder
    with ConsoleSteps(this.console) as steps:
        link = backend.prepare(this.vins, this.cities, steps)
        brought = None
        if this.campaign is not None:
            brought = this.campaign.publish(steps)
            link = link._replace(subscriptions=(*link.subscriptions, *SUBSCRIPTIONS))
    link = with_mqtt(link, this.scenario.mqtt)._replace(
        source_ips=sources, transport=this.options.transport
    )
    check_settings(link)
    if this.options.transport != "memory":
        check_target(link, len(this.vins))
    check_clock(backend.api_url)
    this = this._replace(load=_load_test(this))
    started = dt.datetime.now(dt.UTC)
    began = time.monotonic()
    folder.log(
        "start",
        run=this.id,
        target=backend.name,
        vehicles=len(this.vins),
        shards=len(this.shares),
    )
    driven, watch = uvloop.run(_drive(this, link, brought))
    collected, problem = _collect(this, watch, started.timestamp() * 1000)
    compared, campaign_problem = _campaign(this, driven)
    problem = problem or campaign_problem
    outcome = Outcome(
        run=this.id,
        scenario=this.scenario,
        target=backend.name,
        started=started,
        wall_s=time.monotonic() - began,
        driven=driven,
        cities=this.cities,
        vins=this.vins,
        watch=watch,
        collected=collected,
        collect_problem=problem,
        region=this.options.region or DEFAULT_REGION,
        campaign=compared,
        load=this.load.result if this.load is not None else None,
        command=f"fleet-sim run {folder.path / 'scenario.yaml'} --target {this.options.target}",
    )
    summary = conclude(outcome, folder)
    folder.log("end", verdict=summary.run.verdict, exit_code=summary.run.exit_code)
    shutil.rmtree(folder.path / SHARDS, ignore_errors=True)  # it is in the ledger now
    folder.finish()
    return summary


def _load_test(this: _Run) -> LoadRun | None:
    """Locust, if the scenario wants it."""
    load, stack = this.scenario.load, this.backend.stack
    if load is None or not load.anybody or stack is None:
        return None
    target, outputs = stack
    place = f"{target.account_id}-{target.region}-{target.stack}"
    identities = this.options.state_dir / "load-identities" / place
    plan = plan_of(
        this.scenario, this.cities, place_of(target, outputs), this.id, identities, Path()
    )
    return LoadRun(plan, load.workers, this.folder)


def _hosts(
    this: _Run, link: LinkSettings, brought: Brought | None, clock: MonotonicEpoch
) -> list[Host]:
    """One a shard: the only one runs here, several in a process each, or on a cluster."""
    whole = Job(
        run=this.id,
        scenario=this.scenario,
        share=this.shares[0],
        link=link,
        api_url=this.backend.api_url,
        brought=brought,
        clock_offset_ns=clock.offset_ns,
    )
    if this.cluster is not None:
        whole = whole._replace(clock_offset_ns=None)  # each node has its own
        return [this.cluster.host(job_of(whole, s, None), clock) for s in this.shares]
    if len(this.shares) == 1:
        return [LocalHost(whole, lambda job: Worker(job, world=this.world))]
    folder = this.folder.path / SHARDS
    return [ProcessHost(job_of(whole, s, folder / str(s.number))) for s in this.shares]


async def _drive(this: _Run, link: LinkSettings, brought: Brought | None) -> tuple[Driven, Watch]:
    """Connect, run the phases, drain, disconnect; ends early when the watch says so."""
    clock = MonotonicEpoch()
    console, folder = this.console, this.folder
    supervisor = Supervisor(_hosts(this, link, brought, clock), clock, this.name)
    view = LiveView(console, this.scenario, supervisor)
    watch = Watch(this.backend, supervisor, view, folder, Guard(this.scenario), this.exports)

    def on_lost(text: str) -> None:
        folder.log("shard_lost", text=text)
        watch.view.say(text)

    supervisor.on_lost = on_lost
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, watch.stop, Stop.INTERRUPTED, "interrupted")
    loop.set_exception_handler(bug_handler(watch.on_bug))
    watching = [watch.mind(watch.run())]
    if isinstance(this.backend, EmbeddedBackend):
        faults = BrokerFaults(this.scenario, this.backend, clock, folder)
        watching.append(watch.mind(faults.run(supervisor)))
    if this.campaign is not None:
        watching.append(watch.mind(this.campaign.drive(supervisor, clock, folder)))
    load = this.load
    if load is not None:
        load.start()
        watching.append(watch.mind(load.drive(supervisor, clock)))
    try:
        stalls = [city.stalls.n for city in this.cities]
        try:
            await _steps(this, supervisor, watch)
        except ConnectError:
            # Those that are connected say goodbye; what hinders them is not what ended the run.
            with contextlib.suppress(Exception):
                await supervisor.finish(1.0, 0.0, stalls)
            raise
        if load is not None:
            await asyncio.to_thread(load.finish, early=watch.stopped is not None)
        settle_s = 0.0 if watch.stopped else PROBE_SETTLE_S
        driven = await supervisor.finish(1.0 if watch.stopped else 5.0, settle_s, stalls)
    finally:
        supervisor.kill()
        if load is not None:
            load.kill()
        for task in watching:
            task.cancel()
            # An error is what the watch has heard of already, and raises below.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
    watch.raise_bug()
    return driven, watch


async def _steps(this: _Run, supervisor: Supervisor, watch: Watch) -> None:
    with ConsoleSteps(this.console) as steps:
        if len(supervisor.hosts) > 1:
            steps.step(f"starting {len(supervisor.hosts)} processes")
        if not await watch.unless_stopped(supervisor.start()):
            return
        steps.step("connecting")
        if not await watch.unless_stopped(supervisor.connect(this.connect_timeout_s)):
            return
        connected = supervisor.connected_at_start
        this.folder.log("phases", connected=connected)
        steps.done(f"{connected} of {supervisor.vehicles} vehicles connected")
        if this.load is not None:
            steps.step("waiting for Locust")
            ready = asyncio.create_task(this.load.ready())
            if not await watch.unless_stopped(ready):
                return
            steps.done(ready.result() or "Locust is up")
    with watch.view.shown():
        running = asyncio.create_task(supervisor.run())
        if not await watch.unless_stopped(running, cancel=False):
            await supervisor.stop()
        await running
    await drain(Cloud(this.backend, this.id), supervisor, watch, this.console)


def _campaign(this: _Run, driven: Driven) -> tuple[Campaigned | None, str]:
    """The campaign's record beside the truth, or why there is none."""
    campaign = this.campaign
    if campaign is None:
        return None, ""
    if campaign.view is None:
        return None, campaign.problem or "the run ended before its campaign began"
    try:
        return campaign.collect(driven.updates, driven.now_s), ""
    except CampaignError as error:
        return None, str(error)


def _collect(this: _Run, watch: Watch, since_ms: float) -> tuple[Collected | None, str]:
    """What the cloud recorded, or why that could not be read."""
    if watch.stopped is Stop.TARGET:
        return None, watch.reason
    with ConsoleSteps(this.console) as steps:
        steps.step("collecting what the cloud recorded")
        try:
            collected = this.backend.collect(this.id, since_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was measured must not be lost
            return None, f"{type(error).__name__}: {error}"
        if collected is not None:
            steps.done(f"collected {len(collected.archive):,} archived records")
    return collected, ""
