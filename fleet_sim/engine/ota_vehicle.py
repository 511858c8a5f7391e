"""One vehicle's update in a rehearsal: does what the machine commands, and keeps the truth.

Time is simulated: `later(delay_s, call)` puts a call into the rehearsal's queue. Bytes of an image
are counted, not sent. The object exists while a job is under way; `Truth` is what stays.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fleet_sim.engine.ota_attack import Served
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import CheckMetadata, FetchEnd, UpdateAgent
from fleet_sim.world.firmware import Firmware, Slots

LATENCY_S = 0.05
"""A message's way between vehicle and service."""
REBOOT_S, SELF_TEST_S, VERIFY_BPS = 60.0, 30.0, 100e6
"""Assumptions: an embedded Linux with its services; a disk that reads 100 MB/s."""
LOOK_S = 300.0
"""A vehicle that waits for preconditions looks so often."""

_COMPLETE: FetchEnd = "complete"
_BROKEN: FetchEnd = "broken"

Later = Callable[[float, Callable[[], None]], None]


class Link(NamedTuple):
    """A vehicle's downlink."""

    bytes_per_s: float
    drop_mean_s: float
    """Mean time until a download breaks (exponential); `inf`: never."""


class Truth:
    """What really happened to one vehicle."""

    __slots__ = ("downloaded", "power_losses", "resumed", "slots", "states", "wasted")

    def __init__(self, firmware: Firmware) -> None:
        self.slots = Slots(firmware)
        self.states: list[tuple[float, str]] = []
        """Time in s and state, at each change."""
        self.downloaded = 0
        """Bytes that came over the link, ..."""
        self.wasted = 0
        """... of these: deleted without having been installed, ..."""
        self.resumed = 0
        """... and those that did not have to come again when a download went on."""
        self.power_losses = 0


class VehicleUpdate:
    """Joins the machine with slots, storage, link and service."""

    def __init__(
        self,
        thing: str,
        truth: Truth,
        record: t.Persisted,
        *,
        now: Callable[[], float],
        later: Later,
        request: Callable[[str, str, bytes], None],
        served: Served,
        image: Firmware,
        link: Link,
        conditions: Callable[[float], t.Conditions],
        check: CheckMetadata,
        uniform: Callable[[], float],
        epoch_s: float,
        install_s: float,
    ) -> None:
        self.thing, self.truth, self.record = thing, truth, record
        self._now, self._later, self._request = now, later, request
        self._served, self._image, self._link = served, image, link
        self._conditions, self._uniform = conditions, uniform
        self._install_s = install_s
        self._options: dict[str, Any] = {"check": check, "uniform": uniform, "epoch_s": epoch_s}
        self._staged = 0
        self._power = 0  # counts boots: what was put off before the last one is void
        self._fetch = 0
        self._writing = 0
        self._looking = False
        self._tick_s: float | None = None
        self.agent: UpdateAgent
        self._boot()

    @property
    def done(self) -> bool:
        return self.agent.done

    def message(self, topic: str, payload: bytes) -> None:
        """The service's message arrives."""
        self._do(self.agent.message(topic, payload, self._now()))

    def lose_power(self) -> None:
        """Now; it comes back after a reboot's time."""
        self.truth.power_losses += 1
        if self.agent.state is t.UpdateState.INSTALLING:
            self.truth.slots.begin_write()  # torn
        self._restart()

    # -- inside -----------------------------------------------------------------------------------

    def _boot(self) -> None:
        booted = self.truth.slots.boot()
        boot = t.Boot(t.BootKind(booted.how), booted.firmware.version, booted.firmware.release)
        self.agent = UpdateAgent(
            self.thing, boot, self.record, staged_bytes=self._staged, **self._options
        )
        self._do(self.agent.begin(self._now()))
        self._do(self.agent.online(self._now()))

    def _restart(self) -> None:
        self._power += 1
        self._fetch = 0
        self._looking = False
        self._tick_s = None
        self.truth.slots.lose_power()
        self._put_off(REBOOT_S, self._boot)

    def _put_off(self, delay_s: float, call: Callable[[], None]) -> None:
        power = self._power
        self._later(delay_s, lambda: call() if power == self._power else None)

    def _do(self, commands: list[t.Command]) -> None:
        states = self.truth.states
        if not states or states[-1][1] != self.agent.state.value:
            states.append((self._now(), self.agent.state.value))
        for command in commands:
            match command:
                case t.Publish(topic, payload):
                    self._put_off(LATENCY_S, partial(self._request, self.thing, topic, payload))
                case t.Persist(record):
                    self.record = record
                case t.FetchMetadata(token, _, limit):
                    body = self._served.bundle[:limit]
                    self._put_off(0.2, partial(self._metadata, token, body))
                case t.FetchImage():
                    self._start(command)
                case t.StopFetch():
                    self._fetch = 0
                case t.Discard():
                    if self.agent.state is not t.UpdateState.REBOOTING:
                        self.truth.wasted += self._staged
                    self._staged = 0
                case t.Verify(length, sha256):
                    intact = self._staged == length and self._served.sha256 == sha256
                    self._put_off(length / VERIFY_BPS, partial(self._tell, "verified", intact))
                case t.Write():
                    self.truth.slots.begin_write()
                    self._writing += 1
                    self._put_off(self._install_s, partial(self._written, self._writing))
                case t.StopWrite():
                    self._writing += 1
                case t.TryBoot():
                    self.truth.slots.mark_trial()
                    self._restart()
                    return
                case t.Reboot():
                    self._restart()
                    return
                case t.SelfTest():
                    healthy = self._image.defect != "self-test"
                    self._put_off(SELF_TEST_S, partial(self._tell, "tested", healthy))
                case t.Commit():
                    self.truth.slots.commit()
                case t.ForgetTrial():
                    self.truth.slots.forget_trial()
        self._plan()

    def _plan(self) -> None:
        """The next tick, if one is needed."""
        if self.agent.state is t.UpdateState.WAITING and not self._looking:
            self._looking = True
            self._put_off(0.0, self._look)
        wake_s = self.agent.wake_s
        if wake_s is not None and (self._tick_s is None or wake_s < self._tick_s):
            self._tick_s = max(wake_s, self._now())
            self._put_off(self._tick_s - self._now(), partial(self._tick, self._tick_s))

    def _tick(self, due_s: float) -> None:
        if self._tick_s == due_s:
            self._tick_s = None
            self._do(self.agent.tick(self._now(), self._conditions(self._now())))

    def _look(self) -> None:
        self._do(self.agent.tick(self._now(), self._conditions(self._now())))
        if self.agent.state is t.UpdateState.WAITING:
            self._put_off(LOOK_S, self._look)
        else:
            self._looking = False

    def _tell(self, event: str, value: bool) -> None:
        self._do(getattr(self.agent, event)(value, self._now()))

    def _written(self, writing: int) -> None:
        if writing == self._writing:
            self.truth.slots.end_write(self._image)
            self._do(self.agent.written(True, self._now()))

    def _metadata(self, token: int, body: bytes) -> None:
        self.truth.downloaded += len(body)
        self._do(self.agent.metadata_ended(token, "complete", body, self._now()))

    def _start(self, fetch: t.FetchImage) -> None:
        """A download goes on until all is there, the link drops, the URL ends, or more comes than
        was signed."""
        self._fetch = fetch.token  # an URL is looked at when a download begins, and not later
        self.truth.resumed += fetch.offset
        until_s = float(fetch.url.rpartition("=")[2])
        left_s = until_s - self._now()
        if left_s <= 0:
            self._put_off(0.2, partial(self._ended, fetch.token, 0, "expired"))
            return
        wanted = min(self._served.length, fetch.length + 1) - fetch.offset
        takes_s = wanted / self._link.bytes_per_s
        drop_s = self._link.drop_mean_s * -math.log(max(self._uniform(), 1e-12))
        count, end = wanted, _COMPLETE
        if drop_s < takes_s:
            count, end, takes_s = int(drop_s * self._link.bytes_per_s), _BROKEN, drop_s
        self._put_off(takes_s, partial(self._ended, fetch.token, count, end))

    def _ended(self, token: int, count: int, end: FetchEnd) -> None:
        if token != self._fetch:
            return
        self._staged += count
        self.truth.downloaded += count
        if count:
            self._do(self.agent.received(token, count, self._now()))
        if token == self._fetch:
            self._fetch = 0
            self._do(self.agent.image_ended(token, end, self._now()))
