"""What chance decides about the vehicles of a campaign, from the scenario's seed alone."""

from typing import NamedTuple

import numpy as np

from fleet_sim.engine.ota.vehicle import Mishap
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.campaign import Campaign
from fleet_sim.world.firmware import Defect

_DEFECTS, _MISHAPS = 0x6F746164, 0x6F74616D
_KINDS: tuple[Defect, ...] = ("boot", "self-test", "delayed", "none")


class Fates(NamedTuple):
    """By vehicle of the whole fleet."""

    defects: list[Defect]
    """Of the new image on it."""
    mishaps: list[Mishap]


def fates_of(scenario: Scenario, campaign: Campaign) -> Fates:
    n = sum(group.count for group in scenario.fleet)
    defect, mishaps = campaign.firmware.defect, campaign.mishaps
    rng = np.random.default_rng([scenario.seed, _DEFECTS])
    shares = np.cumsum([defect.boot_failure, defect.self_test_failure, defect.delayed_failure])
    defects = [_KINDS[k] for k in np.searchsorted(shares, rng.random(n), side="right")]
    rng = np.random.default_rng([scenario.seed, _MISHAPS])
    loses, where, told = rng.random(n), rng.random(n), rng.random(n)
    return Fates(
        defects,
        [
            Mishap(
                float(where[i]) if loses[i] < mishaps.power_loss else None,
                bool(told[i] < mishaps.lost_status),
            )
            for i in range(n)
        ],
    )
