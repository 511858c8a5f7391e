"""Hot paths, one by one: `make bench-micro`. What they cost is compared by `make bench-ci`."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from fleet_sim.contract import Telemetry
from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.measure.load import Meter, Tally
from fleet_sim.scenario import loads
from fleet_sim.world import World

pytestmark = pytest.mark.bench

SCENARIO = (
    "name: bench\nseed: 5\ncity: {generate: {blocks: [8, 6]}}\n"
    "fleet: [{group: cars, count: 500, parked: 5%}]\nphases: [{name: all, duration: 1h}]\n"
)


@pytest.fixture(scope="module")
def world() -> World:
    return World(loads(SCENARIO))


def test_a_tick_of_five_hundred_vehicles(benchmark: Callable[..., Any], world: World) -> None:
    benchmark(world.step, 0.1)


def test_an_observation_of_five_hundred_vehicles(
    benchmark: Callable[..., Any], world: World
) -> None:
    everybody = np.arange(500)
    assert len(benchmark(world.observe, everybody).lat) == 500


def test_a_message_there_and_back(benchmark: Callable[..., Any]) -> None:
    message = Telemetry("r", "1FSMZ91C0T0000001", 1, 1, 37.8, -122.2, 9.0, 90.0, 0.5, "driving")

    def both() -> Telemetry:
        return msgspec.json.decode(msgspec.json.encode(message), type=Telemetry)

    assert benchmark(both) == message


def test_a_hundred_thousand_latencies(benchmark: Callable[..., Any]) -> None:
    values = np.random.default_rng(1).lognormal(17, 1, 100_000).astype(np.int64)

    def record() -> int:
        histogram = LatencyHistogram()
        histogram.record_ns(values)
        return histogram.count

    assert benchmark(record) == 100_000


def test_a_thousand_requests_of_a_load_test(benchmark: Callable[..., Any]) -> None:
    def tally() -> int:
        meter, total = Meter(), Tally()
        for k in range(1_000):
            meter.record(k // 100, "GET", "near_spots", 10.0 + k % 90, 100)
        total.add(meter.take())
        return total.count

    assert benchmark(tally) == 1_000
