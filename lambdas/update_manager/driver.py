"""Does what the rules decide: reads records, writes the new ones, speaks to the Jobs service.

May be killed at any point, and run twice at once. A campaign's new state is written before anything
is done about it; what is done follows from the records and can be done again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import msgspec

from fleet_sim.contract.campaign_records import ENDED, AuditEntry, Target, WaveCounts, job_id
from fleet_sim.contract.campaigns import Retry
from update_manager import logic, planning, records
from update_manager.jobs import Jobs, NoSuchThingError
from update_manager.logic import Campaign, CancelJob, Event, Save, StartJob, Tell
from update_manager.planning import Vehicle
from update_manager.records import Observation
from update_manager.store import Held, Store

WHO = "update_manager"
ROUNDS = 8
"""Decisions in a row at most: one may make the next one possible."""
BUDGET_S = 40.0
"""No new command after so long: the function has 60 s, and what is left is decided again."""
PLANNING_S = 65.0
"""Whoever began to plan so long ago is dead: the function has 60 s."""
AT_ONCE = 8
"""Requests to the Jobs service under way at once. It makes ten jobs a second (AWS IoT Device
Management quotas), so that more would only be throttled."""
MOVED = 20
"""Tries to write a record that somebody else moves each time."""
LISTED_JOBS = 50
"""Jobs whose executions one tick lists at most; the next one goes on from there."""

_T = TypeVar("_T")


class Turn(NamedTuple):
    """What came of one drive."""

    campaign: Campaign
    counts: list[WaveCounts]
    wait_s: float

    @property
    def ended(self) -> bool:
        return self.campaign.state in ENDED


class Driver:
    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        *,
        fleet: Callable[[Iterable[str] | None], dict[str, Vehicle]],
        tell: Callable[[Campaign, str, str], None],
        now_s: Callable[[], float],
    ) -> None:
        """`fleet`: what telemetry knows of these vehicles, or of all. `tell`: says a campaign's
        action and its detail to operators."""
        self._store, self._jobs = store, jobs
        self._fleet, self._tell, self._now_s = fleet, tell, now_s
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._retries: dict[str, Retry] = {}

    # -- what the Jobs service says ---------------------------------------------------------------

    def observe(self, events: Iterable[tuple[str, int, str, Observation]]) -> None:
        """Campaign, wave, thing and state of executions."""
        by_campaign: dict[str, list[tuple[int, str, Observation]]] = {}
        for campaign_id, wave, thing, seen in events:
            by_campaign.setdefault(campaign_id, []).append((wave, thing, seen))
        for campaign_id, news in by_campaign.items():
            for _ in range(MOVED):
                if not news or (retry := self._retry_of(campaign_id)) is None:
                    break
                news = self._take(campaign_id, retry, news)
            else:
                raise RuntimeError(f"campaign {campaign_id}: records that cannot be written")

    def _take(
        self, campaign_id: str, retry: Retry, news: list[tuple[int, str, Observation]]
    ) -> list[tuple[int, str, Observation]]:
        """Answers the news of vehicles whose record somebody else moved meanwhile."""
        wanted = dict.fromkeys((wave, thing) for wave, thing, _ in news)
        old = self._store.read_targets(campaign_id, wanted)
        new = dict(old)
        for wave, thing, seen in news:
            if thing in new and new[thing].wave == wave:
                new[thing] = records.observe(new[thing], seen, retry)
        moves = [(old[thing], new[thing]) for thing in old]
        saved = self._store.save_all(campaign_id, moves)
        stale = {old.thing for (old, _), done in zip(moves, saved, strict=True) if not done}
        return [item for item in news if item[1] in stale]

    def _retry_of(self, campaign_id: str) -> Retry | None:
        """A campaign's plan never changes: read once."""
        if campaign_id not in self._retries:
            held = self._store.read(campaign_id)
            if held is None:
                return None
            self._retries[campaign_id] = held.campaign.plan.retry
        return self._retries[campaign_id]

    # -- decisions --------------------------------------------------------------------------------

    def drive(self, campaign_id: str, *, reconcile: bool) -> Turn | None:
        """Decide and do, until nothing more follows now. None when there is no such campaign."""
        until_s = self._now_s() + BUDGET_S
        held = self._store.read(campaign_id)
        if held is not None and held.campaign.state == "planned":
            held = self._plan(held)
            if held is not None and held.campaign.state == "planned":
                return Turn(held.campaign, [], logic.MIN_WAIT_S)
        if held is not None and reconcile and held.campaign.state not in ENDED:
            self._reconcile(held.campaign)
        wait_s, before = logic.MIN_WAIT_S, None
        targets: list[Target] | None = None
        for _ in range(ROUNDS):
            if held is None:
                return None
            targets = self._targets(held.campaign)
            decision = logic.decide(held.campaign, targets, self._now_s())
            wait_s = decision.wait_s
            if decision.campaign != held.campaign:
                held = self._move(held, decision.campaign, decision.commands)
                if held is None:  # somebody was faster
                    held = self._store.read(campaign_id)
                    continue
            elif not decision.commands or decision.commands == before:
                break  # nothing follows, or the service has not answered yet
            before = decision.commands
            if self._now_s() > until_s:
                wait_s = logic.MIN_WAIT_S
                break
            targets = None  # what is done moves them on
            if not self._do(held, decision.commands, until_s):
                held = self._store.read(campaign_id)
        if held is None:
            return None
        self._flush(held)
        counts = logic.count(held.campaign.sizes, targets or self._targets(held.campaign))
        return Turn(held.campaign, counts, wait_s)

    def _targets(self, campaign: Campaign) -> list[Target]:
        return self._store.targets(campaign.id, campaign.wave + 1) if campaign.sizes else []

    def _move(
        self, held: Held, campaign: Campaign, commands: Iterable[logic.Command]
    ) -> Held | None:
        told = [command for command in commands if isinstance(command, Tell)]
        at_ms = int(self._now_s() * 1e3)
        entries = [AuditEntry(at_ms, WHO, tell.action, tell.detail) for tell in told]
        return self._store.write(held, campaign, told, entries)

    def _flush(self, held: Held) -> None:
        """At least once: who is killed in between tells it again."""
        if held.untold:
            for action, detail in held.untold:
                self._tell(held.campaign, action, detail)
            self._store.was_told(held)

    def _plan(self, held: Held) -> Held | None:
        """One at a time: what is known of the fleet changes, and two would put a vehicle into two
        waves. Who was killed over it is waited for, and what it left is put right."""
        now_s, campaign = self._now_s(), held.campaign
        if now_s < campaign.since_s + PLANNING_S:
            return held
        claimed = self._store.write(held, msgspec.structs.replace(campaign, since_s=now_s))
        if claimed is None:
            return self._store.read(campaign.id)
        held, campaign = claimed, claimed.campaign
        listed = self._store.vehicles(campaign.id)
        if listed is None:
            vehicles = list(self._fleet(None).values())
        else:
            known = self._fleet([candidate.thing for candidate in listed])
            vehicles = [planning.merged(c, known.get(c.thing)) for c in listed]
        laid_out, sizes, ineligible = planning.lay_out(
            campaign.id, campaign.request, campaign.plan, vehicles
        )
        self._store.plan(campaign.id, laid_out)
        now_s = self._now_s()
        event = Event.STARTED if sizes else Event.FINISHED
        moved = msgspec.structs.replace(
            logic.advance(campaign, event, now_s), sizes=sizes, ineligible=ineligible
        )
        told = [Tell(event.value, f"{sum(sizes)} vehicles in {len(sizes)} waves")]
        return self._move(held, moved, told) or self._store.read(campaign.id)

    def _reconcile(self, campaign: Campaign) -> None:
        """Events get lost, and none says that a vehicle has begun: look at the open jobs."""
        open_jobs: dict[str, dict[str, Target]] = {}
        for target in self._targets(campaign):
            if target.status in records.OPEN_JOB:
                name = job_id(campaign.id, target, target.attempt)
                open_jobs.setdefault(name, {})[target.thing] = target
        names = sorted(open_jobs)
        if len(names) > LISTED_JOBS:
            # Turns come at even intervals: a step of the clock's could meet the same ones for ever.
            first = zlib.crc32(repr(self._now_s()).encode()) % len(names)
            names = (names + names)[first : first + LISTED_JOBS]
        until_s = self._now_s() + BUDGET_S / 2
        for name in names:
            if self._now_s() > until_s:
                return
            moves: list[tuple[Target, Target]] = []
            for thing, seen in self._jobs.executions(name):
                if (open_target := open_jobs[name].get(thing)) is None:
                    continue
                if seen.status in ("FAILED", "REJECTED"):
                    seen = self._jobs.look(name, thing) or seen
                new = records.observe(open_target, seen, campaign.plan.retry)
                if new != open_target:
                    moves.append((open_target, new))
            self._store.save_all(campaign.id, moves)

    # -- commands ---------------------------------------------------------------------------------

    def _do(self, held: Held, commands: Sequence[logic.Command], until_s: float) -> bool:
        """Whether the campaign still was what was decided upon, and there was time for all."""
        moves = [(c.old, c.new) for c in commands if isinstance(c, Save)]
        saved = self._store.save_all(held.campaign.id, moves)
        stale = {old.thing for (old, _), done in zip(moves, saved, strict=True) if not done}
        cancels = [c for c in commands if isinstance(c, CancelJob) and c.target.thing not in stale]
        starts = [c for c in commands if isinstance(c, StartJob)]
        for some in _portions(cancels):
            if self._now_s() > until_s:
                return False
            list(self._pool.map(lambda command: self._cancel(held.campaign, command), some))
        for few in _portions(starts):
            if self._now_s() > until_s or not self._start(held, few):
                return False
        return True

    def _start(self, held: Held, commands: Sequence[StartJob]) -> bool:
        """Make these jobs, unless the campaign has changed."""
        name = held.campaign.id
        asked = [self._asked(command) for command in commands]
        moves = [list(zip(old.targets, new.targets, strict=True)) for old, new in asked]
        ours = list(self._pool.map(lambda some: self._store.save_together(name, some), moves))
        # Read again, and after it is on record what is about to be made: a pause or an abort that
        # comes before stops the start, and one that comes after finds what it has to take back.
        now = self._store.read(name)
        if now is None or now.revision != held.revision:
            for some, done in zip(moves, ours, strict=True):
                self._store.save_all(name, [(new, old) for old, new in some if done])
            return False
        made = [new for (_, new), done in zip(asked, ours, strict=True) if done]
        list(self._pool.map(lambda command: self._make(held.campaign, command), made))
        return True

    def _asked(self, command: StartJob) -> tuple[StartJob, StartJob]:
        """A command, and with its vehicles' records as they are when it is about to be done."""
        now_s = self._now_s()
        asked = tuple(records.asked(t, now_s, command.group) for t in command.targets)
        return command, command._replace(targets=asked)

    def _make(self, campaign: Campaign, command: StartJob) -> None:
        targets = command.targets
        things = [target.thing for target in targets]
        try:
            self._jobs.create(
                command.job_id, campaign.id, campaign.request, targets[0].model, things
            )
        except NoSuchThingError:
            gone = [target for target in targets if not self._jobs.registered(target.thing)]
            if not gone:
                raise
            lost = [
                (
                    t,
                    msgspec.structs.replace(
                        t, status="unreached", reason="no such thing", asked_s=0.0
                    ),
                )
                for t in gone
            ]
            self._store.save_all(campaign.id, lost)
            return  # the others are asked again
        now_s = self._now_s()
        self._store.save_all(campaign.id, [(t, records.started(t, now_s)) for t in targets])

    def _cancel(self, campaign: Campaign, command: CancelJob) -> None:
        target, now_s = command.target, self._now_s()
        name = job_id(campaign.id, target, target.attempt)
        if target.ending == "timeout":
            # The last word before it is taken away: it may have been heard of since.
            seen = self._jobs.look(name, target.thing)
            if seen is not None:
                heard = records.observe(target, seen, campaign.plan.retry)
                waits = heard.status == "in_progress"
                if not waits or now_s < logic.give_up_s(campaign.plan, heard):
                    cleared = msgspec.structs.replace(heard, ending="")
                    self._store.save(campaign.id, target, cleared)
                    return
        seen = self._jobs.cancel(
            name, target.thing, force=command.force, now_s=now_s, made_s=target.heard_s
        )
        if seen is not None:
            new = records.observe(target, seen, campaign.plan.retry)
            self._store.save(campaign.id, target, new)


def broken(store: Store, campaign_id: str, things: Sequence[str], reason: str) -> int:
    """Vehicles say that they broke after an update; how many of them were news."""
    held = store.read(campaign_id)
    waves = range(len(held.campaign.sizes) if held else 0)
    wanted = dict.fromkeys((wave, thing) for thing in things for wave in waves)
    found = 0
    for _ in range(MOVED):
        old = store.read_targets(campaign_id, wanted)
        moves = [
            (target, new)
            for target in old.values()
            if (new := records.broken(target, reason)) is not target
        ]
        if not moves:
            return found
        saved = store.save_all(campaign_id, moves)
        found += sum(saved)
        left = zip(moves, saved, strict=True)
        wanted = dict.fromkeys((old.wave, old.thing) for (old, _), done in left if not done)
    raise RuntimeError(f"campaign {campaign_id}: records that cannot be written")


def _portions(commands: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for first in range(0, len(commands), AT_ONCE):
        yield commands[first : first + AT_ONCE]
