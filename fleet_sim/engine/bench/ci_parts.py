"""What `fleet-sim bench ci` measures: parts of the product by CPU time, each a fixed piece of work,
and the calibration that stands beside every measurement.

The calibration is no part of the product: it changes with the machine and its neighbours only.
"""

import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from fleet_sim.engine.bench import processor
from fleet_sim.scenario import loads
from fleet_sim.world import World

CALIBRATION_ROUNDS = 120
BATCH = 500
PROCESSOR_VEHICLES, PROCESSOR_SECONDS = 100, 20
WORLD_VEHICLES, WORLD_STEPS = 500, 200
OBSERVED = np.arange(WORLD_VEHICLES)

_DOCUMENT = {
    "vin": "0FSTRK",
    "values": list(range(40)),
    "nested": {f"k{i}": i / 7 for i in range(20)},
}

Work = Callable[[], float]
"""Does the work once; CPU seconds of it."""


class Part(NamedTuple):
    name: str
    what: str
    prepare: Callable[[], Work]


def calibrate() -> tuple[float, float]:
    """CPU and wall seconds of a fixed mix of what the product does: interpreted loops, JSON,
    hashes, arrays. Some 50 ms."""
    began, cpu = time.perf_counter(), time.process_time()
    array = np.arange(20_000, dtype=np.float64)
    total = 0
    for _ in range(CALIBRATION_ROUNDS):
        for k in range(3_000):
            total += k & 7
        data = msgspec.json.encode(_DOCUMENT)
        for _ in range(20):
            msgspec.json.decode(data)
        total += hashlib.sha256(data * 20).digest()[0]
        total += int(np.sqrt(array).sum()) & 1
        table = {f"{k}": k for k in range(500)}
        total += len(sorted(table))
    assert total  # the work is not left out
    return time.process_time() - cpu, time.perf_counter() - began


def processor_part() -> Work:
    """The telemetry processor on the same records each time, from an empty state."""
    prepared = processor.prepare(PROCESSOR_SECONDS, PROCESSOR_VEHICLES)
    incoming = prepared.incoming

    def once() -> float:
        pipeline = processor.pipeline_of(prepared)
        began = time.process_time()
        for start in range(0, len(incoming), BATCH):
            outcome = pipeline.process(incoming[start : start + BATCH])
            if outcome.failed or outcome.refused:
                raise RuntimeError(f"the processor refused its own records: {outcome}")
        return time.process_time() - began

    return once


def world_part() -> Work:
    """Physics and sensors of a fleet, a tick each 0.1 s and an observation a second."""
    scenario = loads(
        "name: bench\nseed: 5\ncity: {generate: {blocks: [8, 6]}}\n"
        f"fleet: [{{group: cars, count: {WORLD_VEHICLES}, parked: 5%}}]\n"
        "phases: [{name: all, duration: 1h}]\n",
        name="bench ci",
    )

    def once() -> float:
        world = World(scenario)  # the same each time: from the seed
        began = time.process_time()
        for step in range(WORLD_STEPS):
            world.step(0.1)
            if step % 10 == 0:
                world.observe(OBSERVED)
        return time.process_time() - began

    return once


PARTS = (
    Part("processor", "CPU of the telemetry processor, the same records", processor_part),
    Part("world", "CPU of physics and sensors, the same seconds", world_part),
)


def slowed(work: Work, share: float) -> Work:
    """Does the work and then burns `share` of its CPU time: a slowdown that is known."""

    def once() -> float:
        took_s = work()
        began = time.process_time()
        while time.process_time() - began < share * took_s:
            pass
        return took_s + time.process_time() - began

    return once
