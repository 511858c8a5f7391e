"""A campaign in memory, what it asks for, and vehicles that answer."""

from typing import Any

import msgspec

from fleet_sim.contract.campaign_records import job_id
from fleet_sim.contract.campaigns import CampaignRequest
from update_manager.logic import CancelJob, StartJob
from update_manager.memory import MemoryCampaign
from update_manager.planning import Vehicle

IMAGE = {"target": "a.img", "image_url": "https://b/a", "metadata_url": "https://b/m"}
FIRMWARE = {"version": "1.1.0", "images": {"": IMAGE}}


def request(**fields: object) -> CampaignRequest:
    return msgspec.convert({"firmware": FIRMWARE, **fields}, CampaignRequest)


def fleet(n: int, **fields: Any) -> list[Vehicle]:
    return [Vehicle(f"V{i:05}", version="1.0.0", **fields) for i in range(n)]


def campaign(n: int = 100, **fields: object) -> MemoryCampaign:
    return MemoryCampaign("c", request(**fields), fleet(n), 0.0)


def starts(found: list[StartJob | CancelJob]) -> list[str]:
    return [t.thing for c in found if isinstance(c, StartJob) for t in c.targets]


def finish(
    service: MemoryCampaign, things: list[str], status: str, now_s: float, reason: str = ""
) -> None:
    for thing in things:
        target = service.targets[thing]
        name = job_id("c", target, target.attempt)
        service.observe(thing, name, "IN_PROGRESS", now_s)
        service.observe(thing, name, status, now_s, reason)
