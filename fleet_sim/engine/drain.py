"""The end of a run's schedule: what was sent is waited for, as long as it makes progress."""

import asyncio
import time
from typing import NamedTuple

from rich.console import Console

from fleet_sim.engine.backend import Backend
from fleet_sim.engine.progress import ConsoleSteps
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.engine.watch import Stop, Watch

ACK_DRAIN_S = 30.0
"""Longest wait for acknowledgements after the last message."""
CLOUD_DRAIN_S = 120.0
CLOUD_STALLED_S = 30.0
"""The cloud is given up when it applies nothing more for so long: more than a cold start takes on a
busy machine, or what is on its way would be called lost."""
INTERRUPTED_DRAIN_S = 0.5
INTERRUPTED_CLOUD_S = 1.5
"""After Ctrl-C everything together must take less than 5 s."""
OVERLOADED_DRAIN_S = 5.0
OVERLOADED_CLOUD_S = 30.0
"""After a run that was given up."""


class Cloud(NamedTuple):
    """Where a run's messages arrive."""

    backend: Backend
    run: str


async def drain(cloud: Cloud, supervisor: Supervisor, watch: Watch, console: Console) -> None:
    """Wait until what was sent is acknowledged and applied, as long as it makes progress."""
    if watch.stopped is Stop.TARGET:
        return
    with ConsoleSteps(console) as steps:
        if watch.stopped is Stop.INTERRUPTED:
            steps.step("draining")
            expected = await supervisor.drain(INTERRUPTED_DRAIN_S)
            await _cloud_drained(cloud, expected, steps, INTERRUPTED_CLOUD_S)
            return
        if watch.stopped and watch.stopped is not Stop.THRESHOLD:
            steps.step("draining")
            expected = await supervisor.drain(OVERLOADED_DRAIN_S)
            await _cloud_drained(cloud, expected, steps, OVERLOADED_CLOUD_S)
            return
        if watch.stopped:  # by a threshold: the target is well, and what was sent is worth waiting
            watch.rearm()
        await watch.unless_stopped(_drain_all(cloud, supervisor, steps))


async def _drain_all(cloud: Cloud, supervisor: Supervisor, steps: ConsoleSteps) -> None:
    steps.step("draining: acknowledgements")
    expected = await supervisor.drain(ACK_DRAIN_S)
    steps.step("draining: the cloud")
    await _cloud_drained(cloud, expected, steps, CLOUD_DRAIN_S)
    if expected is not None:
        steps.done(f"drained: {expected:,} messages delivered")


async def _cloud_drained(
    cloud: Cloud, expected: int | None, steps: ConsoleSteps, timeout_s: float
) -> None:
    """`expected`: messages that should be applied; None waits until no more are."""
    deadline = time.monotonic() + timeout_s
    best = -1
    progress_at = time.monotonic()
    while (now := time.monotonic()) < deadline and now - progress_at < CLOUD_STALLED_S:
        applied = await asyncio.to_thread(cloud.backend.applied, cloud.run)
        if applied is None or (expected is not None and applied >= expected):
            return
        told = "" if expected is None else f" of {expected:,}"
        steps.detail(f"{applied:,}{told} applied")
        if applied > best:
            best, progress_at = applied, now
        await asyncio.sleep(0.3)
