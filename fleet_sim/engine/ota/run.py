"""A run's campaign at its target: publishes the images, asks for it, tells of faults, collects."""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console

from fleet_sim.cloud.campaigns import CampaignError, Campaigns
from fleet_sim.contract.campaign_records import ENDED, CampaignView
from fleet_sim.contract.campaigns import Candidate, Image
from fleet_sim.engine.backend import Backend, CampaignPlace
from fleet_sim.engine.clock import Clock
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.ota.attack import Served, serve
from fleet_sim.engine.ota.live import Brought
from fleet_sim.engine.ota.manager import campaign_request
from fleet_sim.engine.progress import ConsoleSteps, Steps
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.measure.ota import CampaignRecord, Decision, VehicleTruth, first_on_record
from fleet_sim.measure.ota_judge import Campaigned
from fleet_sim.scenario import Scenario
from fleet_sim.world.firmware import firmware_of

LOOK_S = 2.0
"""Between two looks at faults of vehicles, and at the campaign, wall s."""
FAULTS = 200
"""Vehicles that are told of in one call: the service takes no more than `MAX_FAULTS`, and has 29 s
for them."""
TRIES = 3
"""Of a call that got no answer."""


class LiveCampaign:
    """One run's campaign. Its id is the run's, in lower case."""

    def __init__(
        self, scenario: Scenario, place: CampaignPlace, run: str, vins: Sequence[str]
    ) -> None:
        assert scenario.campaign is not None
        self.id = run.lower().replace("_", "-")[:32]
        self.view: CampaignView | None = None
        self.problem = ""
        """Why the campaign did not come about, or could not be watched."""
        self._scenario, self._campaign = scenario, scenario.campaign
        self._place, self._vins = place, vins
        self._service = Campaigns(place.target, place.url)
        self._served: dict[str, Served] = {}
        self._told_s: dict[str, float] = {}
        self._t0_ns = 0

    def publish(self, steps: Steps) -> Brought:
        """Sign and upload the images: what vehicles know of them before."""
        steps.step("publishing the firmware")
        image = self._campaign.firmware
        sent = min(int(image.size), int(image.sent))
        start = self._scenario.clock.start.astimezone(dt.UTC)
        s3 = self._place.target.client("s3")
        for model in dict.fromkeys(group.vehicle for group in self._scenario.fleet):
            served = self._served[model] = serve(self._campaign, model, start, sent)
            assert served.content is not None
            for name, body in (("image", served.content), ("bundle.json", served.bundle)):
                s3.put_object(Bucket=self._place.bucket, Key=self._key(model, name), Body=body)
        steps.done(f"firmware {image.version} published, {len(self._served)} models")
        trust = tuple(self._served[group.vehicle].trust for group in self._scenario.fleet)
        return Brought(trust, int(image.size) / sent)

    async def drive(self, supervisor: Supervisor, clock: Clock, folder: RunFolder) -> None:
        """Begin when it is time, and tell the service what breaks; until cancelled."""
        while not supervisor.t0_ns:  # noqa: ASYNC110 - of another's steps
            await asyncio.sleep(0.1)
        self._t0_ns = supervisor.t0_ns
        assert self._campaign.at_s is not None
        due_ns = self._t0_ns + round(self._campaign.at_s / self._scenario.clock.speed * 1e9)
        await asyncio.sleep(max(0.0, (due_ns - clock.now_ns()) / 1e9))
        try:
            self.view = await asyncio.to_thread(self._start, clock)
        except CampaignError as error:
            self.problem = str(error)
            folder.log("campaign", problem=self.problem)
            return
        folder.log("campaign", id=self.id, eligible=self.view.eligible)
        while not (self._campaign.ends_run and self.view.state in ENDED):
            await asyncio.sleep(LOOK_S)
            await self._tell_faults(supervisor, folder)
            with contextlib.suppress(CampaignError):  # it is asked again
                await self._look(folder)
        folder.log("campaign", text="it has ended, and the run with it")
        await supervisor.stop()

    async def _look(self, folder: RunFolder) -> None:
        if self.view is not None and self.view.state in ENDED:
            return
        before = self.view
        self.view = await asyncio.to_thread(self._service.view, self.id)
        if before is None or (before.state, before.wave) != (self.view.state, self.view.wave):
            folder.log("campaign", state=self.view.state, wave=self.view.wave)

    async def _tell_faults(self, supervisor: Supervisor, folder: RunFolder) -> None:
        broken = [vin for vin in await supervisor.broken() if vin not in self._told_s]
        for begin in range(0, len(broken), FAULTS):
            some = broken[begin : begin + FAULTS]
            try:
                await asyncio.to_thread(self._service.fault, self.id, some, "broken")
            except CampaignError as error:  # told again next time
                folder.log("campaign", problem=str(error))
                return
            for vin in some:
                self._told_s[vin] = time.time()

    def _start(self, clock: Clock) -> CampaignView:
        scenario, speed = self._scenario, self._scenario.clock.speed
        versions = firmware_of(scenario)
        models = [group.vehicle for group in scenario.fleet for _ in range(group.count)]
        candidates = [
            Candidate(thing=vin, model=model, version=version)
            for vin, model, version in zip(self._vins, models, versions, strict=True)
        ]
        request = campaign_request(
            scenario,
            self.id,
            {model: self._image(model, served) for model, served in self._served.items()},
            candidates,
            version=next(iter(self._served.values())).version,
            real_s=self._t0_ns / 1e9,
            speed=speed,
        )
        for left in range(TRIES, 0, -1):
            try:
                return self._service.start(request)
            except CampaignError:
                if left == 1:
                    raise
                time.sleep(1.0)
        raise AssertionError("the loop returns or raises")

    def collect(self, seen: Sequence[VehicleTruth], simulated_s: float) -> Campaigned:
        """What the service has on record, beside the truth. `CampaignError`."""
        had = firmware_of(self._scenario)
        known = {truth.vehicle: truth for truth in seen}
        truths = [
            known.get(i) or VehicleTruth(vehicle=i, had=version, runs=version)
            for i, version in enumerate(had)
        ]
        view = self._service.view(self.id)
        targets = self._service.vehicles(self.id)
        t0_s = self._t0_ns / 1e9
        targets = [
            msgspec.structs.replace(t, heard_s=t.heard_s - t0_s, queued_s=t.queued_s - t0_s)
            for t in targets
        ]
        told_s = {thing: at_s - t0_s for thing, at_s in self._told_s.items()}
        index: Mapping[str, int] = {vin: i for i, vin in enumerate(self._vins)}
        return Campaigned(
            version=self._campaign.firmware.version,
            attack=self._campaign.firmware.attack,
            truths=truths,
            record=CampaignRecord(
                state=view.state,
                reason=view.reason,
                targets=targets,
                decisions=[
                    Decision(entry.at_ms / 1e3 - t0_s, entry.who, entry.action, entry.detail)
                    for entry in self._service.audit(self.id)
                ],
                waves=[
                    {"size": w.size, "completed": w.completed, "bad": w.bad} for w in view.waves
                ],
                first_bad_s=first_on_record(targets, told_s),
            ),
            vehicle_of=index.__getitem__,
            speed=self._scenario.clock.speed,
            simulated_s=simulated_s,
        )

    # -- inside -----------------------------------------------------------------------------------

    def _key(self, model: str, name: str) -> str:
        return f"runs/{self.id}/{model}/{name}"

    def _image(self, model: str, served: Served) -> Image:
        place = self._place
        base = f"https://s3.{place.target.region}.amazonaws.com/{place.bucket}"
        return Image(
            target=served.target,
            image_url=f"{base}/{self._key(model, 'image')}",
            metadata_url=f"{base}/{self._key(model, 'bundle.json')}",
        )


def live_campaign(
    scenario: Scenario, backend: Backend, run: str, vins: Sequence[str], console: Console
) -> LiveCampaign | None:
    """The run's campaign; None, and a word about it, where it is left out."""
    campaign, place = scenario.campaign, backend.campaigns
    if campaign is None:
        return None
    why = ""
    if campaign.at_s is None:
        why = "campaign.at is unset (`fleet-sim rehearse` drives it)"
    elif place is None:
        why = f"{backend.name} has no campaign service (allowed: --target local or aws)"
    if why or place is None:
        with ConsoleSteps(console) as steps:
            steps.done(f"left out: the campaign, as {why}")
        return None
    return LiveCampaign(scenario, place, run, vins)
