"""A shard with what belongs to it, on the event loop of whoever hosts it: this process, one of its
own, or an actor of a cluster."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from fleet_sim.engine.clock import Clock, MonotonicEpoch
from fleet_sim.engine.leavings import Facts, Leavings
from fleet_sim.engine.ota.http import HttpPool
from fleet_sim.engine.ota.live import Brought
from fleet_sim.engine.probe import VisibleProbe
from fleet_sim.engine.shard import Shard
from fleet_sim.engine.snapshots import MapSnapshots, every_s
from fleet_sim.engine.status import Sample, Status
from fleet_sim.measure.live import STAGE_VISIBLE
from fleet_sim.scenario import Scenario
from fleet_sim.transport import (
    ConnectError,
    LinkSettings,
    Listener,
    Transport,
    make_transport,
)
from fleet_sim.world import Share, Simulated, simulate

_JITTER = 0x6A


class Job(NamedTuple):
    """Everything a shard needs to know. It travels to the shard's process."""

    run: str
    scenario: Scenario
    share: Share
    link: LinkSettings
    """Of its own vehicles, and with its part of the connection rate."""
    api_url: str | None = None
    folder: Path | None = None
    """Where its ledger is written while it runs; None keeps it in memory."""
    brought: Brought | None = None
    """By the run's update campaign, if it has one."""
    clock_offset_ns: int | None = None
    """Of this machine's monotonic clock from the epoch, so that all its shards agree; None has the
    worker measure it."""


def job_of(job: Job, share: Share, folder: Path | None) -> Job:
    """The part of a whole run's `job` that is `share`'s."""
    link = job.link
    if link.tls is not None and link.tls.certificates:
        every = link.tls.certificates
        mine = [every[i] for i in share.ids.tolist()]
        link = link._replace(tls=link.tls._replace(certificates=mine))
    # Rate and concurrency are the run's, whatever the number of shards.
    link = link._replace(
        connect_rate=link.connect_rate / share.of,
        connect_concurrency=max(1, link.connect_concurrency // share.of),
    )
    return job._replace(share=share, link=link, folder=folder)


class Worker:
    """Needs a running event loop. `ValueError` for a scenario that does not fit its city."""

    def __init__(
        self, job: Job, *, clock: Clock | None = None, world: Simulated | None = None
    ) -> None:
        self.job = job
        self.clock = clock or MonotonicEpoch(job.clock_offset_ns)
        self.world: Simulated = world or simulate(job.scenario, job.share)
        if job.folder is not None:
            job.folder.mkdir(parents=True, exist_ok=True)
        self.shard = Shard(
            job.scenario,
            self.world,
            share=job.share,
            ledger_folder=job.folder,
            run=job.run,
            clock=self.clock,
            make_transport=self._connect_by,
            brought=job.brought,
            getter=HttpPool() if job.brought is not None else None,
        )
        self.probe = (
            VisibleProbe(job.api_url, self.shard, job.run, self.clock.now_ns, shards=job.share.of)
            if job.api_url and job.share.n
            else None
        )
        wall_s = job.scenario.duration_s / job.scenario.clock.speed
        self.snapshots = (
            MapSnapshots(job.api_url, self.shard, self.clock.now_ns, every_s(wall_s))
            if job.api_url and job.share.leads
            else None
        )
        self.connected_at_start = 0
        self._told = 0
        self._watching: list[asyncio.Task[None]] = []

    def _connect_by(self, listener: Listener) -> Transport:
        job, vehicles = self.job, job_vins(self.job, self.world)
        uniform = np.random.default_rng([job.scenario.seed, _JITTER, job.share.number]).random
        return make_transport(
            job.link, vehicles, listener, now_ns=self.clock.now_ns, uniform=uniform
        )

    # -- what a host is asked for -----------------------------------------------------------------

    async def connect(self, timeout_s: float) -> Status:
        """Connect, and make ready for the first message. The status says whether all are there."""
        with contextlib.suppress(ConnectError):
            await self.shard.connect(timeout_s)
        status = self.shard.status()
        self.connected_at_start = status.connected
        if status.connected == self.shard.n:
            self.shard.arm()  # its first step may cut connections: the radio begins with it
        return status

    async def run(self, t0_ns: int | None) -> tuple[int, int]:
        """Through all phases, or until `stop`: when they began and ended, ns since the epoch."""
        for watcher in (self.probe, self.snapshots):
            if watcher is not None:
                self._watching.append(asyncio.create_task(watcher.run()))
        await self.shard.run(t0_ns)
        return self.shard.t0_ns, self.shard.end_ns

    async def stop(self) -> None:
        """End the phases now."""
        self.shard.stop_requested = True

    async def broken(self) -> list[str]:
        """VINs of vehicles that broke after their update had succeeded."""
        return self.shard.updates.broken() if self.shard.updates is not None else []

    async def drain(self, timeout_s: float) -> int:
        """Wait for acknowledgements: how many messages the cloud should have."""
        await self.shard.drain(timeout_s)
        return self.shard.delivered()

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        """Disconnect. What was measured."""
        if self.probe is not None and self._watching and settle_s:
            await self.probe.settle(settle_s)
        for watching in self._watching:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await self.shard.close(timeout_s)
        return self.leavings()

    def news(self) -> tuple[Status, list[Sample]]:
        """How it goes, and the samples since the last call."""
        status = self.shard.status()
        if self.probe is not None:
            status = msgspec.structs.replace(
                status,
                visible_p50_ms=self.probe.visible_p50_ms(),
                probe_timeouts=self.probe.timed_out,
                live={**status.live, STAGE_VISIBLE: self.probe.seen_so_far()},
            )
        new = self.shard.samples[self._told :]
        self._told += len(new)
        return status, new

    def leavings(self) -> Leavings:
        """What was measured so far."""
        shard, rows = self.shard, len(self.shard.ledger)
        stored_ns, visible_ns = (
            self.probe.times(rows) if self.probe else (np.zeros(rows, np.int64),) * 2
        )
        none = np.zeros(0, np.int64)
        return Leavings(
            share=self.job.share,
            columns=shard.ledger.columns(),
            lateness_ns=np.concatenate([none, *shard.lateness_ns]),
            stored_ns=stored_ns,
            visible_ns=visible_ns,
            occupied=np.asarray(self.world.occupied),
            facts=Facts(
                t0_ns=shard.t0_ns,
                end_ns=shard.end_ns,
                scheduled=shard.scheduled_total,
                connected=self.connected_at_start,
                cpu_s=shard.cpu_s,
                rss_mb=shard.status().rss_mb,
                now_s=self.world.now_s,
                overloaded=shard.overloaded,
                failures=dict(shard.transport.failures),
                samples=shard.samples,
                probe=self.probe.seen() if self.probe else None,
                shots=self.snapshots.shots if self.snapshots else [],
                shot_problems=dict(self.snapshots.problems) if self.snapshots else {},
                sizes=dict(shard.sizes),
                updates=shard.updates.vehicle_truths(shard.t0_ns) if shard.updates else [],
            ),
        )


def job_vins(job: Job, world: Simulated) -> list[str]:
    """VINs of the job's vehicles."""
    return [world.vins[i] for i in job.share.members.tolist()]


OnBug = Callable[[BaseException], None]


def bug_handler(on_bug: OnBug) -> Callable[[asyncio.AbstractEventLoop, dict[str, object]], None]:
    """An event loop's exception handler: an error of ours in a callback ends the run. The loop
    would only log it, and a connection it happened on would look like one the broker had closed."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError):  # a socket's own end, which its protocol is told as well
            return
        if not isinstance(error, BaseException):
            error = RuntimeError(str(context.get("message", "unknown")))
        on_bug(error)

    return handle
