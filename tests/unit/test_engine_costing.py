"""A run as a workload: what is measured, and when it counts."""

from argparse import Namespace
from typing import Any, cast

import numpy as np
import pytest

from fleet_sim.engine.costing import cost_of, workload_of
from fleet_sim.measure.cost import Workload
from fleet_sim.scenario import loads

SCENARIO = """
name: x
fleet: [{group: a, count: 20}]
phases: [{name: p, duration: 1m}]
clock: {speed: SPEED}
"""
MS = 1_000_000
N = 120


def driven(**changed: Any) -> Any:
    """120 messages of 20 vehicles in a minute of wall time."""
    facts = {
        "vehicles": 20,
        "columns": Namespace(sent_ns=np.full(N, 5)),
        "t0_ns": 0,
        "end_ns": 60_000 * MS,
        "sizes": {100: 60, 112: 30, 6000: 30},
        "samples": [Namespace(attempts=2), Namespace(attempts=4)],
    }
    return Namespace(**{**facts, **changed})


def times() -> dict[str, Any]:
    """Batches of 40; an invocation writes the vehicle's state 90 ms after it began."""
    processed = np.repeat(np.array([1, 2, 3]) * 1000 * MS, N // 3)
    stored = np.where(np.arange(N) % 4 == 0, processed + 90 * MS, 0)
    return {"processed": processed, "stored": stored}


def of(speed: int, *, measured: bool, **changed: Any) -> Workload | None:
    scenario = loads(SCENARIO.replace("SPEED", str(speed)))
    return workload_of(scenario, cast(Any, driven(**changed)), times(), measured=measured)


def test_rates_sizes_and_batches_are_the_runs() -> None:
    work = of(1, measured=True)

    assert work is not None
    assert (work.vehicles, work.messages_per_s, work.connects_per_s) == (20, 2.0, 0.1)
    assert work.hours == pytest.approx(1 / 60)
    assert work.sizes == {112: 0.75, 6000: 0.25}  # in steps of 16, rounded up
    assert work.records_per_batch == 40
    assert work.lambda_ms == 90


def test_a_hurried_run_stands_for_a_longer_one() -> None:
    work = of(10, measured=False)

    assert work is not None
    assert work.hours == pytest.approx(1 / 6)
    assert work.messages_per_s == pytest.approx(0.2)
    assert work.messages == pytest.approx(N)
    assert work.records_per_batch is None  # batches fill by the wall clock
    assert work.lambda_ms is None  # and the local AWS's durations are not AWS's


@pytest.mark.parametrize("changed", [{"end_ns": 0}, {"sizes": {}}])
def test_a_run_without_messages_costs_nothing_that_could_be_said(changed: dict[str, Any]) -> None:
    assert of(1, measured=True, **changed) is None


def test_updates_are_those_that_began() -> None:
    scenario = loads(SCENARIO.replace("SPEED", "1"))
    campaign = cast(Any, Namespace(started=8, downloaded_gb=0.4))
    found = cost_of(scenario, driven(), times(), "local", "us-east-1", campaign)

    assert found is not None
    assert (found.workload.updates, found.workload.firmware_bytes) == (8, 5e7)
    assert cost_of(scenario, driven(), times(), "local", "moon-1") is None
