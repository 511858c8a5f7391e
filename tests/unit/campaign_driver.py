"""A campaign service on fakes, for tests of its driver."""

from collections.abc import Callable
from typing import Any

import msgspec
from campaign_fakes import FIRMWARE, FakeIot

from fleet_sim.contract.campaign_records import AuditEntry, parse_job_id
from fleet_sim.contract.campaigns import CampaignRequest, plan_of
from update_manager.driver import Driver, Turn
from update_manager.jobs import Jobs, seen
from update_manager.logic import Campaign
from update_manager.planning import Vehicle
from update_manager.store import Store

WAVES = {"shares": [0.25, 1.0], "soak_s": 0}


class Bench:
    """A campaign service with all that it stands on."""

    def __init__(self, dynamodb: Any, **fields: object) -> None:
        self.iot = FakeIot()
        self.told: list[str] = []
        self.dynamodb = dynamodb
        request = msgspec.convert({"firmware": FIRMWARE, **fields}, CampaignRequest)
        self.request = msgspec.structs.replace(request, vehicles=None)
        self.now_s = 1_000.0
        self.store = Store(dynamodb, "campaigns")
        campaign = Campaign("c", self.request, plan_of(request), "arn:me", 1_000_000)
        self.store.create(campaign, request.vehicles, AuditEntry(0, "arn:me", "create"))
        self.driver = self.new_driver(dynamodb, self.iot)

    def new_driver(self, dynamodb: Any, iot: Any) -> Driver:
        jobs = Jobs(iot, arn_prefix="arn:aws:iot:r:1", role_arn="arn:role")
        return Driver(
            Store(dynamodb, "campaigns"),
            jobs,
            fleet=lambda things: {
                f"V{i:03}": Vehicle(f"V{i:03}", version="1.0.0") for i in range(12)
            },
            tell=lambda campaign, action, detail: self.told.append(action),
            now_s=lambda: self.now_s,
        )

    def at(self, now_s: float) -> None:
        self.now_s = self.iot.now_s = now_s

    def drive(self, reconcile: bool = False) -> Turn:
        turn = self.driver.drive("c", reconcile=reconcile)
        assert turn is not None
        return turn

    def tell(self, *events: tuple[str, str, str, Any]) -> None:
        news = []
        for name, thing, status, details in events:
            observation, named = seen(name, status, self.now_s, details), parse_job_id(name)
            assert observation is not None
            assert named is not None
            news.append((named[0], named[1], thing, observation))
        self.driver.observe(news)

    def queued(self) -> list[str]:
        return [t for (_, t), e in self.iot.executions.items() if e["status"] == "QUEUED"]

    def act(self, step: Callable[[Campaign], Campaign]) -> None:
        held = self.store.read("c")
        assert held is not None
        assert self.store.write(held, step(held.campaign)) is not None
