"""The campaign's rules, pure: records and the time in, new records and commands out.

Everything is decided from the vehicles' records (`Target`), which only observations of the Jobs
service move on, and never from counters. So an event that comes twice, late or never, and a
manager that is killed between a command and its record, change nothing in what is decided next:
the same records give the same commands, with the same job ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple

import msgspec

from fleet_sim.contract.campaign_records import (
    ENDED,
    CampaignState,
    Ending,
    Target,
    WaveCounts,
    job_id,
)
from fleet_sim.contract.campaigns import CampaignRequest, Plan
from update_manager.records import DEFERRED, OPEN_JOB

MIN_WAIT_S, MAX_WAIT_S = 1.0, 300.0


class Event(Enum):
    STARTED = "started"
    WAVE_ENDED = "wave_ended"
    SOAKED = "soaked"
    FINISHED = "finished"
    GATE_ABORTED = "gate_aborted"
    GATE_PAUSED = "gate_paused"
    PAUSED = "paused"
    RESUMED = "resumed"
    ABORTED = "aborted"
    SETTLED = "settled"


TRANSITIONS: Mapping[tuple[CampaignState, Event], CampaignState] = {
    ("planned", Event.STARTED): "running",
    ("planned", Event.FINISHED): "completed",  # nobody is eligible
    ("planned", Event.ABORTED): "aborting",
    ("running", Event.WAVE_ENDED): "soaking",
    ("soaking", Event.SOAKED): "running",  # of the next wave
    ("soaking", Event.FINISHED): "completed",
    ("running", Event.GATE_ABORTED): "aborting",
    ("running", Event.GATE_PAUSED): "paused",
    ("soaking", Event.GATE_ABORTED): "aborting",
    ("soaking", Event.GATE_PAUSED): "paused",
    ("running", Event.PAUSED): "paused",
    ("soaking", Event.PAUSED): "paused",
    ("paused", Event.RESUMED): "running",  # a wave that had ended soaks again
    ("running", Event.ABORTED): "aborting",
    ("soaking", Event.ABORTED): "aborting",
    ("paused", Event.ABORTED): "aborting",
    ("aborting", Event.SETTLED): "aborted",
}


class NotAllowedError(ValueError):
    """The campaign's state does not take this event; the message says which do."""


class Campaign(msgspec.Struct, frozen=True, omit_defaults=True):
    """The service's record of a campaign. `request` is without its list of vehicles."""

    id: str
    request: CampaignRequest
    plan: Plan
    created_by: str
    created_ms: int
    state: CampaignState = "planned"
    reason: str = ""
    wave: int = 0
    since_s: float = 0.0
    """When the state began, s since the epoch."""
    wave_s: float = 0.0
    """When the wave began, later by the time for which it was paused since."""
    sizes: tuple[int, ...] = ()
    """Vehicles of each wave; empty until it is planned."""
    ineligible: dict[str, int] = {}
    stopped_wave: int | None = None
    """Whose gate has paused the campaign."""
    waived: dict[int, tuple[int, int]] = {}
    """By wave: bad and completed when an operator went on all the same; they are not judged
    again."""

    @property
    def eligible(self) -> int:
        return sum(self.sizes)


class Save(NamedTuple):
    """A vehicle's record moves on, if it still is `old`."""

    old: Target
    new: Target


class StartJob(NamedTuple):
    """Make this job for these vehicles, all alike in model. It may be there already."""

    job_id: str
    targets: tuple[Target, ...]
    """As they are now; `records.started` says what they become."""


class CancelJob(NamedTuple):
    """End a vehicle's part of a job. `force` takes it away from one that has begun."""

    target: Target
    force: bool


class Tell(NamedTuple):
    """For operators: the campaign's new state and why."""

    action: str
    detail: str


Command = Save | StartJob | CancelJob | Tell
Verdict = Literal["open", "failed", "no evidence"]


def advance(campaign: Campaign, event: Event, now_s: float, reason: str = "") -> Campaign:
    """The campaign after an event. `NotAllowedError`."""
    state = TRANSITIONS.get((campaign.state, event))
    if state is None:
        allowed = ", ".join(s for s, e in TRANSITIONS if e is event)
        raise NotAllowedError(
            f"campaign {campaign.id} is {campaign.state} (allowed for {event.value}: {allowed})"
        )
    return msgspec.structs.replace(campaign, state=state, since_s=now_s, reason=reason)


def resume(campaign: Campaign, targets: Sequence[Target], now_s: float) -> Campaign:
    """Go on after a pause; after a gate's, what had failed by now is waived. `NotAllowedError`."""
    resumed = advance(campaign, Event.RESUMED, now_s)
    # The pause earns no starts: a rate goes on from where it was.
    resumed = msgspec.structs.replace(resumed, wave_s=campaign.wave_s + now_s - campaign.since_s)
    if (wave := campaign.stopped_wave) is None:
        return resumed
    seen = count(campaign.sizes, targets)[wave]
    waived = {**campaign.waived, wave: (seen.bad, seen.completed)}
    return msgspec.structs.replace(resumed, stopped_wave=None, waived=waived)


# --- the gate -------------------------------------------------------------------------------------


def count(sizes: Sequence[int], targets: Iterable[Target]) -> list[WaveCounts]:
    """Each wave; vehicles whose records are not given count as waiting."""
    statuses: list[dict[str, int]] = [{} for _ in sizes]
    faulty, seen = [0] * len(sizes), [0] * len(sizes)
    for target in targets:
        wave = target.wave
        statuses[wave][target.status] = statuses[wave].get(target.status, 0) + 1
        faulty[wave] += target.faulty
        seen[wave] += 1
    for wave, size in enumerate(sizes):
        if seen[wave] < size:
            statuses[wave]["waiting"] = statuses[wave].get("waiting", 0) + size - seen[wave]
    return [WaveCounts(w, size, statuses[w], faulty[w]) for w, size in enumerate(sizes)]


def judge(campaign: Campaign, counts: WaveCounts) -> Verdict:
    """A wave's gate: failures over those that have completed in it, silent ones in neither."""
    gate = campaign.plan.gate
    waived_bad, waived_completed = campaign.waived.get(counts.wave, (0, 0))
    bad, completed = counts.bad - waived_bad, counts.completed - waived_completed
    enough = completed >= gate.min_executed or counts.ended
    if enough and bad > gate.max_failed * completed:
        return "failed"
    waived = counts.wave in campaign.waived
    if counts.ended and not waived and counts.completed < gate.min_answered * counts.size:
        return "no evidence"
    return "open"


# --- decisions ------------------------------------------------------------------------------------


class Decision(NamedTuple):
    campaign: Campaign
    """To be written first, if it still is what was decided upon; then the commands."""
    commands: list[Command]
    wait_s: float
    """Nothing is due before, except through events."""


def decide(campaign: Campaign, targets: Sequence[Target], now_s: float) -> Decision:
    """What is to be done now. `targets`: all of the waves up to the current one."""
    counts = count(campaign.sizes, targets)[: campaign.wave + 1]
    commands: list[Command] = []
    if campaign.state in ("running", "soaking"):
        campaign, told = _progress(campaign, counts, now_s)
        commands += told
    commands += _cancel(campaign, targets, now_s)
    if campaign.state == "running":
        commands += _retry(campaign, targets, now_s)
        commands += _start(campaign, targets, now_s)
    elif campaign.state == "aborting":
        commands += [Save(t, _no_more(t)) for t in targets if t.status == "retrying"]
        if not any(t.status in OPEN_JOB or t.status == "retrying" for t in targets):
            campaign = advance(campaign, Event.SETTLED, now_s, campaign.reason)
            commands.append(Tell("aborted", campaign.reason))
    return Decision(campaign, commands, _wait(campaign, targets, now_s))


def _progress(
    campaign: Campaign, counts: Sequence[WaveCounts], now_s: float
) -> tuple[Campaign, list[Command]]:
    """Gates first: of every wave that has begun, as a late fault may come from any of them."""
    for wave in counts:
        verdict = judge(campaign, wave)
        if verdict == "open":
            continue
        if verdict == "failed":
            reason = f"wave {wave.wave + 1}: {wave.bad} of {wave.completed} completed have failed"
        else:
            reason = f"wave {wave.wave + 1}: only {wave.completed} of {wave.size} have answered"
        abort = verdict == "failed" and campaign.plan.gate.on_failure == "abort"
        event = Event.GATE_ABORTED if abort else Event.GATE_PAUSED
        campaign = advance(campaign, event, now_s, reason)
        campaign = msgspec.structs.replace(campaign, stopped_wave=wave.wave)
        return campaign, [Tell("gate " + ("abort" if abort else "pause"), reason)]
    told: list[Command] = []
    if campaign.state == "running" and counts[-1].ended:
        campaign = advance(campaign, Event.WAVE_ENDED, now_s)
        told.append(Tell("wave ended", _numbers(counts[-1])))
    if campaign.state == "soaking" and now_s >= campaign.since_s + campaign.plan.waves.soak_s:
        told.append(Tell("gate passed", _numbers(counts[-1])))
        if campaign.wave + 1 == len(campaign.sizes):
            campaign = advance(campaign, Event.FINISHED, now_s)
            told.append(Tell("completed", ""))
        else:
            campaign = advance(campaign, Event.SOAKED, now_s)
            campaign = msgspec.structs.replace(campaign, wave=campaign.wave + 1, wave_s=now_s)
    return campaign, told


def _numbers(counts: WaveCounts) -> str:
    done = f"{counts.completed} of {counts.size} completed, {counts.bad} failed"
    return f"wave {counts.wave + 1}: {done}"


def _cancel(campaign: Campaign, targets: Iterable[Target], now_s: float) -> Iterator[Command]:
    """Again at every decision, until the service has said what became of it."""
    for target in targets:
        ending, force = _why_cancel(campaign, target, now_s)
        if not ending:
            continue
        # Why comes into the record before the job is cancelled: the service's event may be faster
        # than we are, and it only says that it was cancelled.
        marked = msgspec.structs.replace(target, ending=ending)
        if marked != target:
            yield Save(target, marked)
        yield CancelJob(marked, force)


def _why_cancel(campaign: Campaign, target: Target, now_s: float) -> tuple[Ending, bool]:
    """Why a vehicle's job is to be taken from it (empty: it is not), even if it has begun?"""
    if campaign.state in ENDED or target.status not in OPEN_JOB:
        return "", False
    taken = campaign.state == "aborting" and campaign.plan.gate.in_progress == "cancel"
    if target.status == "in_progress":
        if taken:
            return "abort", True
        return ("timeout", True) if now_s >= give_up_s(campaign.plan, target) else ("", False)
    if campaign.state == "aborting":
        return "abort", taken
    if campaign.state == "paused":
        return "recall", False
    if not target.ending and now_s >= give_up_s(campaign.plan, target):
        return "unreached", False
    return target.ending, False


def give_up_s(plan: Plan, target: Target) -> float:
    """When a vehicle with a job has been silent for too long. One that waits for its preconditions
    has as long as one that was never reached."""
    waits = target.status == "queued" or target.reason.startswith(DEFERRED)
    return target.heard_s + (plan.timeouts.unreached_s if waits else plan.timeouts.silent_s)


def _no_more(target: Target) -> Target:
    return msgspec.structs.replace(target, status="failed", due_s=0.0)


def _retry(campaign: Campaign, targets: Iterable[Target], now_s: float) -> Iterator[Command]:
    """In the order in which they are due, until the budget is spent."""
    pending = sorted(
        (t for t in targets if t.status == "retrying"), key=lambda t: (t.due_s, t.thing)
    )
    left = retry_budget(campaign) - retries(targets)
    for i, target in enumerate(pending):
        if i >= left:
            yield Save(target, _no_more(target))
        elif target.due_s <= now_s and in_window(campaign.plan, target.region, now_s):
            yield StartJob(job_id(campaign.id, target, target.attempt + 1), (target,))


def retry_budget(campaign: Campaign) -> int:
    return math.ceil(campaign.plan.retry.budget * campaign.eligible)


def retries(targets: Iterable[Target]) -> int:
    """Second and further tries that have begun."""
    return sum(t.failures - (t.status in ("retrying", "failed")) for t in targets if t.failures)


def _start(campaign: Campaign, targets: Iterable[Target], now_s: float) -> Iterator[Command]:
    parts: dict[int, list[Target]] = {}
    begun = 0
    for target in targets:
        if target.wave != campaign.wave:
            continue
        if target.status == "waiting" and target.attempt > 0:
            # Taken back by a pause: its part's job has been made, so it gets one of its own.
            begun += 1
            if in_window(campaign.plan, target.region, now_s):
                yield StartJob(job_id(campaign.id, target, target.attempt + 1), (target,))
        elif target.status == "waiting":
            parts.setdefault(target.part, []).append(target)
        else:
            begun += 1
    for part in sorted(parts):
        waiting = parts[part]
        if not in_window(campaign.plan, waiting[0].region, now_s):
            continue
        if begun and begun + len(waiting) > _allowed(campaign, now_s):
            return
        begun += len(waiting)
        yield StartJob(job_id(campaign.id, waiting[0], 1), tuple(waiting))


def _allowed(campaign: Campaign, now_s: float) -> float:
    """Vehicles of this wave that may have been started by now."""
    rate = campaign.plan.waves.per_minute
    return math.inf if rate is None else rate * ((now_s - campaign.wave_s) / 60.0 + 1.0)


def in_window(plan: Plan, region: str, now_s: float) -> bool:
    """Whether vehicles of a region may be started, by their local time of day."""
    window = plan.window
    if window is None:
        return True
    clock = plan.clock
    sim_s = clock.sim_s + (now_s - clock.real_s) * clock.speed
    offset = window.utc_offsets_min.get(region, window.utc_offset_min)
    minute = (sim_s / 60.0 + offset) % 1_440.0
    if window.begin < window.end:
        return window.begin <= minute < window.end
    return minute >= window.begin or minute < window.end


def _wait(campaign: Campaign, targets: Iterable[Target], now_s: float) -> float:
    """Until the next moment at which time alone makes a difference."""
    due = [now_s + MAX_WAIT_S]
    if campaign.state == "soaking":
        due.append(campaign.since_s + campaign.plan.waves.soak_s)
    for target in targets:
        if target.status == "retrying":
            due.append(target.due_s)
        elif target.status in OPEN_JOB:
            due.append(give_up_s(campaign.plan, target))
        elif target.status == "waiting":
            due.append(now_s + 60.0)  # the rate, the window
    return max(MIN_WAIT_S, min(due) - now_s)
