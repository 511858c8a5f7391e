"""The fleet's packs: driving, heating and charging as the models say."""

from dataclasses import replace

import numpy as np
import pytest

from fleet_sim.models import VEHICLES
from fleet_sim.models.battery import Batteries
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity, Parking, Phase, Scenario, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world.city import City
from fleet_sim.world.fleet import Fleet

SCENARIO = Scenario(
    name="t",
    seed=3,
    city=CitySpec(generate=GeneratedCity(blocks=(6, 6)), cars=0),
    fleet=tuple(
        VehicleGroup(group=name, count=20, vehicle=name, parked=Fraction(0.0)) for name in VEHICLES
    ),
    phases=(Phase(name="a", duration_s=Duration(600.0), parking=Parking(occupancy=Fraction(0.6))),),
)


def fleet(ambient_c: float = 22.0) -> Fleet:
    city = City.generate(SCENARIO.city.generate, 3)
    made = Fleet(SCENARIO, city, np.random.default_rng(3), ambient_c=ambient_c)
    idx = np.arange(made.n)
    made.put_on_road(idx)
    made.head_for(idx, np.arange(made.n) % city.roads.n_edges, np.full(made.n, 30.0))
    return made


def test_each_vehicle_has_the_pack_of_its_group() -> None:
    packs = [preset.usable_kwh * 3.6e6 for preset in VEHICLES.values()]
    assert fleet().usable_j == pytest.approx(np.repeat(packs, 20))


def test_the_same_drive_takes_the_heater_s_energy_more_in_the_cold() -> None:
    used = {}
    for ambient_c in (22.0, -7.0):
        driven = fleet(ambient_c)
        for k in range(120):
            driven.drive(0.5, (k + 1) * 0.5)
            driven.settle(0.5)
        used[ambient_c] = driven.energy_j.copy(), driven.odo.copy()
    assert (used[22.0][1] == used[-7.0][1]).all()
    more = (used[-7.0][0] - used[22.0][0]).reshape(3, 20)
    heater = np.array([2940, 3410, 3410])[:, None] - 250.0
    assert (more > heater * 60).all()
    assert more.mean(axis=1) == pytest.approx(heater[:, 0] * 60, rel=0.1)


def test_charging_stores_what_the_model_says_and_stops_at_full() -> None:
    charged = fleet()
    charged.soc[:] = np.linspace(0.1, 0.9, charged.n)
    before, idx = charged.soc.copy(), np.arange(0, charged.n, 2)
    charged.charge(idx, 0.5)
    alone = Batteries(list(VEHICLES.values()), np.repeat(np.arange(3), 20))
    stored = alone.charge_j(idx, before[idx], 0.5)
    assert (charged.soc - before)[idx] == pytest.approx(stored / charged.usable_j[idx])
    assert (charged.soc[1::2] == before[1::2]).all()
    charged.soc[:] = 1.0
    charged.charge(idx, 0.5)
    assert charged.soc.max() == 1.0


def test_presets_may_be_replaced_by_a_car_of_one_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = replace(VEHICLES["leaf_30"], usable_kwh=20.0)
    monkeypatch.setitem(VEHICLES, "leaf_30", weak)
    assert (fleet().usable_j[20:40] == 20.0 * 3.6e6).all()
