"""Each example scenario, small: it runs, and what it promises is there."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from test_engine_shard import Broker, JumpClock

from fleet_sim.contract import Telemetry
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.shard import Shard
from fleet_sim.resources import data_dir
from fleet_sim.scenario import Scenario, dump, scale_fleet, with_duration
from fleet_sim.scenario.units import Duration
from fleet_sim.transport import Listener, MemoryTransport, Transport
from fleet_sim.world import World

EXAMPLES = sorted(data_dir("scenarios").glob("*.yaml"))


async def run(scenario: Scenario) -> tuple[Shard, list[Telemetry]]:
    clock, broker, world = JumpClock(), Broker(), World(scenario)

    def connect_by(listener: Listener) -> Transport:
        return MemoryTransport(world.n, listener, now_ns=clock.now_ns, deliver=broker.deliver)

    shard = Shard(scenario, world, run="r1", clock=clock, make_transport=connect_by)
    await shard.connect(1.0)
    await shard.run()
    await shard.close(1.0)
    return shard, broker.received


def small(path: Path) -> Scenario:
    scenario = scale_fleet(load_scenario(path), 16)
    groups = []
    for group in scenario.fleet:
        period_s = Duration(min(group.telemetry.period_s, 60.0))
        telemetry = msgspec.structs.replace(group.telemetry, period_s=period_s)
        groups.append(msgspec.structs.replace(group, telemetry=telemetry))
    scenario = msgspec.structs.replace(scenario, fleet=tuple(groups))
    # Long enough that every vehicle has something to say.
    return with_duration(scenario, max(6.0, *(g.telemetry.period_s for g in scenario.fleet)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_runs_small(path: Path, tmp_path: Path) -> None:
    scenario = small(path)
    shard, received = await run(scenario)
    assert shard.scheduled_total >= 16
    assert len(shard.ledger) == shard.scheduled_total
    # Nothing is drained here: what a vehicle without radio kept at the end is not received.
    assert len(received) > 0.6 * shard.scheduled_total
    assert {m.vin for m in received} <= set(shard.world.vins)
    again = tmp_path / "scenario.yaml"
    again.write_text(dump(scenario), "utf-8")  # as a run's folder has it
    assert load_scenario(again) == scenario


async def test_winter_vans_have_what_the_example_says() -> None:
    scenario = small(data_dir("scenarios") / "winter_vans.yaml")
    shard, received = await run(scenario)
    world = shard.world
    group = dict(zip(world.vins, (scenario.fleet[g].group for g in world.groups), strict=True))
    heard = Counter(group[m.vin] for m in received if m.sonar is not None)
    assert heard["vans"] > 0
    assert heard["heat-pump-vans"] > 0
    assert heard["trackers"] == 0
    assert world.air.temperature_c == 1.0  # noon
    of = {
        name: [m.acc_m for m in received if group[m.vin] == name and m.fix == 2]
        for name in ("vans", "trackers")
    }
    assert min(of["trackers"]) > 2.887  # a phone's own noise per axis
    assert min(of["vans"]) < min(of["trackers"])
