"""Who runs a shard: a host has one worker, here or in another process, and may lose it."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.leavings import Leavings, of_the_dead
from fleet_sim.engine.status import Sample, Status
from fleet_sim.engine.timetable import schedules
from fleet_sim.engine.worker import Job, Worker
from fleet_sim.measure.ledger import Ledger
from fleet_sim.scenario import Scenario
from fleet_sim.world import Share


class ShardLostError(RuntimeError):
    """A shard's process or node is gone; the message says how."""


class WorkerError(RuntimeError):
    """A worker raised: its type and text. An error of ours, unless it says otherwise."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Host(Protocol):
    """A worker as the supervisor sees it."""

    share: Share

    @property
    def status(self) -> Status:
        """The newest that is known."""

    @property
    def heard_s(self) -> float:
        """When it was last heard of, by the event loop's clock."""

    async def start(self) -> None:
        """Until the worker has built its world. `ValueError` when that does not fit."""

    async def call(self, name: str, *args: Any) -> Any:
        """A method of the worker. `ShardLostError`, `WorkerError`."""

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        """As `Worker.finish`; the worker ends with it."""

    def recover(self, why: str, t0_ns: int, died_ns: int) -> Leavings:
        """What can still be said of a worker that was lost."""

    def kill(self) -> None:
        """End the worker now, if it lives."""


class LocalHost:
    """The worker of the only shard, on this event loop."""

    def __init__(self, job: Job, make: Callable[[Job], Worker] = Worker) -> None:
        self.share = job.share
        self._job = job
        self._make = make
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        assert self._worker is not None  # `start` came first
        return self._worker

    @property
    def status(self) -> Status:
        return self.worker.news()[0] if self._worker else Status()

    @property
    def heard_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(self) -> None:
        self._worker = self._make(self._job)

    async def call(self, name: str, *args: Any) -> Any:
        return await getattr(self.worker, name)(*args)

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        return await self.worker.finish(timeout_s, settle_s)

    def recover(self, why: str, t0_ns: int, died_ns: int) -> Leavings:
        raise AssertionError("the process that would notice is the one that died")

    def kill(self) -> None:
        """Nothing outlives this process."""


def qos0_of(scenario: Scenario) -> NDArray[np.bool_]:
    """[fleet] which vehicles publish with QoS 0."""
    return np.concatenate(
        [np.full(group.count, group.telemetry.qos == 0) for group in scenario.fleet]
    )


def recover_files(
    job: Job, why: str, status: Status, samples: list[Sample], t0_ns: int, died_ns: int
) -> Leavings:
    """Of a dead worker whose ledger was in files."""
    assert job.folder is not None
    return of_the_dead(
        job.share,
        why,
        Ledger.recover(job.folder),
        t0_ns=t0_ns,
        died_ns=died_ns,
        scheduled=sum(schedule.total for schedule in schedules(job.scenario, job.share)),
        status=status,
        samples=samples,
        qos0=qos0_of(job.scenario),
    )
