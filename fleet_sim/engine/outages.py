"""The scenario's broker faults: the broker is killed at its time, and started anew."""

import asyncio
from pathlib import Path

from fleet_sim.engine.backend import EmbeddedBackend
from fleet_sim.engine.clock import Clock
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.scenario import Scenario


def check_faults(scenario: Scenario, target: str, name: str | Path) -> None:
    """`PreflightError` for a fault of a broker that is not ours to kill."""
    for i, fault in enumerate(scenario.faults):
        if fault.broker is not None and target != "embedded":
            raise PreflightError(
                f"{name}: faults[{i}].broker: the broker of {target} is not ours to kill "
                "(allowed: with --broker embedded; kill your own by hand)"
            )


class BrokerFaults:
    """Kills and starts the broker of `backend` as `scenario` says, from the moment on at which the
    phases begin."""

    def __init__(
        self, scenario: Scenario, backend: EmbeddedBackend, clock: Clock, folder: RunFolder
    ) -> None:
        speed = scenario.clock.speed
        spans = [
            (fault.at_s / speed, (fault.at_s + fault.for_s) / speed)
            for fault in scenario.faults
            if fault.broker is not None
        ]
        self._spans = _merged(spans)
        self._backend = backend
        self._clock = clock
        self._folder = folder

    async def run(self, supervisor: Supervisor) -> None:
        """Until the last one is mended. Cancelled, it mends what it broke."""
        while not supervisor.t0_ns:
            await self._clock.sleep(0.02)
        t0_ns = supervisor.t0_ns
        for begin_s, end_s in self._spans:
            await self._until(t0_ns + round(begin_s * 1e9))
            self._folder.log("fault", broker="down")
            await asyncio.to_thread(self._backend.break_broker)
            try:
                await self._until(t0_ns + round(end_s * 1e9))
            finally:
                self._backend.mend_broker()
                self._folder.log("mended", broker="up")

    async def _until(self, at_ns: int) -> None:
        await self._clock.sleep(max(0, at_ns - self._clock.now_ns()) / 1e9)


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Overlapping ones are one."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
