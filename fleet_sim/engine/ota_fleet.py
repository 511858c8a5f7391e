"""A campaign without a cloud: the fleet's update machines against a model of the Jobs service.

Discrete events in simulated time, so that hours of ten thousand vehicles take a minute. The city is
not simulated: when a vehicle stands, and how it is charged, are assumptions named below.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import numpy as np

from fleet_sim.contract.jobs import TERMINAL, FirmwareJob, Preconditions
from fleet_sim.engine.ota_attack import BROUGHT, INSTALLED, Served, serve
from fleet_sim.engine.ota_check import CheckOnce
from fleet_sim.engine.ota_jobs import Answer, Change, JobsService
from fleet_sim.engine.ota_link import CountedSource, Link
from fleet_sim.engine.ota_vehicle import LATENCY_S, Hands, Truth, VehicleUpdate
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.models import RadioPreset
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.campaign import Campaign
from fleet_sim.vehicle.ota_table import Conditions, Persisted
from fleet_sim.world.equipment import Equipment
from fleet_sim.world.firmware import Defect, Firmware, firmware_of
from fleet_sim.world.towns import fleet_vins

DRIVES_A_DAY, DRIVE_S = 2, 1_800.0
"""Assumption: a private car drives an hour a day, in two trips at times of its own."""
CHARGED_MINUTES, CHARGED_SOC = (1_320, 360), 0.8
"""Assumption: from 22:00 to 6:00 every vehicle is charged to 80 % at least."""
DROP_MEAN_S = 1_200.0
"""Assumption: downloads break every 20 minutes on average."""


class Manager(Protocol):
    """Who decides which vehicles get the job when; the update manager's logic fits in here."""

    def start(self, things: Sequence[str], now_s: float) -> Iterable[str]:
        """Things that get the job now; called once a minute with those that have none yet."""

    def changed(self, change: Change) -> None:
        """An execution has a new status."""

    def failed_later(self, thing: str, now_s: float) -> None:
        """A vehicle that was updated says that something broke."""

    @property
    def aborted(self) -> bool:
        """Nothing more is to be started: what is queued is cancelled."""


class Everyone:
    """All at once, whatever comes: what a campaign without waves and gates does."""

    aborted = False

    def start(self, things: Sequence[str], now_s: float) -> Iterable[str]:
        return things

    def changed(self, change: Change) -> None:
        return

    def failed_later(self, thing: str, now_s: float) -> None:
        return


class Outcome(msgspec.Struct, frozen=True):
    """What a rehearsal found: the backend's record against the truth."""

    vehicles: int
    eligible: int
    """Those that do not run the version already and have the release to be replaced."""
    statuses: dict[str, int]
    """Executions by last status, as the service has them."""
    reasons: dict[str, int]
    """Of those that did not succeed."""
    runs_new: int
    """Vehicles that run the new image in truth."""
    false_success: int
    """SUCCEEDED, and the new image does not run."""
    false_failure: int
    """The new image runs, and the service says otherwise."""
    stuck: int
    """Executions that did not end within the time."""
    unbootable: int
    installed_twice: int
    attack_installed: int
    """Vehicles that run what an attacker brought."""
    started: int
    broken_later: int
    """Vehicles that broke after a successful installation."""
    downloaded_gb: float
    wasted_gb: float
    resumed_gb: float
    done_50_s: float | None
    """Time until half of the eligible vehicles run the new image, ..."""
    done_95_s: float | None
    done_99_s: float | None
    requests: int
    """Of vehicles to the Jobs service."""
    simulated_s: float

    @property
    def sound(self) -> bool:
        """Every vehicle boots, every execution ended, and every status is the truth."""
        return not (
            self.false_success
            or self.false_failure
            or self.stuck
            or self.unbootable
            or self.installed_twice
            or self.attack_installed
        )


class Rehearsal:
    """One campaign over a scenario's fleet. `run` may be called once.

    `truths` and `service` are there to be looked at afterwards.
    """

    job_id = "rehearsal"

    def __init__(self, scenario: Scenario, manager: Manager | None = None) -> None:
        if scenario.campaign is None:
            raise PreflightError(
                f"{scenario.name}: campaign is missing (allowed: a campaign, such as "
                "`--set campaign.firmware.version=1.1.0`)"
            )
        self.scenario, self.campaign = scenario, scenario.campaign
        self.manager = manager or Everyone()
        self.service = JobsService(self._document)
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        self._rng = np.random.default_rng([scenario.seed, 0x6F7461])
        start = scenario.clock.start
        self._epoch_s = start.timestamp()
        self._minute = start.hour * 60 + start.minute + start.second / 60
        self.vins = fleet_vins(scenario)
        self._index = {vin: i for i, vin in enumerate(self.vins)}
        self._groups = [g for g, group in enumerate(scenario.fleet) for _ in range(group.count)]
        self._served: list[Served] = [
            serve(self.campaign, group.vehicle, start) for group in scenario.fleet
        ]
        new = self.campaign.firmware.version
        self.truths = [
            Truth(Firmware(version, BROUGHT if version == new else INSTALLED))
            for version in firmware_of(scenario)
        ]
        self._draw()
        self._records: dict[int, Persisted] = {}
        self._active: dict[int, VehicleUpdate] = {}
        self._sources: dict[int, CountedSource] = {}
        self._check = CheckOnce()
        self.broken_later: set[int] = set()
        self.installed_s: dict[int, float] = {}
        self._seen = 0

    def _draw(self) -> None:
        n, rng, defect = len(self.vins), self._rng, self.campaign.firmware.defect
        shares = np.cumsum([defect.boot_failure, defect.self_test_failure, defect.delayed_failure])
        kinds: tuple[Defect, ...] = ("boot", "self-test", "delayed", "none")
        self._defects = [kinds[k] for k in np.searchsorted(shares, rng.random(n), side="right")]
        self._trips = np.sort(rng.uniform(0, 86_400, (n, DRIVES_A_DAY)), axis=1)
        fleet = self.scenario.fleet
        low = np.array([fleet[g].soc[0] for g in self._groups])
        high = np.array([fleet[g].soc[1] for g in self._groups])
        self._soc = rng.uniform(low, high)
        radios = Equipment.of(self.scenario).radios
        spread = rng.normal(size=n)
        self._links = [
            Link(_bytes_per_s(radios[g], float(spread[i])), DROP_MEAN_S)
            for i, g in enumerate(self._groups)
        ]

    def conditions(self, i: int, now_s: float) -> Conditions:
        """What vehicle i knows about itself."""
        day_s = (self._minute * 60 + now_s) % 86_400
        minute = int(day_s // 60)
        driving = bool(((day_s - self._trips[i]) % 86_400 < DRIVE_S).any())
        soc = float(self._soc[i])
        begin, end = CHARGED_MINUTES
        if not driving and (minute >= begin or minute < end):
            soc = max(soc, CHARGED_SOC)
        return Conditions(not driving, soc, minute)

    def run(self, limit_s: float = 3 * 86_400.0) -> Outcome:
        """Until every execution has ended and nothing more is to start, or simulated `limit_s`."""
        self._wave()
        while self._queue and self._queue[0][0] <= limit_s:
            self.now_s, _, call = heapq.heappop(self._queue)
            call()
            self._notice_changes()
        return self._outcome()

    # -- the service ------------------------------------------------------------------------------

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._turn, call))

    def _wave(self) -> None:
        """Once a minute: who is next?"""
        waiting = [v for v in self.vins if v not in self.service.things]
        if self.manager.aborted:
            self._send(self.service.cancel(self.job_id, self.now_s))
            return
        chosen = list(self.manager.start(waiting, self.now_s)) if waiting else []
        self._send(self.service.create(self.job_id, chosen, self.now_s))
        if len(chosen) < len(waiting) or self._active:
            self._later(60.0, self._wave)

    def _document(self, thing: str, job_id: str, now_s: float) -> bytes:
        served = self._served[self._groups[self._index[thing]]]
        campaign = self.campaign
        until = now_s + campaign.firmware.url_life_s
        return msgspec.json.encode(
            FirmwareJob(
                "firmware-update",
                job_id,
                served.version,
                served.target,
                f"image?until={until}",
                f"metadata?until={until}",
                preconditions_of(campaign),
            )
        )

    def _request(self, thing: str, topic: str, payload: bytes) -> None:
        self._later(LATENCY_S, lambda: self._arrived(thing, topic, payload))

    def _arrived(self, thing: str, topic: str, payload: bytes) -> None:
        self._send(self.service.request(thing, topic, payload, self.now_s))

    def _send(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._later(LATENCY_S, lambda a=answer: self._deliver(a))  # type: ignore[misc]

    def _deliver(self, answer: Answer) -> None:
        i = self._index[answer.thing]
        update = self._active.get(i)
        if update is None:
            if not answer.topic.endswith("/notify-next") or b'"execution"' not in answer.payload:
                return
            update = self._active[i] = self._make(i)
            update.online()
        update.message(answer.topic, answer.payload)
        if update.done:
            self._records[i] = update.record
            del self._active[i]
            if not self._sources[i].staged:
                del self._sources[i]

    def _make(self, i: int) -> VehicleUpdate:
        served = self._served[self._groups[i]]
        source = self._sources.setdefault(
            i,
            CountedSource(
                served, self._links[i], lambda: self.now_s, self._later, self._rng.random
            ),
        )

        def power(on: bool) -> None:
            if on:
                self._active[i].online()

        hands = Hands(
            now=lambda: self.now_s,
            later=self._later,
            request=self._request,
            power=power,
            check=self._check,
            uniform=self._rng.random,
            epoch_s=self._epoch_s,
            install_s=float(self.campaign.firmware.install_s),
        )
        return VehicleUpdate(
            self.vins[i],
            self.truths[i],
            self._records.get(i, Persisted(trust=served.trust)),
            source,
            self._defects[i],
            lambda: self.conditions(i, self.now_s),
            hands,
        )

    def _notice_changes(self) -> None:
        for change in self.service.changes[self._seen :]:
            self.manager.changed(change)
            if change.status == "SUCCEEDED":
                i = self._index[change.thing]
                self.installed_s[i] = change.t_s
                if self._defects[i] == "delayed" and self.truths[i].slots.commits:
                    delay_s = float(self.campaign.firmware.defect.delay_s)
                    self._later(delay_s, lambda i=i: self._break(i))  # type: ignore[misc]
        self._seen = len(self.service.changes)

    def _break(self, i: int) -> None:
        self.broken_later.add(i)
        self.manager.failed_later(self.vins[i], self.now_s)

    # -- what came of it --------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        new = self.campaign.firmware.version
        attack = self.campaign.firmware.attack
        had = [version == new for version in firmware_of(self.scenario)]
        eligible = len(had) - sum(had)
        runs = [truth.slots.committed.version == new for truth in self.truths]
        statuses: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        false_success = false_failure = stuck = 0
        for thing in self.service.things:
            i = self._index[thing]
            status = self.service.status(thing, self.job_id)
            statuses[status] += 1
            stuck += status not in TERMINAL
            if status in ("FAILED", "REJECTED"):
                reasons[self.service.details(thing, self.job_id).get("reason", "")] += 1
            false_success += status == "SUCCEEDED" and not runs[i]
            false_failure += (
                status in TERMINAL and status != "SUCCEEDED" and bool(self.truths[i].slots.commits)
            )
        times = sorted(t for i, t in self.installed_s.items() if self.truths[i].slots.commits)
        slots = [truth.slots for truth in self.truths]
        return Outcome(
            vehicles=len(self.vins),
            eligible=eligible,
            statuses=dict(statuses),
            reasons=dict(reasons),
            runs_new=sum(runs),
            false_success=false_success,
            false_failure=false_failure,
            stuck=stuck,
            unbootable=sum(s.committed.defect == "boot" for s in slots),
            installed_twice=sum(max(s.writes.values(), default=0) > 1 for s in slots),
            attack_installed=sum(bool(s.writes) for s in slots) if attack != "none" else 0,
            started=sum(bool(truth.states) for truth in self.truths),
            broken_later=len(self.broken_later),
            downloaded_gb=sum(t.downloaded for t in self.truths) / 1e9,
            wasted_gb=sum(t.wasted for t in self.truths) / 1e9,
            resumed_gb=sum(t.resumed for t in self.truths) / 1e9,
            done_50_s=_time(times, 0.50, eligible),
            done_95_s=_time(times, 0.95, eligible),
            done_99_s=_time(times, 0.99, eligible),
            requests=self.service.requests,
            simulated_s=self.now_s,
        )


def rehearse(scenario: Scenario) -> Outcome:
    """The scenario's campaign, to its end. `PreflightError` when there is none."""
    return Rehearsal(scenario).run()


def preconditions_of(campaign: Campaign) -> Preconditions:
    """As the job's document says them."""
    need = campaign.preconditions
    window = None
    if need.window is not None:
        begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in need.window)
        window = (begin, end)
    return Preconditions(need.parked, float(need.min_soc), window)


def _bytes_per_s(radio: RadioPreset, deviation: float) -> float:
    """Of one vehicle's downlink, `deviation` standard deviations from the median."""
    return radio.downlink_kbps * 125.0 * math.exp(radio.throughput_log_sigma * deviation)


def _time(times: Sequence[float], share: float, of: int) -> float | None:
    rank = int(np.ceil(share * of))
    return times[rank - 1] if 0 < rank <= len(times) else None
