"""This engine: the real `Shard` with its ledger over the native transport, with physics and
without."""

import asyncio
import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.bench.engine.task import (
    CONCURRENCY,
    CONNECT_TIMEOUT_S,
    Outcome,
    Task,
    resident_kb,
    window,
)
from fleet_sim.engine.clock import MonotonicEpoch
from fleet_sim.engine.outbox import Composer
from fleet_sim.engine.shard import Shard
from fleet_sim.scenario import Scenario, loads
from fleet_sim.transport import LinkSettings, Listener, Transport, make_transport
from fleet_sim.world import World


class _Fixed(Composer):
    """The same payload for everybody."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def compose(self, vehicles: NDArray[np.int64], seqs: Sequence[int]) -> list[bytes]:
        return [self._payload] * len(seqs)


class _Counted(Shard):
    """Tells how long the payloads are that it sends."""

    bytes_sent = 0
    messages_sent = 0

    def _send(self, due, qos):  # type: ignore[no-untyped-def]
        self.bytes_sent += sum(map(len, due.payloads))
        self.messages_sent += len(due.payloads)
        super()._send(due, qos)


class _Still(_Counted):
    """Its world stands still."""

    def _step(self, sim_s: float) -> None:
        pass


def scenario(task: Task) -> Scenario:
    """All vehicles at the same period in a city that holds them, without radio."""
    side = max(3, math.ceil(math.sqrt(task.vehicles * 60.0 / 400.0)))
    length = 100
    if side > 60:
        length, side = min(1_000, math.ceil(100 * side / 60)), 60
    period_ms = max(1, round(task.period_s * 1000))
    return loads(
        f"name: bench\nseed: 1\ncity: {{generate: {{blocks: [{side}, {side}], "
        f"block_length: {length}m}}}}\n"
        f"fleet: [{{group: cars, count: {task.vehicles}, parked: 5%, radio: none, "
        f"telemetry: {{period: {period_ms}ms, qos: 1}}}}]\n"
        f"phases: [{{name: all, duration: {math.ceil(task.total_s) + 60}s, "
        "parking: {occupancy: 60%}}]\n",
        name="bench engine",
    )


async def drive(task: Task) -> Outcome:
    physics = task.contestant == "ours"
    clock = MonotonicEpoch()
    spec = scenario(task)
    base_kb = resident_kb()
    world = World(spec)
    if not physics:
        base_kb = resident_kb()  # the world is there because the shard asks for one
    link = LinkSettings(task.host, task.port, connect_rate=1e6, connect_concurrency=CONCURRENCY)
    uniform = np.random.default_rng(1).random

    def connect_by(listener: Listener) -> Transport:
        return make_transport(link, world.vins, listener, now_ns=clock.now_ns, uniform=uniform)

    kind = _Counted if physics else _Still
    shard = kind(spec, world, run="bench", clock=clock, make_transport=connect_by)
    if not physics:
        for outbox in shard._outboxes:
            outbox._composer = _Fixed(task.payload)
    began = time.perf_counter()
    await shard.connect(CONNECT_TIMEOUT_S)
    connect_s = time.perf_counter() - began
    connected_kb = resident_kb()
    running = asyncio.create_task(shard.run())
    measured = await window(task, lambda: int(np.count_nonzero(shard.ledger.column("acked_ns"))))
    shard.stop_requested = True
    await running
    connected = shard.connected
    await shard.close(2.0)
    late_ns = np.concatenate(shard.lateness_ns)
    return Outcome(
        connected,
        connect_s,
        base_kb,
        connected_kb,
        *measured,
        float(np.percentile(late_ns, 99)) / 1e6,
        shard.bytes_sent / max(1, shard.messages_sent),
    )
