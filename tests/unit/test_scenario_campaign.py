"""What a scenario may say about a campaign, and what it is told when it does not fit."""

import pytest

from fleet_sim.engine.ota.fleet import preconditions_of
from fleet_sim.scenario import ScenarioError, loads

TEXT = """name: x
fleet:
  - {group: a, count: 4}
phases: [{name: p, duration: 1s}]
campaign: {}
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fleet.a.firmware={1.0.0: 50%, 0.9.0: 40%}",
         "fleet[0].firmware: the shares add up to 90% (allowed: 100% over all versions)"),
        ("fleet.a.firmware={new: 100%}",
         "fleet[0].firmware.new: 'new' is not allowed (allowed: three numbers such as 1.1.0)"),
        ("campaign.firmware.version=2", "is not allowed (allowed: text; put it in quotes)"),
        ("campaign.firmware.size=10B",
         "campaign.firmware.size: 10B is not allowed (allowed: 1kB or more)"),
        ("campaign.firmware.url_life=2h",
         "campaign.firmware.url_life: '2h' is not allowed (allowed: 1m..1h)"),
        ("campaign.firmware.attack=magic", "campaign.firmware.attack: 'magic' is not allowed"),
        ("campaign.firmware.defect={boot_failure: 60%, delayed_failure: 50%}",
         "campaign.firmware.defect: the shares add up to 110%"),
        ("campaign.preconditions.window=['22:00', '22:00']",
         "campaign.preconditions.window: 22:00 to 22:00 is no time at all"),
        ("campaign.preconditions.window=['24:00', '05:00']", "a time of day in quotes"),
        ("campaign.window=['22:00', '22:00']", "campaign.window: 22:00 to 22:00 is no time at all"),
        ("campaign.waves.shares=[5%, 1%, 100%]",
         "campaign.waves.shares: 5%, 1%, 100% is not allowed (allowed: shares that rise"),
        ("campaign.waves.shares=[5%, 50%]", "campaign.waves.shares: 5%, 50% is not allowed"),
        ("campaign.waves.shares=[0%, 100%]", "campaign.waves.shares: 0%, 100% is not allowed"),
        ("campaign.gate.on_failure=hope", "campaign.gate.on_failure: 'hope' is not allowed"),
        ("campaign.retry.attempts=11", "campaign.retry.attempts: 11 is not allowed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(TEXT, overrides=[override])
    assert message in str(caught.value)


def test_the_window_of_the_document_is_in_minutes_of_the_day() -> None:
    scenario = loads(TEXT, overrides=['campaign.preconditions.window=["22:30", "05:00"]'])
    assert scenario.campaign is not None
    need = preconditions_of(scenario.campaign)
    assert (need.parked, need.min_soc, need.window) == (True, 0.4, (1350, 300))
