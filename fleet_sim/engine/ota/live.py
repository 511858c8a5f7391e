"""Updates of a shard's vehicles in a run: over its transport, its radios and real downloads.

A vehicle has a machine while a job is under way, and for the moment after each connect in which it
asks whether there is one. Time limits of the protocol are wall time; what vehicles do takes
simulated time, which the scenario's clock may compress.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import mqtt5
import numpy as np

from fleet_sim.contract.jobs import jobs_topic
from fleet_sim.engine.clock import Clock
from fleet_sim.engine.ota.check import CheckOnce
from fleet_sim.engine.ota.draw import fates_of
from fleet_sim.engine.ota.http import Getter, ShapedSource
from fleet_sim.engine.ota.truth import vehicle_truth
from fleet_sim.engine.ota.vehicle import Hands, Pace, Truth, VehicleUpdate
from fleet_sim.measure.ota import VehicleTruth
from fleet_sim.scenario import Scenario
from fleet_sim.vehicle import Message
from fleet_sim.vehicle.ota_table import Conditions, Persisted, UpdateState
from fleet_sim.vehicle.ota_trust import Trusted
from fleet_sim.world import MODES, RADIO_UP, Share, Simulated
from fleet_sim.world.firmware import Firmware, firmware_of

TOKEN = -1
"""Of messages that no ledger has: they are the Jobs service's."""
SUBSCRIPTIONS = tuple(
    (jobs_topic("{vin}", rest), 1)
    for rest in ("notify-next", "start-next/+", "+/get/+", "+/update/+")
)
INSTALLED_RELEASE = 2
"""Of what the fleet runs; `ota_attack` publishes it so."""

_DRIVING = MODES.index("driving")
_JITTER = 0x6F74616A


class Brought(NamedTuple):
    """What the vehicles of a run know of its campaign before it begins."""

    trust: tuple[dict[str, bytes], ...]
    """Signed metadata by group and role."""
    bytes_each: float
    """Bytes of the image for which one that is sent stands."""


class Power(Protocol):
    """Switches a vehicle's modem: a vehicle that reboots is offline."""

    def power_off(self, i: int) -> None: ...

    def power_on(self, i: int) -> None: ...


class _Air:
    """One vehicle's radio, as its downloads see it."""

    __slots__ = ("_member", "_speed", "_world")

    def __init__(self, world: Simulated, member: int, speed: float) -> None:
        self._world, self._member, self._speed = world, member, speed

    @property
    def up(self) -> bool:
        return bool(self._world.radio_state[self._member] == RADIO_UP)

    def bytes_per_s(self) -> float:
        if self._world.wired[self._member]:
            return 1e9
        downlink_bps = self._world.throughput_bps(np.array([self._member])).downlink_bps[0]
        return float(downlink_bps) / 8 * self._speed


class LiveUpdates:
    """All updates of a shard's vehicles, by their place in the share."""

    def __init__(
        self,
        scenario: Scenario,
        world: Simulated,
        share: Share,
        vins: Sequence[str],
        brought: Brought,
        *,
        clock: Clock,
        getter: Getter,
        publish: Callable[[int, Message], None],
        power: Power,
    ) -> None:
        assert scenario.campaign is not None
        self.campaign = scenario.campaign
        self.truths: dict[int, Truth] = {}
        """Of vehicles that ever had a machine."""
        self.messages = 0
        """Published to the Jobs service."""
        self._scenario, self._world, self._vins = scenario, world, vins
        self._brought, self._clock, self._getter = brought, clock, getter
        self._publish, self._power = publish, power
        self._index = {vin: i for i, vin in enumerate(vins)}
        ids = self._ids = share.ids.tolist()
        self._members = share.members.tolist()
        versions, fates = firmware_of(scenario), fates_of(scenario, self.campaign)
        self._versions = [versions[k] for k in ids]
        self._defects = [fates.defects[k] for k in ids]
        self._mishaps = [fates.mishaps[k] for k in ids]
        groups = [g for g, group in enumerate(scenario.fleet) for _ in range(group.count)]
        self._groups = [groups[k] for k in ids]
        self._records: dict[int, Persisted] = {}
        self._active: dict[int, VehicleUpdate] = {}
        self._sources: dict[int, ShapedSource] = {}
        self._check_once = CheckOnce()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        self._over = False
        self._base_ns = clock.now_ns()
        rng = np.random.default_rng([scenario.seed, _JITTER, share.number])
        self._speed = scenario.clock.speed
        self._hands = Hands(
            now=self.now_s,
            later=self._later,
            request=self._request,
            power=lambda _: None,  # each vehicle gets its own
            check=self._check,
            # Only the pause before a download goes on is drawn by it: simulated time, too.
            uniform=lambda: rng.random() / self._speed,
            epoch_s=scenario.clock.start.timestamp(),
            install_s=float(self.campaign.firmware.install_s),
            pace=Pace(self._speed, brought.bytes_each),
        )

    # -- what the shard tells ---------------------------------------------------------------------

    def end(self) -> None:
        """The run is over: from now on nothing is heard, said or done."""
        self._over = True
        self._queue.clear()

    def on_online(self, i: int) -> None:
        if not self._over:
            self._update(i).online()
            self._forget_if_done(i)

    def on_offline(self, i: int) -> None:
        update = None if self._over else self._active.get(i)
        if update is not None:
            update.offline()
            self._forget_if_done(i)

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        topic = packet.topic
        if self._over or not topic.startswith(jobs_topic(self._vins[i], "")):
            return
        update = self._active.get(i)
        if update is None:
            if not topic.endswith("/notify-next"):
                return
            update = self._update(i)
            update.online()
        update.message(topic, bytes(packet.payload or b""))
        self._forget_if_done(i)

    def radio_away(self, i: int) -> None:
        """No byte passes; the connection may live."""
        if (source := self._sources.get(i)) is not None:
            source.away()

    def radio_back(self, i: int) -> None:
        if (source := self._sources.get(i)) is not None:
            source.back()

    def radio_cut(self, i: int) -> None:
        """It was away too long for any connection to live."""
        if (source := self._sources.get(i)) is not None:
            source.cut()

    def pump(self) -> None:
        """Do what is due."""
        queue, now_s = self._queue, self.now_s()
        while queue and queue[0][0] <= now_s:
            heapq.heappop(queue)[2]()

    @property
    def wait_ns(self) -> int:
        """Wall time until `pump` has something to do; a second at most."""
        due_s = self._queue[0][0] - self.now_s() if self._queue else 1.0
        return round(min(max(due_s, 0.0), 1.0) * 1e9)

    @property
    def reporting(self) -> int:
        """Vehicles that have yet to tell how their job ended."""
        return sum(u.agent.state is UpdateState.REPORTING for u in self._active.values())

    @property
    def active(self) -> int:
        """Vehicles that have a machine."""
        return len(self._active)

    def broken(self) -> list[str]:
        """VINs of vehicles that broke after their update had succeeded."""
        return [self._vins[i] for i, t in self.truths.items() if t.broken_s is not None]

    def vehicle_truths(self, t0_ns: int) -> list[VehicleTruth]:
        """Times count from t0, ns since the epoch; `vehicle` is the index in the whole fleet."""
        zero_s = (t0_ns - self._base_ns) / 1e9 * self._speed
        return [
            vehicle_truth(self._ids[i], self._versions[i], truth, zero_s=zero_s)
            for i, truth in sorted(self.truths.items())
        ]

    def now_s(self) -> float:
        """The agents' clock: wall time since this object was made, s."""
        return (self._clock.now_ns() - self._base_ns) / 1e9

    async def close(self) -> None:
        await self._getter.close()

    # -- inside -----------------------------------------------------------------------------------

    def _update(self, i: int) -> VehicleUpdate:
        update = self._active.get(i)
        if update is None:
            update = self._active[i] = self._make(i)
        return update

    def _make(self, i: int) -> VehicleUpdate:
        truth = self.truths.get(i)
        if truth is None:
            truth = self.truths[i] = Truth(Firmware(self._versions[i], INSTALLED_RELEASE))
        if i not in self._sources:
            air = _Air(self._world, self._members[i], self._speed)
            self._sources[i] = ShapedSource(
                self._getter, air, self.now_s, self._later, self._hands.pace
            )
        record = self._records.get(i)
        if record is None:
            record = Persisted(trust=self._brought.trust[self._groups[i]])
        switch = self._power

        def power(on: bool) -> None:
            if on:
                switch.power_on(i)
            else:
                switch.power_off(i)

        return VehicleUpdate(
            self._vins[i],
            truth,
            record,
            self._sources[i],
            self._defects[i],
            lambda: self._conditions(i),
            self._hands._replace(power=power),
            self._mishaps[i],
        )

    def _forget_if_done(self, i: int) -> None:
        update = self._active.get(i)
        if update is None or not update.done:
            return
        del self._active[i]
        self._records[i] = update.record
        self._mishaps[i] = update.mishap
        if not self._sources[i].staged:
            del self._sources[i]
        truth = update.truth
        if truth.broken_s is None and self._defects[i] == "delayed" and truth.slots.commits:
            self._later(
                float(self.campaign.firmware.defect.delay_s) / self._speed, lambda: self._break(i)
            )

    def _break(self, i: int) -> None:
        truth = self.truths[i]
        if truth.broken_s is None:
            truth.broken_s = self.now_s() * self._speed

    def _request(self, thing: str, topic: str, payload: bytes) -> None:
        self.messages += 1
        self._publish(self._index[thing], Message(TOKEN, topic, payload, 1))

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (self.now_s() + delay_s, self._turn, call))

    def _check(self, trust: object, bundle: bytes, target: str, epoch_s: float) -> Trusted:
        # The vehicle's clock is the simulated one.
        now_s = self._hands.epoch_s + self._world.now_s
        return self._check_once(trust, bundle, target, now_s)  # type: ignore[arg-type]

    def _conditions(self, i: int) -> Conditions:
        """What vehicle i senses now."""
        seen = self._world.observe(np.array([self._members[i]]))
        return Conditions(bool(seen.mode[0] != _DRIVING), float(seen.soc[0]), self._minute())

    def _minute(self) -> int:
        start = self._scenario.clock.start
        day_s = start.hour * 3_600 + start.minute * 60 + start.second + self._world.now_s
        return int(day_s // 60) % 1_440
