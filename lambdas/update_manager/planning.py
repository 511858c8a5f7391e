"""Who takes part in a campaign, and in which wave: pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple

from fleet_sim.contract.campaign_records import THINGS_A_JOB, Target
from fleet_sim.contract.campaigns import CampaignRequest, Candidate, Plan, version_key


class Vehicle(NamedTuple):
    """What is known of a vehicle when a campaign is planned."""

    thing: str
    model: str = ""
    region: str = ""
    version: str = ""
    soc: float | None = None
    flagged: bool = False


def why_not(request: CampaignRequest, vehicle: Vehicle) -> str:
    """The first condition that does not hold; empty when the vehicle takes part."""
    need, firmware = request.eligibility, request.firmware
    if need.models and vehicle.model not in need.models:
        return "model"
    if vehicle.model not in firmware.images and "" not in firmware.images:
        return "no image"
    if need.regions and vehicle.region not in need.regions:
        return "region"
    if vehicle.version == firmware.version:
        return "up to date"
    if need.min_version or need.max_version:
        try:
            has = version_key(vehicle.version)
        except ValueError:
            return "version unknown"
        if need.min_version and has < version_key(need.min_version):
            return "version"
        if need.max_version and has > version_key(need.max_version):
            return "version"
    if need.min_soc and (vehicle.soc is None or vehicle.soc < need.min_soc):
        return "battery"
    if need.flagged and not vehicle.flagged:
        return "not flagged"
    return ""


def merged(candidate: Candidate, seen: Vehicle | None) -> Vehicle:
    """What the operator says about a vehicle, and telemetry where they say nothing."""
    seen = seen or Vehicle(candidate.thing)
    return seen._replace(
        model=candidate.model or seen.model,
        region=candidate.region or seen.region,
        version=candidate.version or seen.version,
    )


def lay_out(
    campaign_id: str, request: CampaignRequest, plan: Plan, vehicles: Iterable[Vehicle]
) -> tuple[list[Target], tuple[int, ...], dict[str, int]]:
    """Every eligible vehicle's record, the waves' sizes, and the others by reason.

    Who is in which wave follows from the campaign's and the vehicle's names: the canaries of one
    campaign are not those of the next. Waves in which nobody would be are left out.
    """
    ineligible: dict[str, int] = {}
    chosen: dict[str, Vehicle] = {}
    for vehicle in vehicles:
        if reason := why_not(request, vehicle):
            ineligible[reason] = ineligible.get(reason, 0) + 1
        else:
            chosen[vehicle.thing] = vehicle
    order = sorted(
        chosen, key=lambda thing: hashlib.sha256(f"{campaign_id}\0{thing}".encode()).digest()
    )
    cuts = [math.ceil(share * len(order) - 1e-9) for share in plan.waves.shares]
    sizes = tuple(b - a for a, b in zip((0, *cuts), cuts, strict=False) if b > a)
    most = THINGS_A_JOB
    if plan.waves.per_minute is not None:
        most = max(1, min(most, math.floor(plan.waves.per_minute)))
    targets: list[Target] = []
    first = 0
    for wave, size in enumerate(sizes):
        alike: dict[tuple[str, str], list[str]] = {}
        for thing in order[first : first + size]:
            alike.setdefault((chosen[thing].model, chosen[thing].region), []).append(thing)
        first += size
        part = 0
        for (model, region), things in sorted(alike.items()):
            for start in range(0, len(things), most):
                targets += [
                    Target(thing, wave, part, model, region)
                    for thing in things[start : start + most]
                ]
                part += 1
    return targets, sizes, ineligible
