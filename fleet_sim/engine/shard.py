"""A shard: the vehicles of one process, their world, their connections and their ledger."""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import mqtt5
import numpy as np
from numpy.typing import NDArray

from fleet_sim.contract import telemetry_topic
from fleet_sim.engine.clock import Clock
from fleet_sim.engine.encoding import encoder
from fleet_sim.engine.ota.http import Getter
from fleet_sim.engine.ota.live import Brought, LiveUpdates
from fleet_sim.engine.outbox import Batch, Composer, Outbox
from fleet_sim.engine.radio import Radio
from fleet_sim.engine.status import RECONNECT_S, Sample, Status, p99_ms, resident_mb
from fleet_sim.engine.timetable import duration_ns, schedules, step_s
from fleet_sim.measure.ledger import DropCause, Ledger
from fleet_sim.measure.live import LATENESS, LiveHistogram, LiveLedger, LiveStats
from fleet_sim.scenario import Scenario
from fleet_sim.transport import ConnectError, Listener, Transport
from fleet_sim.vehicle import Message
from fleet_sim.world import Share, Simulated, share_out
from fleet_sim.world.firmware import firmware_of

TICK_S = 0.005
"""Shortest time between two looks at the schedule: it batches what is due, and bounds the lateness
that this costs."""

_ONE_S = 1_000_000_000

SKIP_S = 5.0
"""A message that the generator cannot open within this of its time is dropped, and counted."""
OVERLOADED_S, GIVE_UP_S = 1.0, 10.0
"""A shard that stays further behind its schedule than the first for the second gives up."""

SETTLE_S = 2.0
"""A drain whose time is up ends when no acknowledgement has come for so long, or for that time if
it is shorter."""


class Shard:
    """Drives its vehicles: steps the world, opens what is due, and keeps the ledger.

    `share` says which of the world's vehicles they are; the others live in the same world and are
    some other shard's. A vehicle's index here and in the transport is its place in the share; the
    ledger has its index in the whole fleet. It is the transport's `Listener`. `run` may be called
    once, after `connect`.
    """

    def __init__(
        self,
        scenario: Scenario,
        world: Simulated,
        *,
        share: Share | None = None,
        ledger_folder: Path | None = None,
        run: str,
        clock: Clock,
        make_transport: Callable[[Listener], Transport],
        brought: Brought | None = None,
        getter: Getter | None = None,
    ) -> None:
        self.scenario = scenario
        self.world = world
        self.clock = clock
        self.samples: list[Sample] = []
        self.lateness_ns: list[NDArray[np.int64]] = []
        """How long after its intended time each message was opened, in batches, in ledger order.
        It is the generator's own fault, unlike a wait for the radio or the broker."""
        self.share = share or share_out(scenario, 1)[0]
        self.stop_requested = False
        self.overloaded = ""
        """Why it gave up: it could not hold the schedule."""
        self.t0_ns = 0
        """When the first phase began, ns since the epoch."""
        self.end_ns = 0
        """When the schedule ended or was stopped."""
        self._sizes: Counter[int] = Counter()
        self._lengths: list[int] = []  # of payloads, until they are counted
        self.cpu_s = 0.0
        """CPU time of this process during the phases, user and system."""
        self.n = self.share.n
        """Number of its vehicles."""
        self.qos0: NDArray[np.bool_] = np.zeros(self.n, bool)
        """[vehicles] True for those that publish with QoS 0."""
        self._members = self.share.members
        versions = firmware_of(scenario)
        ids, members = self.share.ids.tolist(), self._members.tolist()
        firmware = {world.vins[m]: versions[i] for i, m in zip(ids, members, strict=True)}
        self._step_s = step_s(scenario)
        self._outboxes: list[Outbox] = []
        first = 0
        for group, schedule in zip(scenario.fleet, schedules(scenario, self.share), strict=True):
            encode = encoder(group.telemetry.encoding, run, firmware)
            composer = Composer(scenario, world, self._members, encode)
            outbox = Outbox(schedule, first, group.telemetry.qos, composer, self._composed)
            self._outboxes.append(outbox)
            self.qos0[first : first + schedule.size] = group.telemetry.qos == 0
            first += schedule.size
        self.duration_ns = duration_ns(scenario)
        self.scheduled_total = sum(outbox.schedule.total for outbox in self._outboxes)
        self.ledger = Ledger(max(1, self.scheduled_total), ledger_folder)
        self._live = LiveLedger(self.ledger, self._unconfirmed)
        self._live_lateness, self._lateness_told = LiveHistogram(), 0
        # No call in between: it happens with every message.
        self.on_sent: Callable[[int, int, bool], None] = self.ledger.sent
        self.on_acknowledged: Callable[[int, int, int], None] = self.ledger.acked
        self.vins: list[str] = [world.vins[i] for i in self._members.tolist()]
        self._topics = [telemetry_topic(vin) for vin in self.vins]
        self._all_online = asyncio.Event()
        self._online = 0
        self._armed = False
        self._attempts = 0  # to connect, up to the last sample
        self.transport = make_transport(self)
        self._radio = Radio(world, self._members, self.transport, clock)
        self.updates: LiveUpdates | None = None
        """Of its vehicles' firmware, when the run has a campaign."""
        if brought is not None and getter is not None:
            self.updates = LiveUpdates(
                scenario,
                world,
                self.share,
                self.vins,
                brought,
                clock=clock,
                getter=getter,
                publish=self.transport.publish,
                power=self._radio,
            )
            self._radio.watcher = self.updates
            self.on_sent, self.on_acknowledged = self._sent, self._acknowledged

    # -- Listener ---------------------------------------------------------------------------------

    def on_online(self, i: int) -> None:
        self._online += 1
        if self._online == self.n:
            self._all_online.set()
        if self.updates is not None:
            self.updates.on_online(i)

    def on_offline(self, i: int, reason: str) -> None:
        self._online -= 1
        if self.updates is not None:
            self.updates.on_offline(i)

    # What an update says is in no ledger: its tokens are negative.

    def _sent(self, token: int, t_ns: int, duplicate: bool) -> None:
        if token >= 0:
            self.ledger.sent(token, t_ns, duplicate)

    def _acknowledged(self, token: int, t_ns: int, reason_code: int) -> None:
        if token >= 0:
            self.ledger.acked(token, t_ns, reason_code)

    def on_evicted(self, token: int) -> None:
        if token >= 0:
            self.ledger.dropped(token, DropCause.BUFFER_FULL)

    def on_refused(self, token: int, reason: str) -> None:
        if token >= 0:
            self.ledger.dropped(token, DropCause.REFUSED)

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        """Vehicles subscribe to what their updates need, and to nothing else."""
        if self.updates is not None:
            self.updates.on_message(i, packet)

    # -- life -------------------------------------------------------------------------------------

    @property
    def connected(self) -> int:
        """Vehicles that are online now."""
        return self._online

    @property
    def sizes(self) -> Counter[int]:
        """How many messages had so many bytes of payload."""
        self._sizes.update(self._lengths)
        self._lengths.clear()
        return self._sizes

    def vin_of(self, vehicle: int) -> str:
        """Of an index in the whole fleet."""
        return self.vins[int(np.searchsorted(self.share.ids, vehicle))]

    async def connect(self, timeout_s: float) -> None:
        """Connect every vehicle and wait until all are online at once: no message is sent before.

        `ConnectError` after `timeout_s` with the reasons counted.
        """
        self._radio.begin()
        for i in range(self.n):
            self.transport.open(i)
        if not self.n:  # more shards than vehicles
            self._all_online.set()
        try:
            await asyncio.wait_for(self._all_online.wait(), timeout_s)
        except TimeoutError:
            raise ConnectError(
                f"{self._online} of {self.n} vehicles connected within {timeout_s:g} s"
                + self.failure_reasons()
            ) from None

    def delivered(self) -> int:
        """Messages that the cloud should have by now: acknowledged ones, and those sent with QoS 0,
        which nobody acknowledges."""
        columns = self.ledger.columns()
        unconfirmed = self._unconfirmed(columns.vehicle) & (columns.sent_ns != 0)
        return int((columns.acknowledged | unconfirmed).sum())

    def failure_reasons(self) -> str:
        """Why connections failed so far, most frequent first, as the end of a sentence."""
        reasons = self.transport.failures.most_common(3)
        return "".join(f"; {count} × {reason}" for reason, count in reasons)

    def reachable(self, settled_s: float) -> int:
        """Vehicles whose radio link has been there for `settled_s`: they should be online."""
        return self._radio.reachable(settled_s)

    def arm(self) -> None:
        """Bring the world to its first state, which must exist before the first message is due."""
        self._step(self._step_s * self.scenario.clock.speed)
        self._prepare(round(self._step_s * _ONE_S))
        self._armed = True

    def status(self) -> Status:
        """How it goes, for people and for the watch."""
        now_ns = self.clock.now_ns()
        # The newest rows cover the last second or more, whatever the length of the run.
        a_second = int(self.scheduled_total / max(self.duration_ns / _ONE_S, 1.0)) + 1
        newest = slice(max(0, len(self.ledger) - 2 * a_second), len(self.ledger))
        intended = self.ledger.column("intended_ns")[newest]
        sent = self.ledger.column("sent_ns")[newest]
        acked = self.ledger.column("acked_ns")[newest]
        recent = (intended > now_ns - 2 * _ONE_S) & (intended <= now_ns - _ONE_S)
        in_flight, stored = self.transport.backlog()
        counts = self.world.counts()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Status(
            vehicles=self.n,
            connected=self._online,
            reachable=self.reachable(RECONNECT_S),
            opened=len(self.ledger),
            in_flight=in_flight,
            stored=stored,
            sent_per_s=int((recent & (sent != 0)).sum()),
            acknowledged_per_s=int((recent & (acked != 0)).sum()),
            # The generator's own; a wait for the radio or the broker is in the one after it.
            lateness_p99_ms=p99_ms(self.lateness_ns[-100:]),
            acknowledged_p99_ms=p99_ms([(acked - intended)[recent & (acked != 0)]]),
            # Several shards may simulate one town: it counts once.
            driving=self.share.leads * (counts["driving"] + counts["cruising"]),
            occupied=self.share.leads * counts["occupied_stalls"],
            stalls=self.share.leads * counts["stalls"],
            cpu_s=usage.ru_utime + usage.ru_stime,
            rss_mb=resident_mb(),
            overloaded=self.overloaded,
            failures=dict(self.transport.failures.most_common(3)),
            reconnects=sum(sample.attempts for sample in self.samples),
            live=self._measured(),
        )

    def _measured(self) -> dict[str, LiveStats]:
        fresh = self.lateness_ns[self._lateness_told :]
        self._lateness_told += len(fresh)
        for batch in fresh:
            self._live_lateness.record_ns(batch)
        return {**self._live.look(), LATENESS: self._live_lateness.snapshot()}

    def _unconfirmed(self, vehicles: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of these, by index in the fleet, publish with QoS 0. Ids ascend: a share lists
        groups in order, and vehicles in order within."""
        return self.qos0[np.searchsorted(self.share.ids, vehicles)]

    async def run(self, t0_ns: int | None = None) -> None:
        """Step and publish until the phases are over or `stop_requested`. The first phase begins at
        `t0_ns`, ns since the epoch; by default at once."""
        now_ns = self.clock.now_ns
        step_ns = round(self._step_s * _ONE_S)
        step_sim_s = self._step_s * self.scenario.clock.speed
        cpu_before = time.process_time()
        if not self._armed:
            self.arm()
        begin_ns = now_ns() if t0_ns is None else t0_ns
        while (early_ns := begin_ns - now_ns()) > 0 and not self.stop_requested:
            await self.clock.sleep(min(early_ns / _ONE_S, 0.1))
        self.t0_ns = begin_ns
        self._attempts = self.transport.attempts
        next_step_ns = step_ns
        in_time_ns = 0
        next_sample_ns = 0
        wake_ns = 0
        lag_ns = 0
        while not self.stop_requested:
            if self.updates is not None:
                self.updates.pump()
            elapsed = now_ns() - self.t0_ns
            lag_ns = max(lag_ns, elapsed - wake_ns)
            if next_step_ns <= min(elapsed, self.duration_ns - 1):
                for outbox in self._outboxes:
                    outbox.finish()
                self._step(step_sim_s)
                next_step_ns += step_ns
                self._skip(elapsed - round(SKIP_S * _ONE_S))
                self._prepare(next_step_ns)
            behind = next_step_ns <= min(elapsed, self.duration_ns - 1)
            if not behind or elapsed - next_step_ns < OVERLOADED_S * _ONE_S:
                in_time_ns = elapsed
            elif elapsed - in_time_ns > GIVE_UP_S * _ONE_S:
                self.overloaded = (
                    f"it was {(elapsed - next_step_ns) / _ONE_S:.1f} s behind its schedule, and "
                    f"more than {OVERLOADED_S:g} s for {GIVE_UP_S:g} s"
                )
                break
            wait_ns = max(0, next_step_ns - elapsed)
            finished = not behind
            for outbox in self._outboxes:
                taken, plan = outbox.take(elapsed)
                if taken.payloads:
                    self._send(taken, outbox.qos)
                if not plan.stop:
                    finished = False
                    wait_ns = min(wait_ns, plan.wait_ns)
            if self.updates is not None:
                wait_ns = min(wait_ns, self.updates.wait_ns)
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
        """Wait until everything is sent and acknowledged, or no longer than `timeout_s`: then what
        is not sent yet is given up, and only acknowledgements are waited for, while they come.

        The world stands still now, so a vehicle without radio link would stay without: every link
        comes back, and what was stored is forwarded.
        """
        self._radio.end()
        deadline_ns = self.clock.now_ns() + round(timeout_s * _ONE_S)
        while self._unsettled():
            if self.clock.now_ns() >= deadline_ns:
                self._give_up(self.transport.discard())
                await self._settle(min(SETTLE_S, timeout_s))
                return
            await self.clock.sleep(0.05)
            if self.updates is not None:
                self.updates.pump()

    async def _settle(self, patience_s: float) -> None:
        """Wait for the acknowledgements of what is in flight, until none has come for that long."""
        least = sum(self.transport.backlog())
        progress_ns = self.clock.now_ns()
        while least and self.clock.now_ns() - progress_ns < patience_s * _ONE_S:
            await self.clock.sleep(0.05)
            if (left := sum(self.transport.backlog())) < least:
                least, progress_ns = left, self.clock.now_ns()

    async def close(self, timeout_s: float) -> None:
        """Disconnect; the ledger says what was never sent, and what was sent on a connection that
        broke and could not be sent again. What a living connection was sent stays open."""
        if self.updates is not None:
            self.updates.end()
        for message in self.transport.stranded():
            if message.token >= 0:
                self.ledger.dropped(message.token, DropCause.CUT_OFF)
        self._give_up(await self.transport.close(timeout_s))
        if self.updates is not None:
            await self.updates.close()

    # -- inside -----------------------------------------------------------------------------------

    def _give_up(self, messages: list[Message]) -> None:
        sent = self.ledger.column("sent_ns")
        for message in messages:
            if message.token >= 0 and not sent[message.token]:
                self.ledger.dropped(message.token, DropCause.SHUTDOWN)

    def _unsettled(self) -> bool:
        reporting = self.updates.reporting if self.updates is not None else 0
        return any(self.transport.backlog()) or reporting > 0

    def _step(self, sim_s: float) -> None:
        self.world.step(sim_s)
        self._radio.follow()

    def _skip(self, before_ns: int) -> None:
        """Drop what is overdue: late load is no load of this schedule any more."""
        if before_ns <= 0:
            return
        for outbox in self._outboxes:
            overdue = outbox.skip(before_ns)
            if overdue.seqs.size:
                row = self._open(overdue)
                self.ledger.column("cause")[row:] = DropCause.LATE_SKIPPED

    def _prepare(self, until_ns: int) -> None:
        for outbox in self._outboxes:
            outbox.prepare(until_ns)

    def _composed(self, vehicles: NDArray[np.int64]) -> None:
        self._radio.shape(vehicles)

    def _send(self, due: Batch, qos: int) -> None:
        """Open what is due: into the ledger, to the transport."""
        self.lateness_ns.append(self.clock.now_ns() - self.t0_ns - due.intended_ns)
        # Counted in bulk, once a second: a counter's update costs half as much as a message.
        self._lengths += map(len, due.payloads)
        row = self._open(due)
        vehicles = due.vehicles.tolist()
        topics = map(self._topics.__getitem__, vehicles)
        messages = map(Message, range(row, len(self.ledger)), topics, due.payloads, repeat(qos))
        self.transport.publish_many(vehicles, messages)

    def _open(self, due: Batch) -> int:
        ids = self.share.ids[due.vehicles]
        return self.ledger.open_many(ids, due.seqs, due.intended_ns + self.t0_ns)

    def _sample(self, elapsed_ns: int, lag_ns: int) -> None:
        in_flight, stored = self.transport.backlog()
        attempts = self.transport.attempts
        self._sizes.update(self._lengths)
        self._lengths.clear()
        self.samples.append(
            Sample(
                elapsed_ns / _ONE_S,
                self._online,
                in_flight,
                stored,
                _mean(self.world.occupied),
                lag_ns / 1e6,
                attempts - self._attempts,
            )
        )
        self._attempts = attempts


def _mean(occupied: NDArray[np.bool_]) -> float:
    return float(occupied.mean()) if occupied.size else 0.0
