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
    THINGS_A_JOB,
    CampaignState,
    Ending,
    Target,
    WaveCounts,
    group_of,
    job_id,
)
from fleet_sim.contract.campaigns import CampaignRequest, Plan
from update_manager import pacing, records
from update_manager.pacing import Pace, in_window
from update_manager.records import DEFERRED, OPEN_JOB

MIN_WAIT_S, MAX_WAIT_S = 1.0, 300.0
CANCEL_WAIT_S = 5.0
"""Until the service is asked again what became of a job that it was to cancel."""


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


class Waived(msgspec.Struct, frozen=True):
    """What an operator has seen of a wave before they went on all the same."""

    bad: int
    """Failures: the gate leaves these vehicles out, of both its numbers."""
    unanswered: bool = False
    """That the wave had ended and too few had answered."""


_NOTHING = Waived(0)


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
    pace: Pace = Pace()
    sizes: tuple[int, ...] = ()
    """Vehicles of each wave; empty until it is planned."""
    ineligible: dict[str, int] = {}
    stopped_wave: int | None = None
    """Whose gate has paused the campaign."""
    waived: dict[int, Waived] = {}
    """By wave."""

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
    """As they are now; `records.asked` and `records.started` say what they become."""
    group: str = ""
    """Of these vehicles, when the job is that of a group."""


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
    pace = campaign.pace
    if state == "paused":
        pace = pacing.stopped(pace, campaign.plan, now_s)
    elif campaign.state == "paused":
        pace = pacing.resumed(pace, now_s)
    return msgspec.structs.replace(campaign, state=state, since_s=now_s, reason=reason, pace=pace)


def resume(campaign: Campaign, targets: Sequence[Target], now_s: float) -> Campaign:
    """Go on after a pause; after a gate's, what had failed by now is waived. `NotAllowedError`."""
    resumed = advance(campaign, Event.RESUMED, now_s)
    if (wave := campaign.stopped_wave) is None:
        return resumed
    seen = count(campaign.sizes, targets)[wave]
    waived = {**campaign.waived, wave: Waived(seen.bad, _unanswered(campaign.plan, seen))}
    return msgspec.structs.replace(resumed, stopped_wave=None, waived=waived)


# --- the gate -------------------------------------------------------------------------------------


def count(sizes: Sequence[int], targets: Iterable[Target]) -> list[WaveCounts]:
    """Each wave; vehicles whose records are not given count as waiting."""
    statuses: list[dict[str, int]] = [{} for _ in sizes]
    faulty, seen = [0] * len(sizes), [0] * len(sizes)
    for target in targets:
        wave = target.wave
        statuses[wave][target.status] = statuses[wave].get(target.status, 0) + 1
        faulty[wave] += target.faulty and target.status == "succeeded"
        seen[wave] += 1
    for wave, size in enumerate(sizes):
        if seen[wave] < size:
            statuses[wave]["waiting"] = statuses[wave].get("waiting", 0) + size - seen[wave]
    return [WaveCounts(w, size, statuses[w], faulty[w]) for w, size in enumerate(sizes)]


def judge(campaign: Campaign, counts: WaveCounts) -> Verdict:
    """A wave's gate: failures over those that have completed in it, silent ones in neither, and
    neither those whose failure was waived."""
    gate = campaign.plan.gate
    waived = campaign.waived.get(counts.wave, _NOTHING)
    bad, completed = counts.bad - waived.bad, counts.completed - waived.bad
    enough = completed >= gate.min_executed or counts.ended
    if enough and bad > gate.max_failed * completed:
        return "failed"
    if _unanswered(campaign.plan, counts) and not waived.unanswered:
        return "no evidence"
    return "open"


def _unanswered(plan: Plan, counts: WaveCounts) -> bool:
    """Whether a wave has ended, and too few of it have answered."""
    return counts.ended and counts.completed < plan.gate.min_answered * counts.size


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
    if campaign.state in ("paused", "aborting"):
        # Their job may have been made by somebody who died over it, or who is just at it.
        commands += [Save(t, records.started(t, t.asked_s)) for t in targets if t.asked_s]
    if campaign.state == "running":
        starts, saves = _starts(campaign, targets, now_s)
        commands += [*saves, *starts]
        new = sum(not target.asked_s for start in starts for target in start.targets)
        if (pace := pacing.begun(campaign.pace, campaign.plan, now_s, new)) != campaign.pace:
            campaign = msgspec.structs.replace(campaign, pace=pace)
    elif campaign.state == "aborting":
        retrying = [t for t in targets if t.status == "retrying" and not t.asked_s]
        commands += [Save(t, _no_more(t)) for t in retrying]
        if not any(t.status in OPEN_JOB or t.status == "retrying" or t.asked_s for t in targets):
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
            campaign = msgspec.structs.replace(campaign, wave=campaign.wave + 1)
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


def retry_budget(campaign: Campaign) -> int:
    return math.ceil(campaign.plan.retry.budget * campaign.eligible)


def retries(targets: Iterable[Target]) -> int:
    """Second and further tries that have begun."""
    return sum(t.failures - (t.status in ("retrying", "failed")) for t in targets if t.failures)


def _starts(
    campaign: Campaign, targets: Sequence[Target], now_s: float
) -> tuple[list[StartJob], list[Save]]:
    """Jobs to make now, as far as rate, windows and the budget for retries let them; and what
    becomes of those that they keep from it."""
    again: list[Target] = []
    """Due, with a job of their own: the part's has been made."""
    parts: dict[int, list[Target]] = {}
    asked: dict[str, list[Target]] = {}
    retrying, saves = _retries(campaign, targets, now_s)
    for target in targets:
        if target.asked_s and not in_window(campaign.plan, target.region, now_s):
            # It has closed meanwhile: the job is not made now, and if it was it is taken back.
            made = records.started(target, target.asked_s)
            saves.append(Save(target, msgspec.structs.replace(made, ending="recall")))
        elif target.asked_s:
            name = job_id(campaign.id, target, target.attempt + 1)
            asked.setdefault(name, []).append(target)
        elif target.status == "waiting" and target.wave == campaign.wave:
            if target.attempt:  # it was taken back by a pause
                again.append(target)
            else:
                parts.setdefault(target.part, []).append(target)
    again += retrying
    # Whose maker was killed: paid for already, and the same job.
    starts = [StartJob(name, tuple(made), made[0].group) for name, made in asked.items()]
    left, _ = pacing.allowed(campaign.pace, campaign.plan, now_s)
    alike: dict[tuple[int, str, int], list[Target]] = {}
    for target in again:
        if left > 0 and in_window(campaign.plan, target.region, now_s):
            left -= 1
            alike.setdefault((target.wave, target.model, target.attempt), []).append(target)
    for some in alike.values():
        for first in range(0, len(some), THINGS_A_JOB):
            starts.append(_together(campaign, some[first : first + THINGS_A_JOB]))
    for _, waiting in sorted(parts.items()):
        if left > 0 and in_window(campaign.plan, waiting[0].region, now_s):
            if len(waiting) > left:  # the rest of the part keeps the part's job
                starts.append(_together(campaign, waiting[: int(left)]))
            else:
                starts.append(StartJob(job_id(campaign.id, waiting[0], 1), tuple(waiting)))
            left -= len(waiting)
    return starts, saves


def _together(campaign: Campaign, targets: Sequence[Target]) -> StartJob:
    """The next job of vehicles that are alike: a group's, or one's own."""
    attempt = targets[0].attempt + 1
    group = "" if len(targets) == 1 and attempt > 1 else group_of(t.thing for t in targets)
    named = msgspec.structs.replace(targets[0], group=group)
    return StartJob(job_id(campaign.id, named, attempt), tuple(targets), group)


def _retries(
    campaign: Campaign, targets: Sequence[Target], now_s: float
) -> tuple[list[Target], list[Save]]:
    """Those that are due, in the order in which they are, until the budget is spent."""
    left = retry_budget(campaign) - retries(targets)
    left -= sum(t.status == "retrying" and t.asked_s > 0 for t in targets)
    pending = sorted(
        (t for t in targets if t.status == "retrying" and not t.asked_s),
        key=lambda t: (t.due_s, t.thing),
    )
    due = [t for t in pending[: max(0, left)] if t.due_s <= now_s]
    return due, [Save(t, _no_more(t)) for t in pending[max(0, left) :]]


def _wait(campaign: Campaign, targets: Iterable[Target], now_s: float) -> float:
    """Until the next moment at which time alone makes a difference."""
    due = [now_s + MAX_WAIT_S]
    if campaign.state == "soaking":
        due.append(campaign.since_s + campaign.plan.waves.soak_s)
    if campaign.state == "running" and campaign.pace.starts:
        _, more_s = pacing.allowed(campaign.pace, campaign.plan, now_s)
        due.append(now_s + (more_s or MAX_WAIT_S))
    for target in targets:
        if target.ending or target.asked_s:
            due.append(now_s + CANCEL_WAIT_S)
        elif target.status == "retrying":
            due.append(target.due_s)
        elif target.status in OPEN_JOB:
            due.append(give_up_s(campaign.plan, target))
        elif target.status == "waiting":
            due.append(now_s + 60.0)  # the window
    return max(MIN_WAIT_S, min(due) - now_s)
