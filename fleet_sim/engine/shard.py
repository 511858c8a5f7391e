"""A shard: the vehicles of one process, their world, their connections and their ledger."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import mqtt5
import numpy as np
from numpy.typing import NDArray

from fleet_sim.contract import telemetry_topic
from fleet_sim.engine.clock import Clock
from fleet_sim.engine.outbox import Batch, Composer, Outbox
from fleet_sim.engine.pacing import Schedule
from fleet_sim.engine.radio import Radio
from fleet_sim.measure.ledger import DropCause, Ledger
from fleet_sim.scenario import Scenario
from fleet_sim.transport import ConnectError, Listener, Transport
from fleet_sim.vehicle import Message
from fleet_sim.world import World

STEP_S = 0.1
"""Wall time between steps of the world."""
TICK_S = 0.005
"""Shortest time between two looks at the schedule: it batches what is due, and bounds the lateness
that this costs."""

_ONE_S = 1_000_000_000


class Sample(NamedTuple):
    """One row of the per-second series."""

    t_s: float
    connected: int
    in_flight: int
    stored: int
    occupancy: float
    loop_lag_ms: float


class Shard:
    """Drives its vehicles: steps the world, opens what is due, and keeps the ledger.

    It is the transport's `Listener`. `run` may be called once, after `connect`.
    """

    def __init__(
        self,
        scenario: Scenario,
        world: World,
        *,
        run: str,
        clock: Clock,
        make_transport: Callable[[Listener], Transport],
        firmware: str = "1.0.0",
    ) -> None:
        self.scenario = scenario
        self.world = world
        self.clock = clock
        self.samples: list[Sample] = []
        self.lateness_ns: list[NDArray[np.int64]] = []
        """How long after its intended time each message was opened, in batches, in ledger order.
        It is the generator's own fault, unlike a wait for the radio or the broker."""
        self.stop_requested = False
        self.t0_ns = 0
        """When the first phase began, ns since the epoch."""
        self.end_ns = 0
        """When the schedule ended or was stopped."""
        self.cpu_s = 0.0
        """CPU time of this process during the phases, user and system."""
        self.qos0: NDArray[np.bool_] = np.zeros(world.n, bool)
        """[vehicles] True for those that publish with QoS 0."""
        composer = Composer(scenario, world, run, firmware)
        speed = scenario.clock.speed
        duration_ns = round(scenario.duration_s / speed * _ONE_S)
        self._outboxes: list[Outbox] = []
        first = 0
        for group in scenario.fleet:
            period_ns = round(group.telemetry.period_s / speed * _ONE_S)
            schedule = Schedule(group.count, period_ns, duration_ns)
            self._outboxes.append(Outbox(schedule, first, group.telemetry.qos, composer))
            self.qos0[first : first + group.count] = group.telemetry.qos == 0
            first += group.count
        self.duration_ns = duration_ns
        self.scheduled_total = sum(outbox.schedule.total for outbox in self._outboxes)
        self.ledger = Ledger(max(1, self.scheduled_total))
        self.on_acknowledged = (
            self.ledger.acked
        )  # no call in between: it happens with every message
        self._topics = [telemetry_topic(vin) for vin in world.vins]
        self._all_online = asyncio.Event()
        self._online = 0
        self.transport = make_transport(self)
        self._radio = Radio(world, np.arange(world.n), self.transport, clock)

    # -- Listener ---------------------------------------------------------------------------------

    def on_online(self, i: int) -> None:
        self._online += 1
        if self._online == self.world.n:
            self._all_online.set()

    def on_offline(self, i: int, reason: str) -> None:
        self._online -= 1

    def on_sent(self, token: int, t_ns: int, duplicate: bool) -> None:
        self.ledger.sent(token, t_ns)

    def on_evicted(self, token: int) -> None:
        self.ledger.dropped(token, DropCause.BUFFER_FULL)

    def on_refused(self, token: int, reason: str) -> None:
        self.ledger.dropped(token, DropCause.REFUSED)

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        """Vehicles are not subscribed to anything yet."""

    # -- life -------------------------------------------------------------------------------------

    @property
    def connected(self) -> int:
        """Vehicles that are online now."""
        return self._online

    async def connect(self, timeout_s: float) -> None:
        """Connect every vehicle and wait until all are online at once: no message is sent before.

        `ConnectError` after `timeout_s` with the reasons counted.
        """
        self._radio.begin()
        for i in range(self.world.n):
            self.transport.open(i)
        try:
            await asyncio.wait_for(self._all_online.wait(), timeout_s)
        except TimeoutError:
            raise ConnectError(
                f"{self._online} of {self.world.n} vehicles connected within {timeout_s:g} s"
                + self.failure_reasons()
            ) from None

    def delivered(self) -> int:
        """Messages that the cloud should have by now: acknowledged ones, and those sent with QoS 0,
        which nobody acknowledges."""
        columns = self.ledger.columns()
        unconfirmed = self.qos0[columns.vehicle] & (columns.sent_ns != 0)
        return int((columns.acknowledged | unconfirmed).sum())

    def failure_reasons(self) -> str:
        """Why connections failed so far, most frequent first, as the end of a sentence."""
        reasons = self.transport.failures.most_common(3)
        return "".join(f"; {count} × {reason}" for reason, count in reasons)

    def reachable(self, settled_s: float) -> int:
        """Vehicles whose radio link has been there for `settled_s`: they should be online."""
        return self._radio.reachable(settled_s)

    async def run(self) -> None:
        """Step and publish until the phases are over or `stop_requested`."""
        now_ns = self.clock.now_ns
        step_ns = round(STEP_S * _ONE_S)
        step_sim_s = STEP_S * self.scenario.clock.speed
        cpu_before = time.process_time()
        # The world's first state must exist before the first message is due.
        self._step(step_sim_s)
        self._prepare(step_ns)
        self.t0_ns = now_ns()
        next_step_ns = step_ns
        next_sample_ns = 0
        wake_ns = 0
        lag_ns = 0
        while not self.stop_requested:
            elapsed = now_ns() - self.t0_ns
            lag_ns = max(lag_ns, elapsed - wake_ns)
            if elapsed >= next_step_ns and elapsed < self.duration_ns:
                self._step(step_sim_s)
                next_step_ns += step_ns
                self._prepare(next_step_ns)
            behind = next_step_ns <= min(elapsed, self.duration_ns - 1)
            wait_ns = max(0, next_step_ns - elapsed)
            finished = not behind
            for outbox in self._outboxes:
                taken, plan = outbox.take(elapsed)
                if taken.payloads:
                    self._send(taken, outbox.qos)
                if not plan.stop:
                    finished = False
                    wait_ns = min(wait_ns, plan.wait_ns)
            if elapsed >= next_sample_ns:
                self._sample(elapsed, lag_ns)
                lag_ns = 0
                next_sample_ns += _ONE_S
            if finished and elapsed >= self.duration_ns:
                break
            # At least a tick, so that due messages come in batches; sockets are served meanwhile.
            # A world that is behind catches up without a pause.
            pause_ns = 0 if behind else max(wait_ns, round(TICK_S * _ONE_S))
            wake_ns = now_ns() - self.t0_ns + pause_ns
            await self.clock.sleep(pause_ns / _ONE_S)
        self.end_ns = now_ns()
        self.cpu_s = time.process_time() - cpu_before

    async def drain(self, timeout_s: float) -> None:
        """Wait until everything is sent and acknowledged, or no longer than `timeout_s`.

        The world stands still now, so a vehicle without radio link would stay without: every link
        comes back, and what was stored is forwarded.
        """
        self._radio.end()
        deadline_ns = self.clock.now_ns() + round(timeout_s * _ONE_S)
        while any(self.transport.backlog()) and self.clock.now_ns() < deadline_ns:
            await self.clock.sleep(0.05)

    async def close(self, timeout_s: float) -> None:
        """Disconnect; what was never sent is marked in the ledger as given up at shutdown."""
        sent = self.ledger.column("sent_ns")
        for message in await self.transport.close(timeout_s):
            if not sent[message.token]:
                self.ledger.dropped(message.token, DropCause.SHUTDOWN)

    # -- inside -----------------------------------------------------------------------------------

    def _step(self, sim_s: float) -> None:
        self.world.step(sim_s)
        self._radio.follow()

    def _prepare(self, until_ns: int) -> None:
        for outbox in self._outboxes:
            self._radio.shape(outbox.prepare(until_ns))

    def _send(self, due: Batch, qos: int) -> None:
        """Open what is due: into the ledger, to the transport."""
        self.lateness_ns.append(self.clock.now_ns() - self.t0_ns - due.intended_ns)
        row = self.ledger.open_many(due.vehicles, due.seqs, due.intended_ns + self.t0_ns)
        publish, topics = self.transport.publish, self._topics
        for i, payload in zip(due.vehicles.tolist(), due.payloads, strict=True):
            publish(i, Message(row, topics[i], payload, qos))
            row += 1

    def _sample(self, elapsed_ns: int, lag_ns: int) -> None:
        in_flight, stored = self.transport.backlog()
        self.samples.append(
            Sample(
                elapsed_ns / _ONE_S,
                self._online,
                in_flight,
                stored,
                float(self.world.truth.occupied.mean()),
                lag_ns / 1e6,
            )
        )
