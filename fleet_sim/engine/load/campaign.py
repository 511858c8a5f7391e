"""The campaign that operators of a load test make: real for the campaign service, and for nobody
else."""

from fleet_sim.contract.campaigns import (
    CampaignRequest,
    Candidate,
    Clock,
    Firmware,
    Image,
    Window,
)

VEHICLES = 20
PREFIX = "load-"
"""Of the campaigns' ids, and of the vehicles' names."""
_NOON = Window(begin=12 * 60, end=13 * 60)
_NOWHERE = "https://load-test.invalid/none.img"


def idle_campaign(name: str, now_s: float) -> CampaignRequest:
    """Waves of vehicles that do not exist, in a world whose clock stands at midnight, with a window
    at noon: it is planned and driven as any other, and no vehicle is ever started, so that no job
    is made. `name`: what follows the prefix in its id. `now_s`: real, s since the epoch."""
    image = Image(target="none.img", image_url=_NOWHERE, metadata_url=_NOWHERE)
    return CampaignRequest(
        id=f"{PREFIX}{name}",
        firmware=Firmware(version="1.1.0", images={"": image}),
        vehicles=tuple(Candidate(thing=f"{PREFIX}{k}", version="1.0.0") for k in range(VEHICLES)),
        window=_NOON,
        # It may not be 0; within a century it gets nowhere.
        clock=Clock(real_s=now_s, sim_s=0.0, speed=1e-9),
    )
