"""One vehicle and the Jobs service joined by bytes, with slots, storage and a power switch.

Whoever drives it says what happens next. Nothing is in a hurry: what was published waits in a
queue until it is delivered, lost or delivered twice.
"""

from collections import deque
from collections.abc import Mapping

import msgspec

from fleet_sim.contract.jobs import TERMINAL, FirmwareJob, Preconditions
from fleet_sim.engine.ota.jobs import Answer, JobsService
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import UpdateAgent
from fleet_sim.vehicle.ota_trust import Image, RefusedError, Trusted
from fleet_sim.world.firmware import Firmware, Slots

THING = "V1"
LENGTH = 100
URL_LIFE_S = 60.0
MOST_TALK = 200
"""Messages at one moment, one way; more would never end."""


class Bench:
    """`images` [release]: what is published; release 1 runs at the beginning."""

    def __init__(self, *images: Firmware, preconditions: Preconditions | None = None) -> None:
        self.now_s = 0.0
        self.images = {image.release: image for image in images}
        self.preconditions = preconditions or Preconditions(min_soc=0.4)
        self.conditions = t.Conditions(True, 0.8, 600)
        self.slots = Slots(Firmware("1.0.0", 1))
        self.service = JobsService(self.document)
        self.wanted: dict[str, int] = {}
        self.up: deque[tuple[str, bytes]] = deque()
        self.down: deque[Answer] = deque()
        self.record = t.Persisted()
        self.staged = 0
        self.tampered = False
        self.refuse: str | None = None
        self.malformed: set[str] = set()  # jobs whose document is none
        self.slow = False  # a shutdown takes time: messages still come
        self.kept = False  # answers wait at the broker while the vehicle is away
        self.shutting_down = False
        self.connected = False
        self.trials: dict[tuple[str, int], int] = {}
        self.states: list[t.UpdateState] = []
        self.fetch: t.FetchMetadata | t.FetchImage | None = None
        self.busy: t.Write | t.Verify | t.SelfTest | None = None
        self.agent: UpdateAgent | None = None
        self.verifications = 0
        self.writes_begun = 0
        self.faults = 0  # refusals that were the fault of what was asked, over all boots
        self.power_on()

    # -- what is outside --------------------------------------------------------------------------

    def document(self, thing: str, job_id: str, now_s: float) -> bytes:
        if job_id in self.malformed:
            return b'{"operation": "dance"}'
        image = self.images[self.wanted[job_id]]
        until = f"{now_s + URL_LIFE_S}"
        return msgspec.json.encode(
            FirmwareJob(
                "firmware-update",
                "c1",
                image.version,
                f"m/{image.version}-r{image.release}.img",
                f"image?{until}",
                f"metadata?{until}",
                self.preconditions,
            )
        )

    def check(
        self, trust: Mapping[str, bytes], bundle: bytes, target: str, epoch_s: float
    ) -> Trusted:
        self.verifications += 1
        if self.refuse:
            raise RefusedError(self.refuse)
        release = int(target.rpartition("-r")[2].removesuffix(".img"))
        version = self.images[release].version
        return Trusted(Image(target, LENGTH, f"sha-{release}", version, release), {"root": b"r"})

    def create(self, job_id: str, release: int) -> None:
        self.wanted[job_id] = release
        self.down.extend(self.service.create(job_id, [THING], self.now_s))

    # -- power and link ---------------------------------------------------------------------------

    def power_off(self) -> None:
        self.agent = None
        self.connected = self.shutting_down = False
        self.up.clear()
        if not self.kept:
            self.down.clear()
        self.fetch = None
        if isinstance(self.busy, t.Write):
            self.slots.begin_write()  # torn
        self.busy = None
        self.slots.lose_power()

    def power_on(self, cut: int | None = None) -> None:
        self.now_s += 1.0  # a boot takes time: two are never at the same moment
        booted = self.slots.boot()
        boot = t.Boot(t.BootKind(booted.how), booted.firmware.version, booted.firmware.release)
        if booted.how == "trial":
            key = (self.record.job_id, boot.release)
            self.trials[key] = self.trials.get(key, 0) + 1
        self.agent = UpdateAgent(
            THING,
            boot,
            self.record,
            check=self.check,
            uniform=lambda: 0.5,
            staged_bytes=self.staged,
        )
        self.do(self.agent.begin(self.now_s), cut)

    def connect(self, cut: int | None = None) -> None:
        if self.agent is not None and not self.connected:
            self.connected = True
            self.do(self.agent.online(self.now_s), cut)

    def disconnect(self) -> None:
        if self.agent is not None and self.connected:
            self.connected = False
            self.up.clear()
            if not self.kept:
                self.down.clear()
            self.do(self.agent.offline(self.now_s))
            self.end_fetch("broken")

    # -- deliveries -------------------------------------------------------------------------------

    def deliver_up(self) -> None:
        if self.up:
            topic, payload = self.up.popleft()
            self.down.extend(self.service.request(THING, topic, payload, self.now_s))

    def deliver_down(self, cut: int | None = None, *, again: bool = False) -> None:
        if self.down and self.agent is not None and self.connected:
            answer = self.down[0] if again else self.down.popleft()
            self.do(self.agent.message(answer.topic, answer.payload, self.now_s), cut)

    def tick(self, seconds: float, cut: int | None = None) -> None:
        self.now_s += seconds
        if self.agent is not None:
            self.do(self.agent.tick(self.now_s, self.conditions), cut)

    # -- work under way ---------------------------------------------------------------------------

    def fetch_some(self, count: int, cut: int | None = None) -> None:
        """Bytes come, and the end when they are all there; an old URL answers 403."""
        fetch, agent = self.fetch, self.agent
        if fetch is None or agent is None:
            return
        if self.now_s >= float(fetch.url.partition("?")[2]):
            self.end_fetch("expired", cut)
        elif isinstance(fetch, t.FetchMetadata):
            self.fetch = None
            self.do(agent.metadata_ended(fetch.token, "complete", b"{}", self.now_s), cut)
        else:
            count = min(count, LENGTH - self.staged)
            self.staged += count
            self.do(agent.received(fetch.token, count, self.now_s))
            if self.staged == LENGTH:
                self.fetch = None
                self.do(agent.image_ended(fetch.token, "complete", self.now_s), cut)

    def fetch_wrong(self, cut: int | None = None, *, more: bool) -> None:
        """The server has less of the image than was signed, or more."""
        fetch, agent = self.fetch, self.agent
        if not isinstance(fetch, t.FetchImage) or agent is None:
            return
        if more:
            self.staged = LENGTH + 1
            self.do(agent.received(fetch.token, LENGTH + 1 - fetch.offset, self.now_s), cut)
        else:
            self.fetch = None
            self.do(agent.image_ended(fetch.token, "complete", self.now_s), cut)

    def end_fetch(self, end: str, cut: int | None = None) -> None:
        fetch, agent = self.fetch, self.agent
        if fetch is None or agent is None:
            return
        self.fetch = None
        if isinstance(fetch, t.FetchMetadata):
            self.do(agent.metadata_ended(fetch.token, end, b"", self.now_s), cut)  # type: ignore[arg-type]
        else:
            self.do(agent.image_ended(fetch.token, end, self.now_s), cut)  # type: ignore[arg-type]

    def work_ends(self, cut: int | None = None, *, well: bool = True) -> None:
        """What the vehicle is doing by itself is finished."""
        busy, agent = self.busy, self.agent
        if busy is None or agent is None:
            return
        self.busy = None
        if isinstance(busy, t.Verify):
            self.do(
                agent.verified(self.staged == busy.length and not self.tampered, self.now_s), cut
            )
        elif isinstance(busy, t.Write):
            if well:
                self.slots.end_write(self.images[busy.release])
            self.do(agent.written(well, self.now_s), cut)
        else:
            running = self.slots.running
            healthy = running is not None and running.defect != "self-test"
            self.do(agent.tested(healthy, self.now_s), cut)

    def do(self, commands: list[t.Command], cut: int | None = None) -> None:
        """Do the commands; with `cut`, power is lost after so many of them."""
        if self.agent is not None:
            self.faults = max(self.faults, self.agent.talk.faults)
        if self.agent is not None and (not self.states or self.states[-1] != self.agent.state):
            self.states.append(self.agent.state)
        for command in commands if cut is None else commands[:cut]:
            match command:
                case t.Publish(topic, payload):
                    if self.connected:
                        self.up.append((topic, payload))
                case t.Persist(record):
                    self.record = record
                case t.FetchMetadata() | t.FetchImage():
                    assert self.fetch is None, "two downloads at once"
                    self.fetch = command
                case t.StopFetch():
                    self.fetch = None
                case t.Discard():
                    self.staged = 0
                case t.Write():
                    self.writes_begun += 1
                    need = self.preconditions
                    assert self.conditions.parked or not need.parked
                    assert self.conditions.soc >= need.min_soc
                    self.slots.begin_write()
                    self.busy = command
                case t.StopWrite():
                    self.busy = None
                case t.Verify() | t.SelfTest():
                    self.busy = command
                case t.TryBoot():
                    assert self.conditions.parked or not self.preconditions.parked
                    self.slots.mark_trial()
                    self.reboot()
                    return
                case t.Reboot():
                    self.reboot()
                    return
                case t.Commit():
                    self.slots.commit()
                case t.ForgetTrial():
                    self.slots.forget_trial()
        if cut is not None and self.agent is not None:
            self.power_off()

    def reboot(self) -> None:
        self.shutting_down = self.slow
        if not self.slow:
            self.restart()

    def restart(self) -> None:
        self.power_off()
        self.power_on()

    # -- to the end -------------------------------------------------------------------------------

    def go_on(self, cut: int | None = None) -> None:
        """The one next thing that happens when nothing goes wrong."""
        if self.agent is None:
            self.power_on(cut)
        elif not self.connected:
            self.connect(cut)
        elif self.up:
            self.deliver_up()
        elif self.down:
            self.deliver_down(cut)
        elif self.shutting_down:
            self.restart()
        elif self.fetch is not None:
            self.fetch_some(LENGTH // 2, cut)
        elif self.busy is not None:
            self.work_ends(cut)
        else:
            self.tick(5.0, cut)

    def run(self, rounds: int = 400) -> None:
        """Everything that can happen does, until all is over."""
        for _ in range(rounds):
            if self.agent is None:
                self.power_on()
            self.connect()
            for _ in range(MOST_TALK):
                if not (self.up or self.down):
                    break
                self.deliver_up()
                self.deliver_down()
            else:
                raise AssertionError(f"they talk without end: {(*self.up, *self.down)[0]}")
            if self.shutting_down:
                self.restart()
                continue
            if self.ended and self.agent is not None and self.agent.done:
                return
            self.fetch_some(LENGTH)
            self.work_ends()
            self.tick(5.0)
        raise AssertionError(f"not over: {self.agent and self.agent.state}, {self.statuses}")

    @property
    def statuses(self) -> dict[str, str]:
        return {job_id: self.service.status(THING, job_id) for job_id in self.wanted}

    @property
    def ended(self) -> bool:
        return all(status in TERMINAL for status in self.statuses.values())
