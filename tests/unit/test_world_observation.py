"""What a vehicle senses is its own: who else is observed does not change it."""

import numpy as np

from fleet_sim.scenario import loads
from fleet_sim.world import World

SCENARIO = """
name: two-processes
seed: 11
city: {generate: {blocks: [4, 3]}}
fleet:
  - {group: cars, count: 30, telemetry: {period: 200ms}}
phases:
  - {name: only, duration: 60s}
"""


def test_two_who_observe_halves_of_the_fleet_see_what_one_sees_who_observes_all() -> None:
    scenario = loads(SCENARIO)
    whole, even, odd = (World(scenario) for _ in range(3))
    every = np.arange(30)
    sonar = 0
    for tick in range(120):
        for world in (whole, even, odd):
            world.step(0.1)
        if tick % 2:
            continue
        seen = whole.observe(every)
        for world, mine in ((even, every[::2]), (odd, every[1::2])):
            for name, value in world.observe(mine)._asdict().items():
                assert np.array_equal(getattr(seen, name)[mine], value), (tick, name)
        sonar += int(seen.range_cm.any(axis=1).sum())
        assert np.unique(seen.lat).size == 30
    assert sonar > 300  # the sensor was on
