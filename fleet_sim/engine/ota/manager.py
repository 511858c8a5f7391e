"""The campaign service's rules, as the scenario asks for them: for its API, and in memory.

The rules are the deployed function's own (`lambdas/update_manager`), imported from where its
source lies: what is rehearsed is what runs.
"""

import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fleet_sim.contract.campaigns import (
    CampaignRequest,
    Candidate,
    Clock,
    Firmware,
    Gate,
    Image,
    Retry,
    Timeouts,
    Waves,
    Window,
)
from fleet_sim.contract.jobs import MAX_URL_LIFE_S, MIN_URL_LIFE_S, Preconditions
from fleet_sim.resources import data_dir
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.campaign import Campaign

if TYPE_CHECKING:
    from update_manager.memory import MemoryCampaign


def memory_campaign(
    campaign_id: str, request: CampaignRequest, versions: Mapping[str, str], now_s: float
) -> "MemoryCampaign":
    """The service's rules without a cloud. `versions`: by thing, what telemetry would say."""
    memory, planning = _module("memory"), _module("planning")
    candidates = request.vehicles or ()
    vehicles = [planning.Vehicle(c.thing, c.model, c.region, versions[c.thing]) for c in candidates]
    campaign: MemoryCampaign = memory.MemoryCampaign(campaign_id, request, vehicles, now_s)
    return campaign


def start_job() -> type[Any]:
    """The command that makes a job; the other one that `due` gives cancels."""
    kind: type[Any] = _module("logic").StartJob
    return kind


def _module(name: str) -> Any:
    folder = str(data_dir("lambdas"))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"update_manager.{name}")


def campaign_request(
    scenario: Scenario,
    campaign_id: str,
    images: Mapping[str, Image],
    vehicles: Iterable[Candidate],
    *,
    version: str,
    real_s: float,
    speed: float,
) -> CampaignRequest:
    """Body of `POST /campaigns`. `real_s`: when the campaign begins by the service's clock, s since
    the epoch; `speed`: simulated seconds in one of its seconds. Durations are divided by it."""
    campaign = scenario.campaign
    assert campaign is not None
    waves, gate, retry, image = campaign.waves, campaign.gate, campaign.retry, campaign.firmware
    start = scenario.clock.start
    life_s = min(max(image.url_life_s / speed, MIN_URL_LIFE_S), MAX_URL_LIFE_S)
    window = minutes_of(campaign.window)
    offset = start.utcoffset()
    offset_min = int(offset.total_seconds() // 60) if offset else 0
    return CampaignRequest(
        id=campaign_id,
        firmware=Firmware(version=version, images=dict(images), url_life_s=round(life_s)),
        vehicles=tuple(vehicles),
        preconditions=preconditions_of(campaign),
        waves=Waves(
            shares=tuple(float(share) for share in waves.shares),
            per_minute=None if waves.per_minute is None else waves.per_minute * speed,
            soak_s=waves.soak_s / speed,
        ),
        gate=Gate(
            max_failed=float(gate.max_failed),
            min_executed=gate.min_executed,
            min_answered=float(gate.min_answered),
            on_failure=gate.on_failure,
            in_progress=gate.in_progress,
        ),
        retry=Retry(
            attempts=retry.attempts, backoff_s=retry.backoff_s / speed, budget=float(retry.budget)
        ),
        timeouts=Timeouts(silent_s=retry.silent_s / speed, unreached_s=retry.unreached_s / speed),
        window=window and Window(begin=window[0], end=window[1], utc_offset_min=offset_min),
        clock=Clock(real_s=real_s, sim_s=start.timestamp(), speed=speed),
    )


def preconditions_of(campaign: Campaign) -> Preconditions:
    """As the job's document says them."""
    need = campaign.preconditions
    return Preconditions(need.parked, float(need.min_soc), minutes_of(need.window))


def minutes_of(window: tuple[str, str] | None) -> tuple[int, int] | None:
    """Minutes of the day of two times of day."""
    if window is None:
        return None
    begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in window)
    return begin, end
