"""Shards as actors of a Ray cluster: the same workers, on other machines. Ray is an extra, and
imported only when somebody asks for it."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from fleet_sim.engine.clock import Clock, MonotonicEpoch
from fleet_sim.engine.hosts import ShardLostError, WorkerError, qos0_of
from fleet_sim.engine.leavings import Leavings, of_the_dead
from fleet_sim.engine.preflight import PreflightError, check_descriptors
from fleet_sim.engine.status import Sample, Status
from fleet_sim.engine.timetable import schedules
from fleet_sim.engine.worker import Job, Worker
from fleet_sim.measure.ledger import LedgerColumns
from fleet_sim.world import Share

NEWS_EVERY_S = 0.5
CLOCK_ALLOWED_S = 0.1
"""By so much, and half a round trip, may a node's clock differ: phases begin by it."""


class Cluster:
    """A connection to a Ray cluster. `address`: as Ray takes it; None is `RAY_ADDRESS`, or else a
    cluster on this machine for this run.

    `PreflightError` when Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str | None) -> None:
        # A load generator must not send reports about itself anywhere.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise PreflightError(
                "--cluster ray: Ray is not installed (pip install 'fleet-sim[ray]')"
            ) from None
        self.ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(
                    address=address,
                    include_dashboard=None if address or "RAY_ADDRESS" in os.environ else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                where = address or os.environ.get("RAY_ADDRESS") or "this machine"
                reason = (str(error).strip().splitlines() or ["no answer"])[0]
                raise PreflightError(f"--cluster ray: no cluster at {where}: {reason}") from None

    @property
    def cores(self) -> int:
        """Of all nodes."""
        return int(self.ray.cluster_resources().get("CPU", 1))

    def check(self, shards: int) -> None:
        """`PreflightError` when an actor would wait for a core for ever."""
        if shards > self.cores:
            raise PreflightError(
                f"--shards: {shards} actors of a core each on a cluster of {self.cores} "
                f"(allowed: at most {self.cores}; --shards auto takes them)"
            )

    def host(self, job: Job, clock: Clock) -> "ActorHost":
        """An actor for one shard, on whichever node has the most room. Needs a running event
        loop."""
        kind = self.ray.remote(
            num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(Actor)
        return ActorHost(self.ray, job, kind.remote(), clock)

    def close(self) -> None:
        """Leave the cluster, if this run has joined it."""
        if self._ours:
            self.ray.shutdown()


class Actor:
    """A worker on a node. Its methods run on the actor's event loop, several at a time."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        assert self._worker is not None  # `start` came first
        return self._worker

    async def start(self, job: Job) -> str:
        """Build the world. Answers the node's name."""
        check_descriptors(job.share.n)
        self._worker = Worker(job)
        return socket.gethostname()

    async def now_ns(self) -> int:
        """By this node's clock."""
        return MonotonicEpoch().now_ns()

    async def call(self, name: str, args: tuple[Any, ...]) -> Any:
        """A method of the worker."""
        return await getattr(self.worker, name)(*args)

    async def news(self) -> tuple[Status, list[Sample]]:
        """As `Worker.news`."""
        return self.worker.news()


class ActorHost:
    """An actor beside the supervisor. What it has measured comes back when it ends; if its node
    dies, that is gone, and what it was to do is known from the schedule."""

    def __init__(self, ray: Any, job: Job, actor: Any, clock: Clock) -> None:
        self.share: Share = job.share
        self.status = Status(vehicles=job.share.n)
        self.samples: list[Sample] = []
        self.node = ""
        self._ray = ray
        self._job = job
        self._actor = actor
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            self.node = await self._ask(self._actor.start.remote(self._job))
        except WorkerError as error:
            if error.kind in ("ValueError", "PreflightError"):
                raise ValueError(error.text) from None
            raise
        await self._compare_clocks()
        self._listening = self._loop.create_task(self._listen())

    async def call(self, name: str, *args: Any) -> Any:
        return await self._ask(self._actor.call.remote(name, args))

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        left: Leavings = await self.call("finish", timeout_s, settle_s)
        self.kill()
        return left

    def recover(self, why: str, t0_ns: int, died_ns: int) -> Leavings:
        columns = due_by(self._job, t0_ns, died_ns)
        plans = schedules(self._job.scenario, self.share)
        return of_the_dead(
            self.share,
            why,
            columns,
            t0_ns=t0_ns,
            died_ns=died_ns,
            scheduled=sum(plan.total for plan in plans),
            status=self.status,
            samples=self.samples,
            qos0=qos0_of(self._job.scenario),
            ledger_lost=True,
        )

    def kill(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        with contextlib.suppress(Exception):  # it is gone already, which is what is wanted
            self._ray.kill(self._actor)

    # -- inside -----------------------------------------------------------------------------------

    async def _ask(self, answer: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return await answer
        except (errors.RayActorError, errors.ActorUnavailableError) as error:
            why = (str(error).strip().splitlines() or ["its actor is gone"])[0]
            where = f"on node {self.node}: " if self.node else ""
            raise ShardLostError(f"{where}{why}") from None
        except errors.RayTaskError as error:
            cause = error.cause
            raise WorkerError(type(cause).__name__, str(cause)) from None

    async def _listen(self) -> None:
        while True:
            try:
                self.status, new = await self._ask(self._actor.news.remote())
            except (ShardLostError, WorkerError):
                return  # the call that is under way hears of it, too
            self.samples += new
            self.heard_s = self._loop.time()
            await asyncio.sleep(NEWS_EVERY_S)

    async def _compare_clocks(self) -> None:
        best: tuple[int, float] | None = None
        for _ in range(3):
            before = self._clock.now_ns()
            there = await self._ask(self._actor.now_ns.remote())
            after = self._clock.now_ns()
            if best is None or after - before < best[0]:
                best = (after - before, there - (before + after) / 2)
        assert best is not None
        round_trip_s, offset_s = best[0] / 1e9, best[1] / 1e9
        if abs(offset_s) > CLOCK_ALLOWED_S + round_trip_s / 2:
            ahead = "ahead of" if offset_s > 0 else "behind"
            raise ValueError(
                f"the clock of node {self.node} is {abs(offset_s):.2f} s {ahead} this machine's "
                f"(allowed: {CLOCK_ALLOWED_S:g} s): set both by NTP"
            )


def due_by(job: Job, t0_ns: int, until_ns: int) -> LedgerColumns:
    """The rows that a shard's ledger would have had by then, with nothing known of any."""
    vehicle: list[np.ndarray[Any, Any]] = []
    seq: list[np.ndarray[Any, Any]] = []
    intended: list[np.ndarray[Any, Any]] = []
    firsts = np.cumsum([0, *(group.count for group in job.scenario.fleet)])
    plans = schedules(job.scenario, job.share)
    for first, own, plan in zip(firsts, job.share.own, plans, strict=False):
        due = min(plan.total, max(0, plan.due_before(until_ns - t0_ns))) if t0_ns else 0
        place, turn, at_ns = plan.messages(0, due)
        vehicle.append(first + own[place])
        seq.append(turn + 1)
        intended.append(t0_ns + at_ns)
    return empty_rows(vehicle, seq, intended)


def empty_rows(
    vehicle: Sequence[np.ndarray[Any, Any]],
    seq: Sequence[np.ndarray[Any, Any]],
    intended_ns: Sequence[np.ndarray[Any, Any]],
) -> LedgerColumns:
    """Rows with nothing but their names and times, in the order of their times."""
    due_ns = np.concatenate(intended_ns).astype(np.int64)
    order = np.argsort(due_ns, kind="stable")
    n = order.size
    return LedgerColumns(
        vehicle=np.concatenate(vehicle)[order].astype(np.uint32),
        seq=np.concatenate(seq)[order].astype(np.uint32),
        intended_ns=due_ns[order],
        sent_ns=np.zeros(n, np.int64),
        acked_ns=np.zeros(n, np.int64),
        reason=np.zeros(n, np.uint8),
        cause=np.zeros(n, np.uint8),
        resent=np.zeros(n, np.uint8),
    )
