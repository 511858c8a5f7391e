"""An update campaign: what the campaign service has on record of it, and what it answers.

Times in ms and s are since the epoch, real time.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from fleet_sim.contract.campaigns import Plan

THINGS_A_JOB = 100
"""Targets of one job at most (AWS IoT Device Management quotas)."""

CampaignState = Literal[
    "planned", "running", "soaking", "paused", "aborting", "aborted", "completed"
]
ENDED: frozenset[str] = frozenset({"aborted", "completed"})

TargetStatus = Literal[
    "waiting",
    "queued",
    "in_progress",
    "retrying",
    "succeeded",
    "failed",
    "rejected",
    "unreached",
    "canceled",
]
"""`waiting` for its turn, `queued` at the Jobs service, `retrying`: the next attempt waits for its
back-off. The others are final: `failed` after all attempts, `rejected` by the vehicle,
`unreached` never asked for its job in time, `canceled` with the campaign."""
Ending = Literal["", "recall", "timeout", "unreached", "abort"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "rejected", "unreached", "canceled"})


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """The service's record of one vehicle in a campaign."""

    thing: str
    wave: int
    part: int
    """Of the wave: vehicles that share a job, at most `THINGS_A_JOB`."""
    model: str = ""
    region: str = ""
    status: TargetStatus = "waiting"
    attempt: int = 0
    """Jobs made for it so far."""
    failures: int = 0
    """Tries that failed."""
    heard_s: float = 0.0
    """When its status was last confirmed; when it was queued, at first. s since the epoch."""
    due_s: float = 0.0
    """`retrying`: when the next attempt begins."""
    reason: str = ""
    """Of its last failure; in progress: what it waits for."""
    ending: Ending = ""
    """Why its job is being cancelled, until the service has confirmed that."""
    faulty: bool = False
    """It broke after a successful installation; of an open job: it says so, and the success is not
    on record yet."""
    queued_s: float = 0.0
    """When its first job was made."""
    asked_s: float = 0.0
    """When its next job was about to be made; 0 once it is on record. Whoever died in between may
    have made it."""
    group: str = ""
    """Whom it shares its newest job with; empty: its part, or from the second job on nobody."""


class WaveCounts(msgspec.Struct, frozen=True):
    """One wave, counted by its vehicles' records."""

    wave: int
    size: int
    statuses: dict[str, int]
    """By `TargetStatus`; those that are not there are 0."""
    faulty: int
    """Of those that succeeded."""

    @property
    def completed(self) -> int:
        """The gate's denominator: silent vehicles are not in it."""
        return sum(self.statuses.get(s, 0) for s in ("succeeded", "failed", "rejected"))

    @property
    def bad(self) -> int:
        return sum(self.statuses.get(s, 0) for s in ("failed", "rejected")) + self.faulty

    @property
    def ended(self) -> bool:
        return sum(self.statuses.get(s, 0) for s in FINAL) == self.size


class CampaignView(msgspec.Struct, frozen=True):
    """Answer of `GET /campaigns/{id}`."""

    id: str
    state: CampaignState
    reason: str
    """Why it is paused or aborted; empty otherwise."""
    wave: int
    """The current one, from 0."""
    version: str
    template: str
    plan: Plan
    created_by: str
    created_ms: int
    changed_ms: int
    eligible: int
    ineligible: dict[str, int]
    """Vehicles that do not take part, by the first condition that did not hold."""
    retries: int
    waves: list[WaveCounts]
    in_progress: int
    success_rate: float | None
    """Succeeded and not faulty over completed; null while none has completed."""
    reasons: dict[str, int] = {}
    """Why vehicles failed: those that failed, were rejected, broke later or are to try again, by
    their last failure."""
    deferred: dict[str, int] = {}
    """What vehicles in progress wait for, as far as the service has asked them: the Jobs service
    tells of beginnings and ends, and a vehicle's last word is read when it has been silent."""


class CampaignSummary(msgspec.Struct, frozen=True):
    """One line of `GET /campaigns`."""

    id: str
    state: CampaignState
    version: str
    wave: int
    created_by: str
    created_ms: int


class CampaignList(msgspec.Struct, frozen=True):
    campaigns: list[CampaignSummary]


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what: a caller's ARN, or `update_manager` for what the gate decided."""

    at_ms: int
    who: str
    action: str
    detail: str = ""


class AuditLog(msgspec.Struct, frozen=True):
    """Answer of `GET /campaigns/{id}/audit`, oldest first."""

    entries: list[AuditEntry]


class TargetPage(msgspec.Struct, frozen=True):
    """Answer of `GET /campaigns/{id}/vehicles`."""

    vehicles: list[Target]
    next: str | None = None


METRICS_NAMESPACE = "OTAUpdates"
IN_PROGRESS_METRIC, SUCCESS_RATE_METRIC = "InProgress", "SuccessRate"

_JOB_ID = re.compile(r"^(?P<campaign>.+)-w(?P<wave>\d{1,2})-a(?P<attempt>\d{1,4})-[pvg][0-9a-f]+$")


def job_id(campaign: str, target: Target, attempt: int) -> str:
    """Of a vehicle's n-th attempt. The first is shared by a part of a wave; a further one is a
    group's, or the vehicle's own. It follows from the record alone, so that whoever makes it makes
    it once."""
    if target.group:
        shared = f"g{target.group}"
    else:
        shared = f"p{target.part}" if attempt == 1 else f"v{_short(target.thing)}"
    return f"{campaign}-w{target.wave}-a{attempt}-{shared}"


def parse_job_id(name: str) -> tuple[str, int, int] | None:
    """Campaign, wave and attempt; None for a job that is not of a campaign."""
    found = _JOB_ID.match(name)
    return (found["campaign"], int(found["wave"]), int(found["attempt"])) if found else None


def group_of(things: Iterable[str]) -> str:
    """Name of the group that these vehicles are, in any order."""
    return _short("\0".join(sorted(things)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
