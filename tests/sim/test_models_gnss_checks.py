"""The checks of `fleet_sim.validation.gnss` on small samples, and a city with a tunnel."""

import dataclasses

import numpy as np
import pytest

from fleet_sim.models.gnss import COVERED
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import Garages, GeneratedCity, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.validation.check import Check
from fleet_sim.validation.gnss import CHECKS
from fleet_sim.world import City, World
from fleet_sim.world.fleet import PARKED


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_a_small_sample_passes(check: Check) -> None:
    outcome = check.measure(0.02)
    assert outcome.passed, f"{check.claim}: {outcome.measured} (target: {check.target})"


def test_vehicles_in_a_tunnel_have_no_satellites(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world's side: an edge of the class `covered`, and nothing else changes."""
    generate = City.generate

    def with_tunnel(spec: GeneratedCity, seed: int, beside: CitySpec) -> City:
        city = generate(spec, seed, beside)
        reception = city.roads.reception.copy()
        reception[city.roads.arterial] = COVERED
        roads = dataclasses.replace(city.roads, reception=reception)
        return dataclasses.replace(city, roads=roads)

    scenario = Scenario(
        name="t",
        seed=3,
        city=CitySpec(
            generate=GeneratedCity(blocks=(6, 5), tunnel=False), cars=0, garages=Garages(count=0)
        ),
        fleet=(VehicleGroup(group="a", count=80, parked=Fraction(0.2)),),
        phases=(Phase(name="p", duration_s=Duration(60.0)),),
    )
    plain = World(scenario)
    monkeypatch.setattr(City, "generate", with_tunnel)
    world = World(scenario)
    idx, fixes = np.arange(world.n), []
    first = world.city.roads.reception[world.fleet.edge] == COVERED
    assert (world.observe(idx).fix == np.where(first, 1, 2)).all()
    for _ in range(240):
        world.step(0.5)
        plain.step(0.5)
        seen = world.observe(idx)
        covered = world.city.roads.reception[world.fleet.edge] == COVERED
        assert (seen.fix[covered] == 1).all()
        x, y = world.fleet.position(idx)
        east, north = world.city.projection.to_metres(seen.lat, seen.lon)
        error = np.hypot(east - x, north - y)
        assert (error < 6 * seen.acc_m).all()
        fixes.append(np.where(covered, -1, seen.fix))
    assert (world.fleet.x == plain.fleet.x).all()
    assert (plain.observe(idx).fix == 2).all()
    again = np.array(fixes)
    came_out = (again[:-1] == -1) & (again[1:] >= 0)
    assert came_out.sum() > 20
    # The first fix takes a second or two.
    assert (again[1:][came_out] == 1).mean() > 0.9
    assert (again == 2).any(axis=0).mean() > 0.9
    assert (world.fleet.mode[again[-1] == -1] == PARKED).any()
