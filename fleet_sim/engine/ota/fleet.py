"""A campaign without a cloud: the fleet's update machines, a model of the Jobs service, and the
campaign service's own rules.

Discrete events in simulated time, so that hours of ten thousand vehicles take a minute. The city is
not simulated: when a vehicle stands and how it is charged are assumptions (`ota_surroundings.py`).
"""

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from fleet_sim.contract.campaigns import CampaignRequest, Candidate, Image
from fleet_sim.contract.jobs import FirmwareJob
from fleet_sim.engine.costing import DEFAULT_REGION, prices_of
from fleet_sim.engine.ota.attack import BROUGHT, INSTALLED, Served, serve
from fleet_sim.engine.ota.check import CheckOnce
from fleet_sim.engine.ota.draw import fates_of
from fleet_sim.engine.ota.jobs import Answer, Change, JobsService
from fleet_sim.engine.ota.link import CountedSource
from fleet_sim.engine.ota.manager import (
    campaign_request,
    memory_campaign,
    preconditions_of,
    start_job,
)
from fleet_sim.engine.ota.surroundings import Surroundings
from fleet_sim.engine.ota.truth import vehicle_truth
from fleet_sim.engine.ota.vehicle import LATENCY_S, Hands, Truth, VehicleUpdate
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.measure.ota import (
    CampaignRecord,
    Decision,
    OtaReport,
    VehicleTruth,
    first_on_record,
)
from fleet_sim.measure.ota_judge import Campaigned, judge_campaign
from fleet_sim.scenario import Scenario
from fleet_sim.vehicle.ota_table import Persisted
from fleet_sim.world.firmware import Firmware, firmware_of
from fleet_sim.world.towns import fleet_vins

if TYPE_CHECKING:
    from update_manager.logic import CancelJob

BATCH_S = 1.0
"""The campaign service takes the events of so long together."""


class Rehearsal:
    """One campaign over a scenario's fleet. `run` may be called once.

    `truths`, `service` and `manager` are there to be looked at afterwards. `PreflightError` when
    the scenario has no campaign.
    """

    def __init__(self, scenario: Scenario) -> None:
        if scenario.campaign is None:
            raise PreflightError(
                f"{scenario.name}: campaign is missing (allowed: a campaign, such as "
                "`--set campaign.firmware.version=1.1.0`)"
            )
        self.scenario, self.campaign = scenario, scenario.campaign
        self.service = JobsService(self._document)
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        self._rng = np.random.default_rng([scenario.seed, 0x6F7461])
        start = scenario.clock.start
        self._epoch_s = start.timestamp()
        self.vins = fleet_vins(scenario)
        self._index = {vin: i for i, vin in enumerate(self.vins)}
        groups = scenario.fleet
        self._groups = [g for g, group in enumerate(groups) for _ in range(group.count)]
        by_model = {
            model: serve(self.campaign, model, start)
            for model in dict.fromkeys(group.vehicle for group in groups)
        }
        self._served: list[Served] = [by_model[group.vehicle] for group in groups]
        new = self.campaign.firmware.version
        self._had = firmware_of(scenario)
        self.truths = [
            Truth(Firmware(version, BROUGHT if version == new else INSTALLED))
            for version in self._had
        ]
        self._defects, self._mishaps = fates_of(scenario, self.campaign)
        self.around = Surroundings(scenario, self._rng)
        self._records: dict[int, Persisted] = {}
        self._active: dict[int, VehicleUpdate] = {}
        self._sources: dict[int, CountedSource] = {}
        self._check = CheckOnce()
        self._seen = 0
        self._hurried = False
        self._start_job = start_job()
        self._told_s: dict[str, float] = {}
        self.manager = memory_campaign("rehearsal", *self._asked(by_model), 0.0)

    def _asked(self, by_model: dict[str, Served]) -> tuple[CampaignRequest, dict[str, str]]:
        vehicles = [
            Candidate(thing=vin, model=self.scenario.fleet[self._groups[i]].vehicle)
            for i, vin in enumerate(self.vins)
        ]
        images = {
            model: Image(target=served.target, image_url="http://i", metadata_url="http://m")
            for model, served in by_model.items()
        }
        request = campaign_request(
            self.scenario,
            "rehearsal",
            images,
            vehicles,
            # An attacker's older image is offered to all that do not run the new one.
            version=self.campaign.firmware.version,
            real_s=0.0,
            speed=1.0,
        )
        return request, dict(zip(self.vins, self._had, strict=True))

    def run(self, limit_s: float = 7 * 86_400.0) -> OtaReport:
        """Until the campaign has ended and late faults have shown, or simulated `limit_s`."""
        for begin_s, end_s, struck in self.around.outages:
            mine = np.flatnonzero(struck).tolist()
            self._later(begin_s, lambda m=mine: self._gone(m))  # type: ignore[misc]
            for i in mine:
                self._later(end_s + self.around.late_s[i], lambda i=i: self._back(i))  # type: ignore[misc]
        self._tick()
        while self._queue and self._queue[0][0] <= limit_s:
            self.now_s, _, call = heapq.heappop(self._queue)
            call()
            self._notice_changes()
        return judge_campaign(self.compared(), prices_of(DEFAULT_REGION))

    # -- the service ------------------------------------------------------------------------------

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._turn += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._turn, call))

    def _tick(self) -> None:
        """Once a minute: what is due by the clock?"""
        self._manage()
        if not self.manager.ended:
            self._later(60.0, self._tick)

    def _hurry(self) -> None:
        """There is news: the service looks at all that came meanwhile, as its queue batches it."""
        if not self._hurried:
            self._hurried = True
            self._later(BATCH_S, self._manage)

    def _manage(self) -> None:
        """What the campaign service wants now."""
        self._hurried = False
        for command in self.manager.due(self.now_s):
            if isinstance(command, self._start_job):
                things = [target.thing for target in command.targets]
                self._send(self.service.create(command.job_id, things, self.now_s))
            else:
                cancel = cast("CancelJob", command)
                thing = cancel.target.thing
                name = self.service.last_job(thing)
                gone = self.service.cancel(name, self.now_s, force=cancel.force, things=[thing])
                self._send(gone)

    def _document(self, thing: str, job_id: str, now_s: float) -> bytes:
        served = self._served[self._groups[self._index[thing]]]
        until = now_s + self.campaign.firmware.url_life_s
        return msgspec.json.encode(
            FirmwareJob(
                "firmware-update",
                job_id,
                served.version,
                served.target,
                f"image?until={until}",
                f"metadata?until={until}",
                preconditions_of(self.campaign),
            )
        )

    def _request(self, thing: str, topic: str, payload: bytes) -> None:
        self._later(LATENCY_S, lambda: self._arrived(thing, topic, payload))

    def _arrived(self, thing: str, topic: str, payload: bytes) -> None:
        if self._is_away(self._index[thing]):
            return  # asked again, once it is back
        self._send(self.service.request(thing, topic, payload, self.now_s))

    def _send(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._later(LATENCY_S, lambda a=answer: self._deliver(a))  # type: ignore[misc]

    def _deliver(self, answer: Answer) -> None:
        i = self._index[answer.thing]
        notice = answer.topic.endswith("/notify-next")
        if self._is_away(i):
            if notice:  # the broker keeps it for the session
                wait_s = self.around.back_s(i, self.now_s) - self.now_s
                self._later(wait_s, lambda: self._deliver(answer))
            return
        update = self._active.get(i)
        if update is None:
            if not notice or b'"execution"' not in answer.payload:
                return
            update = self._active[i] = self._make(i)
            update.online()
        update.message(answer.topic, answer.payload)
        if update.done:
            self._records[i] = update.record
            self._mishaps[i] = update.mishap
            del self._active[i]
            if not self._sources[i].staged:
                del self._sources[i]

    def _make(self, i: int) -> VehicleUpdate:
        served = self._served[self._groups[i]]
        if i not in self._sources:
            self._sources[i] = CountedSource(
                served, self.around.links[i], lambda: self.now_s, self._later, self._rng.random
            )

        def power(on: bool) -> None:
            if on:
                self._later(
                    self.around.back_s(i, self.now_s) - self.now_s, lambda: self._active[i].online()
                )

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
            self._sources[i],
            self._defects[i],
            lambda: self.around.conditions(i, self.now_s),
            hands,
            self._mishaps[i],
        )

    # -- outages ----------------------------------------------------------------------------------

    def _is_away(self, i: int) -> bool:
        return self.around.is_away(i, self.now_s)

    def _gone(self, vehicles: Iterable[int]) -> None:
        for i in vehicles:
            if i in self._active:
                self._sources[i].cut()
                self._active[i].offline()

    def _back(self, i: int) -> None:
        if i in self._active and not self._is_away(i):
            self._active[i].online()

    # -- what the manager hears -------------------------------------------------------------------

    def _notice_changes(self) -> None:
        changes = self.service.heard
        if self._seen == len(changes):
            return
        for change in changes[self._seen :]:
            self._heard(change)
        self._seen = len(changes)
        self._hurry()

    def _heard(self, change: Change) -> None:
        details = change.details
        deferred = details.get("deferred", "")
        reason = f"deferred: {deferred}" if deferred else details.get("reason", "")
        self.manager.observe(change.thing, change.job_id, change.status, change.t_s, reason)
        if change.status == "SUCCEEDED":
            i = self._index[change.thing]
            if self._defects[i] == "delayed" and self.truths[i].slots.commits:
                delay_s = float(self.campaign.firmware.defect.delay_s)
                self._later(delay_s, lambda i=i: self._break(i))  # type: ignore[misc]

    def _break(self, i: int) -> None:
        self.truths[i].broken_s = self.now_s
        self._told_s[self.vins[i]] = self.now_s
        self.manager.fault(self.vins[i], self.now_s, "broken")
        self._hurry()

    # -- what came of it --------------------------------------------------------------------------

    def vehicle_truths(self) -> list[VehicleTruth]:
        return [
            vehicle_truth(i, had, truth)
            for i, (had, truth) in enumerate(zip(self._had, self.truths, strict=True))
        ]

    def compared(self) -> Campaigned:
        """Record and truth."""
        manager = self.manager
        targets = list(manager.targets.values())
        return Campaigned(
            version=self.campaign.firmware.version,
            attack=self.campaign.firmware.attack,
            truths=self.vehicle_truths(),
            record=CampaignRecord(
                state=manager.campaign.state,
                reason=manager.campaign.reason,
                targets=targets,
                decisions=[
                    Decision(at_s, "update_manager", tell.action, tell.detail)
                    for at_s, tell in manager.told
                ],
                waves=[
                    {"size": w.size, "completed": w.completed, "bad": w.bad}
                    for w in manager.counts()
                ],
                first_bad_s=first_on_record(targets, self._told_s),
            ),
            vehicle_of=self._index.__getitem__,
            speed=1.0,
            simulated_s=self.now_s,
        )


def rehearse(scenario: Scenario) -> OtaReport:
    """The scenario's campaign, to its end. `PreflightError` when there is none."""
    return Rehearsal(scenario).run()
