"""A run's campaign and its service: what is told, and how much at once."""

from pathlib import Path
from typing import Any

import pytest

from fleet_sim.cloud.campaigns import CampaignError
from fleet_sim.cloud.target import Target
from fleet_sim.contract.campaigns import MAX_FAULTS, Fault
from fleet_sim.engine.backend import CampaignPlace
from fleet_sim.engine.ota.run import LiveCampaign
from fleet_sim.scenario import loads

SCENARIO = """\
name: many
fleet: [{group: cars, count: 1}]
campaign: {at: 0s}
phases: [{name: all, duration: 1m}]
"""


class Service:
    """Takes faults as the API's contract does, and refuses the call of this number."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.calls = 0
        self.refuses = 0

    def fault(self, _: str, things: list[str], reason: str) -> None:
        self.calls += 1
        if self.calls == self.refuses:
            raise CampaignError("no answer")
        assert len(things) <= MAX_FAULTS
        self.heard += Fault(things=tuple(things), reason=reason).things


class Fleet:
    async def broken(self) -> list[str]:
        return [f"V{i:04}" for i in range(2_300)]


@pytest.mark.parametrize("refuses", [0, 2])
async def test_any_number_of_broken_vehicles_is_told_once_each(
    tmp_path: Path, refuses: int
) -> None:
    target = Target("us-east-1", "1", "s", "127.0.0.1", 1, None, "http://127.0.0.1:1")
    scenario = loads(SCENARIO, name="many")
    campaign = LiveCampaign(scenario, CampaignPlace(target, "http://127.0.0.1:1", "b"), "r", [])
    service = Service()
    service.refuses = refuses
    campaign._service = service  # type: ignore[assignment]
    folder: Any = type("Folder", (), {"log": lambda *_, **__: None})()
    for _ in range(2):  # what was refused is told at the next look
        await campaign._tell_faults(Fleet(), folder)  # type: ignore[arg-type]
    assert sorted(service.heard) == await Fleet().broken()
