"""Broker faults: which target takes them, when the broker dies, and that it always comes back."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from fleet_sim.engine.outages import BrokerFaults, check_faults
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import loads

TEXT = """
name: x
clock: {speed: 2}
fleet: [{group: a, count: 1}]
phases: [{name: p, duration: 60s}]
faults:
  - {at: 10s, for: 10s, broker: {state: down}}
  - {at: 16s, for: 10s, broker: {}}
  - {at: 12s, for: 1s, radio: {state: stalled}}
  - {at: 40s, for: 2s, broker: {}}
"""


class Stage:
    """Clock, backend, supervisor and folder in one: it writes down when what was called."""

    broken = False
    t0_ns = 0

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[tuple[float, str]] = []

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        if not self.t0_ns:  # the phases begin at 1 s
            self.t0_ns = 1_000_000_000
        self.now_s += seconds
        if self.now_s > 30:
            await asyncio.sleep(10)
        await asyncio.sleep(0)

    def log(self, kind: str, **more: object) -> None:
        pass

    def break_broker(self) -> None:
        self.calls.append((self.now_s, "break"))

    def mend_broker(self) -> None:
        self.calls.append((self.now_s, "mend"))


def faults(stage: Stage, text: str = TEXT) -> BrokerFaults:
    anything = cast(Any, stage)
    return BrokerFaults(loads(text), anything, anything, anything)


async def test_the_broker_is_down_in_wall_time_and_overlapping_faults_are_one() -> None:
    stage = Stage()
    await faults(stage).run(cast(Any, stage))
    assert stage.calls == [(6.0, "break"), (14.0, "mend"), (21.0, "break"), (22.0, "mend")]


async def test_a_run_that_ends_within_a_fault_has_its_broker_back() -> None:
    stage = Stage()
    text = TEXT.replace("for: 2s", "for: 19s")
    task = asyncio.create_task(faults(stage, text).run(cast(Any, stage)))
    async with asyncio.timeout(60):
        while len(stage.calls) < 3:  # noqa: ASYNC110 - the stage tells nobody
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # it waits in the second fault, the stage does not go on
    assert len(stage.calls) == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [what for _, what in stage.calls] == ["break", "mend", "break", "mend"]


def test_a_broker_that_is_not_ours_is_not_killed() -> None:
    scenario = loads(TEXT)
    check_faults(scenario, "embedded", Path("x.yaml"))
    for target in ("local", "aws", "mqtt://localhost:1883"):
        with pytest.raises(PreflightError) as caught:
            check_faults(scenario, target, Path("x.yaml"))
        assert str(caught.value) == (
            f"x.yaml: faults[0].broker: the broker of {target} is not ours to kill "
            "(allowed: with --broker embedded; kill your own by hand)"
        )
