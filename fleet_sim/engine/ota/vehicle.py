"""One vehicle's update: does what the machine commands, and keeps the truth.

Whoever drives it owns time, network and bytes: `later(delay_s, call)` puts a call off, `request`
publishes, a `Source` downloads. The object exists while a job is under way; `Truth` is what stays.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from fleet_sim.contract.jobs import TERMINAL, Update
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import CheckMetadata, UpdateAgent
from fleet_sim.vehicle.ota_fetch import FetchEnd
from fleet_sim.world.firmware import Booted, Defect, Firmware, Slots

LATENCY_S = 0.05
"""A message's way between vehicle and service, where there is no real one."""
REBOOT_S, SELF_TEST_S, VERIFY_BPS = 60.0, 30.0, 100e6
"""Assumptions: an embedded Linux with its services; a disk that reads 100 MB/s."""
LOOK_S = 300.0
"""A vehicle that waits for preconditions looks so often."""

_LOOKS = frozenset({t.UpdateState.WAITING, t.UpdateState.ARMED})
"""States that go on when the vehicle's conditions let them."""
_AT_REST = frozenset({t.UpdateState.IDLE.value, t.UpdateState.REPORTING.value})
_UNSEEN = t.Conditions(parked=False, soc=0.0, minute=0)

Later = Callable[[float, Callable[[], None]], None]


class Source(Protocol):
    """Where one vehicle's bytes come from. What is staged survives a power loss."""

    staged: int
    """Bytes of the image that are here, as the machine counts them."""

    def metadata(self, fetch: t.FetchMetadata, ended: Callable[[FetchEnd, bytes], None]) -> None:
        """GET the bundle."""

    def image(
        self,
        fetch: t.FetchImage,
        received: Callable[[int], None],
        ended: Callable[[FetchEnd], None],
    ) -> None:
        """GET from the offset on, as `FetchImage` says. What is received is staged."""

    def stop(self) -> None:
        """Cut the download that is under way; nothing is told of it any more."""

    def discard(self) -> None:
        """Delete what is staged."""

    def intact(self, length: int, sha256: str) -> bool:
        """Whether what is staged is that."""


class Truth:
    """What really happened to one vehicle."""

    __slots__ = (
        "bad_boot_s",
        "broken_s",
        "downloaded",
        "power_losses",
        "requests",
        "resumed",
        "slots",
        "states",
        "violations",
        "wasted",
    )

    def __init__(self, firmware: Firmware) -> None:
        self.slots = Slots(firmware)
        self.states: list[tuple[float, str]] = []
        """Time in simulated s and state, at each change."""
        self.downloaded = 0.0
        """Bytes that came over the link, ..."""
        self.wasted = 0.0
        """... of these: deleted without having been installed, ..."""
        self.resumed = 0.0
        """... and those that did not have to come again when a download went on."""
        self.power_losses = 0
        self.requests = 0
        """To the Jobs service."""
        self.violations = 0
        """Installations that began while a precondition did not hold, and reboots under way."""
        self.bad_boot_s: float | None = None
        """First boot or self-test of a new image that failed, simulated s."""
        self.broken_s: float | None = None
        """When it broke after an installation that had succeeded, simulated s."""

    @property
    def started_s(self) -> float | None:
        """When it first had a job to do, simulated s."""
        return next((at for at, state in self.states if state not in _AT_REST), None)

    @property
    def installed_s(self) -> float | None:
        """When it began to run the new image for good, simulated s; None: it does not."""
        if not self.slots.commits:
            return None
        committed = [at for at, state in self.states if state == t.UpdateState.TESTING.value]
        return committed[-1] if committed else None


class Mishap(NamedTuple):
    """What is to happen to one vehicle, once each."""

    power_loss: float | None = None
    """Where it loses power while the image is written: 0-1 of the way."""
    lost_status: bool = False
    """Its outcome is lost, and then its power."""


class Pace(NamedTuple):
    """How time and bytes relate to what they stand for."""

    speed: float = 1.0
    """Simulated seconds in a second of the agent's clock. What a vehicle does takes simulated
    time; the protocol's own time limits are the agent's."""
    bytes_each: float = 1.0
    """Bytes of the image for which one that is sent stands."""


class Hands(NamedTuple):
    """What a vehicle's update needs of whoever drives it."""

    now: Callable[[], float]
    """The agent's clock, s."""
    later: Later
    request: Callable[[str, str, bytes], None]
    """Thing, topic, payload: publish now."""
    power: Callable[[bool], None]
    """The vehicle has power again, and connects: `VehicleUpdate.online` follows; or has none."""
    check: CheckMetadata
    uniform: Callable[[], float]
    epoch_s: float
    install_s: float
    pace: Pace = Pace()


class VehicleUpdate:
    """Joins the machine with slots, storage, link and service. `defect`: of the new image, on this
    vehicle."""

    def __init__(
        self,
        thing: str,
        truth: Truth,
        record: t.Persisted,
        source: Source,
        defect: Defect,
        conditions: Callable[[], t.Conditions],
        hands: Hands,
        mishap: Mishap = Mishap(),  # noqa: B008 - immutable
    ) -> None:
        self.thing, self.truth, self.record, self.source = thing, truth, record, source
        self._defect, self._conditions, self._hands = defect, conditions, hands
        self.mishap = mishap
        """Of those, what has yet to happen."""
        self._power = 0  # counts boots: what was put off before the last one is void
        self._dark = False  # no power
        self._fetch = 0
        self._writing = 0
        self._looking = False
        self._tick_s: float | None = None
        self.agent: UpdateAgent
        running = truth.slots.running
        if running is None or truth.slots.on_trial:
            self._boot(truth.slots.boot())
        else:
            self._boot(Booted("normal", running))

    @property
    def done(self) -> bool:
        return self.agent.done

    def online(self) -> None:
        """The vehicle's session is there, new or again."""
        if not self._dark:
            self._do(self.agent.online(self._hands.now()))

    def offline(self) -> None:
        if not self._dark:
            self._do(self.agent.offline(self._hands.now()))

    def message(self, topic: str, payload: bytes) -> None:
        """The service's message arrives."""
        if not self._dark:
            self._do(self.agent.message(topic, payload, self._hands.now()))

    def lose_power(self) -> None:
        """Now; it comes back after a reboot's time."""
        self.truth.power_losses += 1
        if self.agent.state is t.UpdateState.INSTALLING:
            self.truth.slots.begin_write()  # torn
        self._restart()

    # -- inside -----------------------------------------------------------------------------------

    def _boot(self, booted: Booted) -> None:
        hands = self._hands
        self.agent = UpdateAgent(
            self.thing,
            t.Boot(t.BootKind(booted.how), booted.firmware.version, booted.firmware.release),
            self.record,
            staged_bytes=self.source.staged,
            check=hands.check,
            uniform=hands.uniform,
            epoch_s=hands.epoch_s,
        )
        self._do(self.agent.begin(hands.now()))

    def _went_wrong(self) -> None:
        if self.truth.bad_boot_s is None:
            self.truth.bad_boot_s = self._simulated_s()

    def _simulated_s(self) -> float:
        return self._hands.now() * self._hands.pace.speed

    def _restart(self) -> None:
        self._power += 1
        self._dark = True
        self._fetch = 0
        self._looking = False
        self._tick_s = None
        self.source.stop()
        self.truth.slots.lose_power()
        self._hands.power(False)
        self._takes(REBOOT_S, self._start)

    def _start(self) -> None:
        self._dark = False
        slots = self.truth.slots
        tried = slots.trial
        booted = slots.boot()
        if tried and booted.how == "fell_back":
            self._went_wrong()
        self._boot(booted)
        self._hands.power(True)

    def _put_off(self, delay_s: float, call: Callable[[], None]) -> None:
        power = self._power
        self._hands.later(delay_s, lambda: call() if power == self._power else None)

    def _takes(self, simulated_s: float, call: Callable[[], None]) -> None:
        """What the vehicle does takes so long."""
        self._put_off(simulated_s / self._hands.pace.speed, call)

    def _do(self, commands: list[t.Command]) -> None:
        states, truth, source = self.truth.states, self.truth, self.source
        if not states or states[-1][1] != self.agent.state.value:
            states.append((self._simulated_s(), self.agent.state.value))
        each = self._hands.pace.bytes_each
        for command in commands:
            match command:
                case t.Publish(topic, payload):
                    truth.requests += 1
                    if self.mishap.lost_status and _ends(topic, payload):
                        self.mishap = self.mishap._replace(lost_status=False)
                        self._put_off(0.0, self.lose_power)
                    else:
                        self._hands.request(self.thing, topic, payload)
                case t.Persist(record):
                    self.record = record
                case t.FetchMetadata(token):
                    self._fetch = token
                    source.metadata(command, partial(self._metadata, token))
                case t.FetchImage(token):
                    self._fetch = token
                    truth.resumed += command.offset * each
                    received = partial(self._received, token)
                    source.image(command, received, partial(self._ended, token))
                case t.StopFetch():
                    self._fetch = 0
                    source.stop()
                case t.Discard():
                    if self.agent.state is not t.UpdateState.REBOOTING:
                        truth.wasted += source.staged * each
                    source.discard()
                case t.Verify(length, sha256):
                    intact = source.intact(length, sha256)
                    self._takes(length * each / VERIFY_BPS, partial(self._tell, "verified", intact))
                case t.Write(version, release):
                    truth.slots.begin_write()
                    self._writing += 1
                    job = self.agent.job
                    if job is not None and t.unmet(job.preconditions, self._conditions()):
                        truth.violations += 1
                    self._maybe_lose_power()
                    image = Firmware(version, release, self._defect)
                    written = partial(self._written, self._writing, image)
                    self._takes(self._hands.install_s, written)
                case t.StopWrite():
                    self._writing += 1
                case t.TryBoot():
                    job = self.agent.job
                    if job is not None and job.preconditions.parked:
                        truth.violations += not self._conditions().parked
                    truth.slots.mark_trial()
                    self._restart()
                    return
                case t.Reboot():
                    self._restart()
                    return
                case t.SelfTest():
                    running = truth.slots.running
                    healthy = running is not None and running.defect != "self-test"
                    self._takes(SELF_TEST_S, partial(self._tell, "tested", healthy))
                    if not healthy:
                        self._takes(SELF_TEST_S, self._went_wrong)
                case t.Commit():
                    truth.slots.commit()
                case t.ForgetTrial():
                    truth.slots.forget_trial()
        self._plan()

    def _maybe_lose_power(self) -> None:
        at = self.mishap.power_loss
        if at is not None:
            self.mishap = self.mishap._replace(power_loss=None)
            self._takes(self._hands.install_s * at, self.lose_power)

    def _plan(self) -> None:
        """The next tick, if one is needed."""
        if self.agent.state in _LOOKS and not self._looking:
            self._looking = True
            self._put_off(0.0, self._look)
        wake_s, now_s = self.agent.wake_s, self._hands.now()
        if wake_s is not None and (self._tick_s is None or wake_s < self._tick_s):
            self._tick_s = max(wake_s, now_s)
            self._put_off(self._tick_s - now_s, partial(self._tick, self._tick_s))

    def _tick(self, due_s: float) -> None:
        if self._tick_s == due_s:
            self._tick_s = None
            conditions = self._conditions() if self.agent.state in _LOOKS else _UNSEEN
            self._do(self.agent.tick(self._hands.now(), conditions))

    def _look(self) -> None:
        self._do(self.agent.tick(self._hands.now(), self._conditions()))
        if self.agent.state in _LOOKS:
            self._takes(LOOK_S, self._look)
        else:
            self._looking = False

    def _tell(self, event: str, value: bool) -> None:
        self._do(getattr(self.agent, event)(value, self._hands.now()))

    def _written(self, writing: int, image: Firmware) -> None:
        if writing == self._writing:
            self.truth.slots.end_write(image)
            self._do(self.agent.written(True, self._hands.now()))

    # -- what the source tells --------------------------------------------------------------------

    def _metadata(self, token: int, end: FetchEnd, body: bytes) -> None:
        self.truth.downloaded += len(body)
        if token == self._fetch:
            self._fetch = 0
            self._do(self.agent.metadata_ended(token, end, body, self._hands.now()))

    def _received(self, token: int, count: int) -> None:
        self.truth.downloaded += count * self._hands.pace.bytes_each
        if token == self._fetch:
            self._do(self.agent.received(token, count, self._hands.now()))

    def _ended(self, token: int, end: FetchEnd) -> None:
        if token == self._fetch:
            self._fetch = 0
            self._do(self.agent.image_ended(token, end, self._hands.now()))


def _ends(topic: str, payload: bytes) -> bool:
    """Whether a request tells how a job ended."""
    if not topic.endswith("/update"):
        return False
    return msgspec.json.decode(payload, type=Update).status in TERMINAL
