"""Watches a run from the side: is the target still there, did somebody press Ctrl-C?"""

import asyncio
import enum
from collections.abc import Coroutine, Sequence
from typing import Any

from fleet_sim.engine.backend import Backend
from fleet_sim.engine.exports import Exporter
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.guard import Guard
from fleet_sim.engine.hosts import WorkerError
from fleet_sim.engine.progress import LiveView
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.measure.audit import Outage

EVERY_S = 0.5
OFFLINE_GIVE_UP_S = 30.0
"""A run ends when no vehicle has been online for so long."""


class Stop(enum.Enum):
    """Why a run ended before its time."""

    INTERRUPTED = "interrupted"
    TARGET = "target"
    OVERLOAD = "overload"
    THRESHOLD = "threshold"
    BUG = "bug"


class Watch:
    """Ends the run when it must, and keeps the outages that explain what is missing."""

    def __init__(
        self,
        backend: Backend,
        supervisor: Supervisor,
        view: LiveView,
        folder: RunFolder,
        guard: Guard | None = None,
        exports: Sequence[Exporter] = (),
    ) -> None:
        self.stopped: Stop | None = None
        self.reason = ""
        self.outages: list[Outage] = []
        """Times in which fewer than half of those with a radio link were online."""
        self.view = view
        self.guard = guard
        self._exports = exports
        self._backend = backend
        self._supervisor = supervisor
        self._folder = folder
        self._event = asyncio.Event()
        self._bug: BaseException | None = None
        self._outage_since_ns = 0
        self._offline_s = 0.0

    def stop(self, kind: Stop, reason: str) -> None:
        """End the run; the first reason stays."""
        if self.stopped is None:
            self.stopped, self.reason = kind, reason
            self._folder.log("stop", kind=kind.value, reason=reason)
        self._event.set()

    def rearm(self) -> None:
        """The run has ended; what comes now may be stopped too, and changes no reason."""
        self._event.clear()

    def mind(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do this beside the run. An error in it ends the run when it comes up, and not when
        somebody awaits the task in the end."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_bug(error)

    def on_bug(self, error: BaseException) -> None:
        """An error of ours ends the run; the first is raised by `raise_bug`."""
        self._bug = self._bug or error
        self.stop(Stop.BUG, str(self._bug))

    def raise_bug(self) -> None:
        """Raise the first error that `on_bug` was told."""
        if self._bug is not None:
            raise self._bug

    async def unless_stopped(
        self, work: Coroutine[Any, Any, None] | asyncio.Task[Any], *, cancel: bool = True
    ) -> bool:
        """Await `work` and answer True, or answer False as soon as the run is stopped; then `work`
        is cancelled, or with `cancel=False` left to its owner."""
        task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
        stop = asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if cancel and not task.done():
                task.cancel()
                await asyncio.wait({task})
        if task.done() and not task.cancelled():
            await task  # its error is ours
            return True
        return False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    self._look()
                except WorkerError as error:
                    self.on_bug(error)
                await asyncio.sleep(EVERY_S)
        finally:
            self._note_outage(0, over=True)

    def _look(self) -> None:
        supervisor = self._supervisor
        supervisor.look()
        status = supervisor.status()
        self.view.tick(status)
        for export in self._exports:
            export.tell(status)
        gone = self._backend.gone()
        if gone is not None:
            self.stop(Stop.TARGET, gone)
            return
        if status.overloaded:
            self.stop(Stop.OVERLOAD, status.overloaded)
        if not supervisor.t0_ns or supervisor.end_ns:
            return
        if not supervisor.living:
            self.stop(Stop.OVERLOAD, "every shard has died")
            return
        if self.guard is not None:
            elapsed_s = (supervisor.clock.now_ns() - supervisor.t0_ns) / 1e9
            if broken := self.guard.look(status, elapsed_s):
                self.stop(Stop.THRESHOLD, broken)
            self.view.results = self.guard.results
        self._note_outage(status.connected, over=status.connected >= status.reachable / 2)
        if status.connected or not status.reachable or self._backend.broken:
            self._offline_s = 0.0
            return
        self._offline_s += EVERY_S
        if self._offline_s >= OFFLINE_GIVE_UP_S:
            self.stop(
                Stop.TARGET,
                f"no vehicle has been online for {OFFLINE_GIVE_UP_S:g} s" + status.reasons(),
            )

    def _note_outage(self, connected: int, *, over: bool) -> None:
        now_ns = self._supervisor.clock.now_ns()
        if not over and not self._outage_since_ns:
            # It may have begun just after the look before.
            self._outage_since_ns = now_ns - round(EVERY_S * 1e9)
            self.view.notice = "most vehicles have lost their connection"
            self._folder.log("outage", connected=connected)
        elif over and self._outage_since_ns:
            self.outages.append(
                Outage(self._outage_since_ns, now_ns, "most vehicles had lost their connection")
            )
            self._outage_since_ns = 0
            self.view.notice = ""
            self._folder.log("recovered", connected=connected)
