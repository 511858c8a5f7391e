"""One run, from the scenario file to the report: sets up, drives, drains, collects, concludes."""

import asyncio
import contextlib
import datetime as dt
import secrets
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop
from rich.console import Console

from fleet_sim.engine.backend import Backend, Collected, open_backend
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.clock import MonotonicEpoch
from fleet_sim.engine.conclude import Outcome, conclude
from fleet_sim.engine.connection import read_password, with_mqtt
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.preflight import PreflightError, build_world, check_descriptors
from fleet_sim.engine.probe import VisibleProbe
from fleet_sim.engine.progress import ConsoleSteps, LiveView
from fleet_sim.engine.shard import Shard
from fleet_sim.engine.watch import Stop, Watch
from fleet_sim.measure.summary import Summary
from fleet_sim.scenario import Duration, Scenario, scale_fleet, with_duration
from fleet_sim.transport import Listener, NativeTransport, Transport
from fleet_sim.world import World

ACK_DRAIN_S = 15.0
"""Longest wait for acknowledgements after the last message."""
CLOUD_DRAIN_S = 120.0
CLOUD_STALLED_S = 15.0
"""The cloud is given up when it applies nothing more for so long."""
INTERRUPTED_DRAIN_S = 0.5
INTERRUPTED_CLOUD_S = 1.5
"""After Ctrl-C everything together must take less than 5 s."""


class _Run(NamedTuple):
    """What the steps of one run share."""

    id: str
    scenario: Scenario
    world: World
    backend: Backend
    folder: RunFolder
    options: "Options"
    connect_timeout_s: float
    console: Console


class Options(NamedTuple):
    """What the command line adds to the scenario."""

    target: str = "local"
    vehicles: int | None = None
    duration: str | None = None
    overrides: tuple[str, ...] = ()
    connect_timeout: str = "2m"
    """For all vehicles together."""
    out: Path | None = None
    stack: str = "fleet-sim"
    region: str | None = None
    state_dir: Path = Path(".fleet-sim")


def run_scenario(path: Path, options: Options, console: Console) -> tuple[Summary, Path]:
    """Run the scenario and write its folder, all but the HTML page. Answers the summary, with the
    verdict and the exit code, and the folder.

    Raises what keeps a run from starting: `ScenarioError`, `PreflightError`, `TargetError`,
    `DeployError`, `LocalAwsError`, `IdentityError`, `ConnectError`.
    """
    scenario = load_for_run(path, options)
    connect_timeout_s = _seconds("--connect-timeout", options.connect_timeout)
    check_descriptors(scenario.vehicles)
    read_password(scenario.mqtt)  # or why not, before anything is started
    run = new_run_id()
    with ConsoleSteps(console) as steps:
        steps.step("building the city")
        world = build_world(scenario, str(path))
        folder = RunFolder.create(options.out or Path("reports") / run, scenario)
        steps.done(
            f"city of {world.city.stalls.n:,} stalls, {world.n} vehicles, seed {scenario.seed}"
        )
        if world.city.dropped:
            steps.done(f"left out of the map: {world.city.dropped}")
        backend = open_backend(
            options.target, options.stack, options.region, options.state_dir, steps, console
        )
    try:
        summary = _run(
            _Run(run, scenario, world, backend, folder, options, connect_timeout_s, console)
        )
    finally:
        backend.close()
    return summary, folder.path


def new_run_id() -> str:
    """Sorts by start time, and no two runs share one."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def load_for_run(path: Path, options: Options) -> Scenario:
    """The scenario with the options' overrides, vehicles and duration."""
    scenario = load_scenario(path, overrides=options.overrides)
    if options.vehicles is not None:
        scenario = scale_fleet(scenario, options.vehicles)
    if options.duration is not None:
        scenario = with_duration(scenario, _seconds("--duration", options.duration))
    return scenario


def _seconds(option: str, text: str) -> float:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise PreflightError(f"{option}: {error}") from None


def _run(this: _Run) -> Summary:
    world, backend, folder = this.world, this.backend, this.folder
    with ConsoleSteps(this.console) as steps:
        link = with_mqtt(backend.prepare(world, steps), this.scenario.mqtt)
    started = dt.datetime.now(dt.UTC)
    began = time.monotonic()
    folder.log("start", run=this.id, target=backend.name, vehicles=world.n)

    async def drive() -> tuple[Shard, VisibleProbe | None, Watch]:
        clock = MonotonicEpoch()
        uniform = np.random.default_rng([this.scenario.seed, 0x6A]).random

        def connect_by(listener: Listener) -> Transport:
            return NativeTransport(link, world.vins, listener, now_ns=clock.now_ns, uniform=uniform)

        shard = Shard(this.scenario, world, run=this.id, clock=clock, make_transport=connect_by)
        url = backend.api_url
        probe = VisibleProbe(url, shard, this.id, clock.now_ns) if url else None
        watch = Watch(backend, shard, LiveView(this.console, this.scenario, shard, probe), folder)
        await _drive(this, shard, probe, watch)
        watch.raise_bug()
        return shard, probe, watch

    shard, probe, watch = uvloop.run(drive())
    collected, problem = _collect(this, watch, started.timestamp() * 1000)
    outcome = Outcome(
        run=this.id,
        scenario=this.scenario,
        target=backend.name,
        started=started,
        wall_s=time.monotonic() - began,
        connected=watch.connected_at_start,
        shard=shard,
        probe=probe,
        watch=watch,
        collected=collected,
        collect_problem=problem,
        command=f"fleet-sim run {folder.path / 'scenario.yaml'} --target {this.options.target}",
    )
    summary = conclude(outcome, folder)
    folder.log("end", verdict=summary.run.verdict, exit_code=summary.run.exit_code)
    folder.finish()
    return summary


async def _drive(this: _Run, shard: Shard, probe: VisibleProbe | None, watch: Watch) -> None:
    """Connect, run the phases, drain, disconnect; ends early when `watch` says so."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, watch.stop, Stop.INTERRUPTED, "interrupted")
    loop.set_exception_handler(watch.on_bug)
    watching = asyncio.create_task(watch.run())
    probing: asyncio.Task[None] | None = None
    try:
        with ConsoleSteps(this.console) as steps:
            steps.step("connecting")
            if not await watch.unless_stopped(shard.connect(this.connect_timeout_s)):
                return
            watch.connected_at_start = shard.connected
            this.folder.log("phases", connected=shard.connected)
            steps.done(f"{shard.connected} of {shard.world.n} vehicles connected")
        if probe is not None:
            probing = asyncio.create_task(probe.run())
        with watch.view.shown():
            running = asyncio.create_task(shard.run())
            if not await watch.unless_stopped(running, cancel=False):
                shard.stop_requested = True
            await running
        await _drain(this, shard, probe, watch)
    finally:
        for task in (probing, watching):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await shard.close(timeout_s=1.0 if watch.stopped else 5.0)


async def _drain(this: _Run, shard: Shard, probe: VisibleProbe | None, watch: Watch) -> None:
    """Wait until what was sent is acknowledged and applied, as long as it makes progress."""
    if watch.stopped is Stop.TARGET:
        return
    with ConsoleSteps(this.console) as steps:
        if watch.stopped:
            steps.step("draining")
            await shard.drain(INTERRUPTED_DRAIN_S)
            await _cloud_drained(this, shard.delivered(), steps, INTERRUPTED_CLOUD_S)
            return
        steps.step("draining: acknowledgements")
        await watch.unless_stopped(shard.drain(ACK_DRAIN_S))
        steps.step("draining: the cloud")
        expected = shard.delivered()
        if await watch.unless_stopped(_cloud_drained(this, expected, steps, CLOUD_DRAIN_S)):
            if probe is not None:
                await watch.unless_stopped(probe.settle(5.0))
            steps.done(f"drained: {expected:,} messages delivered")


async def _cloud_drained(this: _Run, expected: int, steps: ConsoleSteps, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    best = -1
    progress_at = time.monotonic()
    while (now := time.monotonic()) < deadline and now - progress_at < CLOUD_STALLED_S:
        applied = await asyncio.to_thread(this.backend.applied, this.id)
        if applied is None or applied >= expected:
            return
        steps.detail(f"{applied:,} of {expected:,} applied")
        if applied > best:
            best, progress_at = applied, now
        await asyncio.sleep(0.3)


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
