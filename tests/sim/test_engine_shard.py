"""The shard on a clock that jumps and a transport without a network."""

import asyncio
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from fleet_sim.contract import Telemetry
from fleet_sim.engine.shard import Shard
from fleet_sim.measure.ledger import DropCause
from fleet_sim.scenario import loads
from fleet_sim.transport import ConnectError, Listener, MemoryTransport, Transport
from fleet_sim.vehicle import Message
from fleet_sim.world import World
from fleet_sim.world.firmware import firmware_of

START_NS = 1_780_000_000_000_000_000

SCENARIO = """
name: small
seed: 7
city: {generate: {blocks: [3, 3]}}
fleet:
  - {group: quick, count: 4, telemetry: {period: 500ms, qos: 1}}
  - {group: slow, count: 3, telemetry: {period: 2s, qos: 0}}
phases:
  - {name: only, duration: 6s}
"""


class JumpClock:
    """Time passes only where somebody waits, and by `stall_s` more once `stall_at_s` is reached."""

    def __init__(self, stall_at_s: float = 1e9, stall_s: float = 0.0) -> None:
        self.t_ns = START_NS
        self._stall_ns = START_NS + stall_at_s * 1e9
        self._stall_s = stall_s

    def now_ns(self) -> int:
        return self.t_ns

    async def sleep(self, seconds: float) -> None:
        self.t_ns += round(seconds * 1e9)
        if self.t_ns >= self._stall_ns:
            self.t_ns += round(self._stall_s * 1e9)
            self._stall_ns = 1e30
        await asyncio.sleep(0)


class Broker:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.received: list[Telemetry] = []

    def deliver(self, i: int, message: Message) -> None:
        self.received.append(msgspec.json.decode(message.payload, type=Telemetry))


def build(clock: JumpClock, broker: Broker, text: str = SCENARIO) -> Shard:
    scenario = loads(text)
    world = World(scenario)

    def connect_by(listener: Listener) -> Transport:
        return MemoryTransport(world.n, listener, now_ns=clock.now_ns, deliver=broker.deliver)

    return Shard(scenario, world, run="r1", clock=clock, make_transport=connect_by)


class SlowBroker(MemoryTransport):
    """Has one message in flight at a time, over all vehicles, and acknowledges it after 0.3 s."""

    def __init__(self, n: int, listener: Listener, clock: JumpClock) -> None:
        super().__init__(n, listener, now_ns=clock.now_ns)
        self._to, self._clock = listener, clock
        self._waiting: list[Message] = []
        self._due_ns = 0

    def publish(self, i: int, message: Message) -> None:
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self._send_first()

    def _send_first(self) -> None:
        self._to.on_sent(self._waiting[0].token, self._clock.now_ns(), False)
        self._due_ns = self._clock.now_ns() + 300_000_000

    def backlog(self) -> tuple[int, int]:
        if self._waiting and self._clock.now_ns() >= self._due_ns:
            self._to.on_acknowledged(self._waiting.pop(0).token, self._clock.now_ns(), 0)
            if self._waiting:
                self._send_first()
        return int(bool(self._waiting)), max(0, len(self._waiting) - 1)

    def discard(self) -> list[Message]:
        stored, self._waiting = self._waiting[1:], self._waiting[:1]
        return stored

    async def close(self, timeout_s: float) -> list[Message]:
        return self._waiting


async def drained(kind: type[SlowBroker]) -> Shard:
    """A shard whose drain had a second."""
    clock, scenario = JumpClock(), loads(SCENARIO)
    shard = Shard(
        scenario, World(scenario), run="r1", clock=clock,
        make_transport=lambda listener: kind(7, listener, clock),
    )  # fmt: skip
    await shard.connect(1.0)
    await shard.run()
    await shard.drain(1.0)
    return shard


async def test_a_drain_whose_time_is_up_sends_nothing_more_and_waits_for_what_is_out() -> None:
    shard = await drained(SlowBroker)
    columns = shard.ledger.columns()
    assert shard.transport.backlog() == (0, 0)
    assert (columns.sent_ns == 0).sum() > 10
    assert np.array_equal(columns.sent_ns != 0, columns.acked_ns != 0)
    assert ((columns.cause == DropCause.SHUTDOWN) == (columns.sent_ns == 0)).all()


class Cutting(SlowBroker):
    """Acknowledges nothing any more, and its connection is gone when `gone`."""

    gone = False

    def backlog(self) -> tuple[int, int]:
        return int(bool(self._waiting)), max(0, len(self._waiting) - 1)

    def stranded(self) -> list[Message]:
        return self._waiting[:1] if self.gone else []


@pytest.mark.parametrize("gone", [True, False])
async def test_only_a_connection_that_is_gone_explains_what_was_sent_and_not_answered(
    gone: bool,
) -> None:
    shard = await drained(Cutting)
    shard.transport.gone = gone
    await shard.close(1.0)
    columns = shard.ledger.columns()
    sent = columns.sent_ns != 0
    assert sent.sum() == 1
    assert columns.cause[sent].tolist() == [DropCause.CUT_OFF if gone else DropCause.NONE]


async def test_every_vehicle_sends_each_of_its_messages_once_in_order_and_on_time() -> None:
    clock, broker = JumpClock(), Broker()
    shard = build(clock, broker)
    await shard.connect(1.0)
    await shard.run()
    await shard.close(1.0)
    assert shard.scheduled_total == 4 * 12 + 3 * 3
    assert len(broker.received) == len(shard.ledger) == shard.scheduled_total
    for i, vin in enumerate(shard.world.vins):
        sequence = [m.seq for m in broker.received if m.vin == vin]
        assert sequence == list(range(1, (12 if i < 4 else 3) + 1))
    columns = shard.ledger.columns()
    lateness = columns.sent_ns - columns.intended_ns
    assert lateness.min() >= 0
    assert lateness.max() <= 10_000_000  # a tick or two of 5 ms
    assert np.array_equal(np.concatenate(shard.lateness_ns), lateness)
    assert (columns.acked_ns[columns.vehicle < 4] != 0).all()
    assert (columns.acked_ns[columns.vehicle >= 4] == 0).all()  # QoS 0
    assert shard.delivered() == shard.scheduled_total
    assert [round(s.t_s) for s in shard.samples] == [0, 1, 2, 3, 4, 5, 6]


async def test_event_time_is_simulated_time_and_runs_at_the_clocks_speed() -> None:
    clock, broker = JumpClock(), Broker()
    shard = build(clock, broker, SCENARIO + "clock: {speed: 4, start: 2026-06-05T17:00:00Z}\n")
    await shard.connect(1.0)
    await shard.run()
    start_ms = 1_780_678_800_000  # 2026-06-05T17:00:00Z
    times = [m.ts - start_ms for m in broker.received]
    assert shard.duration_ns == 1_500_000_000
    assert times[0] >= 0
    assert 5_000 <= max(times) <= 6_500
    assert times == sorted(times)


async def test_a_generator_that_stalls_sends_everything_and_owns_up_to_its_lateness() -> None:
    clock, broker = JumpClock(stall_at_s=2.0, stall_s=3.0), Broker()
    shard = build(clock, broker)
    await shard.connect(1.0)
    await shard.run()
    assert len(broker.received) == shard.scheduled_total
    lateness = np.concatenate(shard.lateness_ns)
    assert lateness.max() > 2_900_000_000
    assert max(s.loop_lag_ms for s in shard.samples) > 2_900


@pytest.mark.parametrize("stall_s", [0.1, 0.3, 0.9, 4.0])
@pytest.mark.parametrize("stall_at_s", [5.7, 5.9, 5.99])
async def test_a_generator_that_stalls_just_before_the_end_catches_up_and_ends(
    stall_at_s: float, stall_s: float
) -> None:
    clock, broker = JumpClock(stall_at_s, stall_s), Broker()
    shard = build(clock, broker)
    await shard.connect(1.0)
    await asyncio.wait_for(shard.run(), 60)  # or it would turn for ever
    assert shard.overloaded == ""
    assert len(broker.received) == shard.scheduled_total
    assert clock.now_ns() - START_NS < (6.2 + stall_s) * 1e9


async def test_a_radio_outage_delays_messages_and_loses_none() -> None:
    clock, broker = JumpClock(), Broker()
    text = SCENARIO + "faults: [{at: 1s, for: 2s, radio: {state: down, district: all}}]\n"
    shard = build(clock, broker, text)
    await shard.connect(1.0)
    await shard.run()
    assert len(broker.received) == shard.scheduled_total
    columns = shard.ledger.columns()
    waited_ms = (columns.sent_ns - columns.intended_ns) / 1e6
    assert waited_ms.max() > 1_500
    assert np.concatenate(shard.lateness_ns).max() < 20_000_000  # the radio's fault, not its own
    assert shard.transport.failures["no radio"] >= shard.world.n
    assert min(s.connected for s in shard.samples) == 0


async def test_stopping_leaves_the_rest_unsent_and_the_unsent_marked() -> None:
    clock, broker = JumpClock(), Broker()
    text = SCENARIO + "faults: [{at: 1s, for: 5s, radio: {state: down, district: all}}]\n"
    shard = build(clock, broker, text)
    await shard.connect(1.0)
    running = asyncio.create_task(shard.run())
    while shard.t0_ns == 0 or clock.now_ns() < shard.t0_ns + 2_000_000_000:  # noqa: ASYNC110
        await asyncio.sleep(0)
    shard.stop_requested = True
    await running
    await shard.close(1.0)
    assert len(shard.ledger) < shard.scheduled_total
    columns = shard.ledger.columns()
    unsent = columns.sent_ns == 0
    assert unsent.any()
    assert (columns.cause[unsent] == DropCause.SHUTDOWN).all()
    assert (columns.cause[~unsent] == DropCause.NONE).all()


async def test_a_vehicle_that_does_not_connect_fails_the_run_and_is_counted() -> None:
    class Stubborn(MemoryTransport):
        def open(self, i: int) -> None:
            if i == 2:
                self.failures["refused by the broker: not authorized (0x87)"] += 1
            else:
                super().open(i)

    clock = JumpClock()
    scenario = loads(SCENARIO)
    world = World(scenario)
    shard = Shard(
        scenario,
        world,
        run="r1",
        clock=clock,
        make_transport=lambda listener: cast(Any, Stubborn(world.n, listener, now_ns=clock.now_ns)),
    )
    with pytest.raises(ConnectError, match=r"6 of 7 .* 1 × refused by the broker: not authorized"):
        await shard.connect(0.05)


async def test_each_vehicle_says_the_firmware_it_has() -> None:
    clock, broker = JumpClock(), Broker()
    text = SCENARIO.replace("count: 4,", "count: 4, firmware: {1.0.0: 75%, 0.9.0: 25%},")
    shard = build(clock, broker, text)
    await shard.connect(1.0)
    await shard.run()
    said = {m.vin: m.fw for m in broker.received}
    assert sorted(said.values()) == ["0.9.0"] + ["1.0.0"] * 6
    assert [said[vin] for vin in shard.world.vins] == firmware_of(shard.scenario)
