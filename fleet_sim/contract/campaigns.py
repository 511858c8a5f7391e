"""An update campaign: what is asked of the campaign service.

Durations are seconds of real time. In a run whose clock is compressed the engine has divided them
by the clock's speed already: only times of day (`Window`) know of simulated time, through `Clock`.
"""

import zoneinfo
from typing import Annotated, Literal

import msgspec

from fleet_sim.contract.jobs import Minute, Preconditions, Version

CampaignId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)]
Thing = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9:_-]{1,128}$")]
Name = Annotated[str, msgspec.Meta(max_length=64)]
Offset = Annotated[int, msgspec.Meta(ge=-840, le=840)]

MAX_VEHICLES = 8_000
"""Of a request that lists them, whatever their names: they are written in one transaction (4 MB). A
rollback, which names its vehicles itself, may have as many as fit."""


class _Asked(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Base of what a caller sends."""


class Clock(_Asked, frozen=True):
    """What time it is in the fleet's world: `sim_s + (now - real_s) · speed`, s since the epoch."""

    real_s: float = 0.0
    sim_s: float = 0.0
    speed: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Waves(_Asked, frozen=True):
    """In which portions the vehicles are started."""

    shares: Annotated[tuple[Share, ...], msgspec.Meta(min_length=1, max_length=20)] = (
        0.01,
        0.05,
        0.25,
        1.0,
    )
    """Of the eligible vehicles, cumulated and rounded up; rising to 1."""
    per_minute: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Starts a minute at most; unset: a wave starts at once."""
    soak_s: Seconds = 3_600.0
    """After a wave's last vehicle has ended, its gate stays open to late faults for so long."""


class Gate(_Asked, frozen=True):
    """When a campaign is stopped. In each wave: failures over those that have completed in it."""

    max_failed: Share = 0.05
    """The gate fails above this share."""
    min_executed: Annotated[int, msgspec.Meta(ge=1)] = 5
    """While a wave runs, it is judged once so many have completed; at its end, with what there
    is."""
    min_answered: Share = 0.5
    """A wave that ends with a smaller share completed is no evidence: the campaign is paused."""
    on_failure: Literal["abort", "pause"] = "abort"
    in_progress: Literal["finish", "cancel"] = "finish"
    """What an abort does to vehicles that have begun. Cancelled, a vehicle that is already
    rebooting finishes all the same, and the record does not say so."""


class Retry(_Asked, frozen=True):
    """What is tried again, with a job of its own, before it counts as a failure."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """Tries of a vehicle, the first included."""
    backoff_s: Seconds = 600.0
    """Before the second try; doubled before each further one."""
    budget: Share = 0.25
    """Retries of all vehicles together, as a share of the eligible ones; beyond it a transient
    failure counts at once."""
    reasons: tuple[Name, ...] = ("download", "url", "write", "timeout")
    """`statusDetails.reason` of what may be transient; `timeout` is a vehicle that fell silent."""


class Timeouts(_Asked, frozen=True):
    """When a vehicle that says nothing is given up."""

    silent_s: Seconds = 7_200.0
    """In progress, and nothing heard for so long."""
    unreached_s: Seconds = 86_400.0
    """Queued, and never asked for: it is no failure, and its job is cancelled."""


class Window(_Asked, frozen=True):
    """Local time of day in which vehicles are started."""

    begin: Minute
    end: Minute
    """Minutes of the day, from the first to before the second; it may pass midnight."""
    utc_offset_min: Offset = 0
    """Of vehicles whose region is unknown, or named nowhere below."""
    utc_offsets_min: dict[Name, Offset] = {}
    """By region."""
    time_zone: Name = ""
    """The same by the name of a time zone, such as `Europe/Berlin`: it keeps to daylight saving
    time. A region's zone counts before its offset, and both before those of all regions."""
    time_zones: dict[Name, Name] = {}
    """By region."""


class Candidate(_Asked, frozen=True):
    """A vehicle that the operator names."""

    thing: Thing
    model: Name = ""
    region: Name = ""
    version: Version | Literal[""] = ""
    """What it runs; empty: what its telemetry says."""


class Eligibility(_Asked, frozen=True):
    """Which vehicles take part: those of which all of this holds when the campaign is planned."""

    models: tuple[Name, ...] = ()
    """Empty: all."""
    regions: tuple[Name, ...] = ()
    min_version: Version | None = None
    """Lowest and highest version that may be replaced, both included."""
    max_version: Version | None = None
    min_soc: Share = 0.0
    """Of the newest telemetry; unknown counts as too low."""
    flagged: bool = False
    """Only those that fleet health has marked for an update."""


class Image(_Asked, frozen=True):
    """Where a model's image is."""

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Path in the signed metadata."""
    image_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^{}\s]{1,2000}$")]
    """Of the object in S3, not presigned: the Jobs service does that whenever a vehicle asks."""
    metadata_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^{}\s]{1,2000}$")]


class Firmware(_Asked, frozen=True):
    """What is installed."""

    version: Version
    images: Annotated[dict[Name, Image], msgspec.Meta(min_length=1, max_length=50)]
    """By model; the empty name serves models that are not named."""
    url_life_s: Annotated[int, msgspec.Meta(ge=60, le=3_600)] = 900
    """A presigned URL ends after so long; describing the job again renews it."""


TemplateName = Literal["careful", "urgent", "everyone"]


class CampaignRequest(_Asked, frozen=True):
    """Body of `POST /campaigns`. What is left out comes from the template."""

    firmware: Firmware
    id: CampaignId | None = None
    """Asking again with the same id and content makes no second campaign."""
    template: TemplateName = "careful"
    vehicles: Annotated[tuple[Candidate, ...], msgspec.Meta(max_length=MAX_VEHICLES)] | None = None
    """Who may take part; unset: every vehicle that telemetry has come from."""
    eligibility: Eligibility = Eligibility()
    preconditions: Preconditions = Preconditions()
    """For the vehicle itself, in the job's document."""
    waves: Waves | None = None
    gate: Gate | None = None
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    window: Window | None = None
    clock: Clock = Clock()


class Plan(msgspec.Struct, frozen=True):
    """A request's rules, complete."""

    waves: Waves = Waves()
    gate: Gate = Gate()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    window: Window | None = None
    clock: Clock = Clock()


TEMPLATES: dict[str, Plan] = {
    "careful": Plan(),
    "urgent": Plan(
        waves=Waves(shares=(0.05, 1.0), soak_s=900.0),
        retry=Retry(backoff_s=120.0, budget=0.5),
        timeouts=Timeouts(silent_s=3_600.0),
    ),
    # No gate stops a campaign at all: what one without waves and gates does, to compare with.
    "everyone": Plan(waves=Waves(shares=(1.0,), soak_s=0.0), gate=Gate(max_failed=1.0)),
}


def plan_of(request: CampaignRequest) -> Plan:
    """The template's rules, with what the request has of its own. `ValueError` names the field."""
    template = TEMPLATES[request.template]
    plan = Plan(
        request.waves or template.waves,
        request.gate or template.gate,
        request.retry or template.retry,
        request.timeouts or template.timeouts,
        request.window or template.window,
        request.clock,
    )
    shares = plan.waves.shares
    if shares[-1] != 1.0 or any(a >= b for a, b in zip((0.0, *shares), shares, strict=False)):
        raise ValueError(f"waves.shares: {list(shares)} (allowed: rising from above 0 to 1)")
    if plan.window is not None and plan.window.begin == plan.window.end:
        raise ValueError(
            f"window: {plan.window.begin} to {plan.window.end} is no time at all "
            "(allowed: two different minutes)"
        )
    if plan.window is not None:
        _check_zones(plan.window)
    low, high = request.eligibility.min_version, request.eligibility.max_version
    if low and high and version_key(low) > version_key(high):
        raise ValueError(
            f"eligibility.min_version: {low} is above max_version {high} (allowed: at most that)"
        )
    return plan


def _check_zones(window: Window) -> None:
    zones = {f"window.time_zones.{k}": name for k, name in window.time_zones.items()}
    for field, name in {"window.time_zone": window.time_zone, **zones}.items():
        if not name and field == "window.time_zone":
            continue
        try:
            zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found, no name at all, a folder of names
            raise ValueError(
                f"{field}: {name!r} is no time zone (allowed: a name such as Europe/Berlin)"
            ) from None


MAX_FAULTS = 1_000
"""Vehicles of one `Fault`."""


class Fault(_Asked, frozen=True):
    """Body of `POST /campaigns/{id}/faults`: vehicles that broke after they were updated."""

    things: Annotated[tuple[Thing, ...], msgspec.Meta(min_length=1, max_length=MAX_FAULTS)]
    reason: Annotated[str, msgspec.Meta(max_length=128)] = ""


class Rollback(_Asked, frozen=True):
    """Body of `POST /campaigns/{id}/rollback`: an older image, published anew under a higher
    release, for the vehicles that the campaign has updated."""

    firmware: Firmware
    id: CampaignId | None = None
    """Unset: the campaign's own with `-rollback` behind it."""
    template: TemplateName = "urgent"


def version_key(version: str) -> tuple[int, ...]:
    """To compare versions by."""
    return tuple(int(part) for part in version.split("."))
