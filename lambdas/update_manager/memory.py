"""A campaign in memory: the same rules without a cloud, for a simulation. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fleet_sim.contract.campaign_records import ENDED, Target, WaveCounts, parse_job_id
from fleet_sim.contract.campaigns import CampaignRequest, plan_of
from update_manager import logic, planning, records
from update_manager.logic import Campaign, CancelJob, Event, Save, StartJob, Tell
from update_manager.planning import Vehicle
from update_manager.records import Observation


class MemoryCampaign:
    """`due` says what the Jobs service is to do now; `observe` takes what it says."""

    def __init__(
        self, campaign_id: str, request: CampaignRequest, vehicles: Iterable[Vehicle], now_s: float
    ) -> None:
        plan = plan_of(request)
        laid_out, sizes, ineligible = planning.lay_out(campaign_id, request, plan, vehicles)
        campaign = Campaign(campaign_id, request, plan, "simulation", int(now_s * 1e3))
        campaign = msgspec.structs.replace(campaign, sizes=sizes, ineligible=ineligible)
        event = Event.STARTED if sizes else Event.FINISHED
        self.campaign = logic.advance(campaign, event, now_s)
        self.targets: dict[str, Target] = {target.thing: target for target in laid_out}
        self.told: list[tuple[float, Tell]] = []
        """Time and what operators would have been told."""
        self._by_wave: list[list[str]] = [[] for _ in sizes]
        for target in laid_out:
            self._by_wave[target.wave].append(target.thing)
        self._next_s = now_s

    @property
    def ended(self) -> bool:
        return self.campaign.state in ENDED

    def due(self, now_s: float) -> list[StartJob | CancelJob]:
        """What to do now; what the service then says comes back through `observe`."""
        wanted: list[StartJob | CancelJob] = []
        while now_s >= self._next_s and not self.ended:
            before = self.campaign
            decision = logic.decide(before, self._begun(), now_s)
            self.campaign = decision.campaign
            changed = decision.campaign != before
            for command in decision.commands:
                match command:
                    case Save(_, new):
                        self.targets[new.thing] = new
                        changed = True
                    case StartJob(_, targets, _):
                        wanted.append(command)
                        for target in targets:
                            asked = records.asked(target, now_s, command.group)
                            self.targets[target.thing] = records.started(asked, now_s)
                    case CancelJob():
                        wanted.append(command)
                    case Tell():
                        self.told.append((now_s, command))
            self._next_s = now_s if changed else now_s + decision.wait_s
            if wanted:
                break  # the service's answers come first
        return wanted

    def observe(self, thing: str, job_id: str, status: str, now_s: float, reason: str = "") -> None:
        """An execution's status, as the Jobs service writes it."""
        named = parse_job_id(job_id)
        target = self.targets.get(thing)
        if named is None or target is None or named[:2] != (self.campaign.id, target.wave):
            return
        seen = Observation(named[2], status, now_s, reason)
        self._set(records.observe(target, seen, self.campaign.plan.retry), now_s)

    def fault(self, thing: str, now_s: float, reason: str = "") -> None:
        """A vehicle that was updated says that it broke."""
        if thing in self.targets:
            self._set(records.broken(self.targets[thing], reason), now_s)

    def pause(self, now_s: float) -> None:
        self.campaign = logic.advance(self.campaign, Event.PAUSED, now_s)
        self._next_s = now_s

    def resume(self, now_s: float) -> None:
        self.campaign = logic.resume(self.campaign, self._begun(), now_s)
        self._next_s = now_s

    def abort(self, now_s: float) -> None:
        self.campaign = logic.advance(self.campaign, Event.ABORTED, now_s)
        self._next_s = now_s

    def counts(self) -> list[WaveCounts]:
        """Every wave's."""
        return logic.count(self.campaign.sizes, self.targets.values())

    def _begun(self) -> list[Target]:
        return [
            self.targets[thing]
            for things in self._by_wave[: self.campaign.wave + 1]
            for thing in things
        ]

    def _set(self, target: Target, now_s: float) -> None:
        old = self.targets[target.thing]
        self.targets[target.thing] = target
        # A heartbeat decides nothing; everything else may.
        if (target.status, target.faulty) != (old.status, old.faulty):
            self._next_s = now_s if target.status != "in_progress" else self._next_s
